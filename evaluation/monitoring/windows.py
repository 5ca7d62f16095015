"""Measures of feeds in windows of time, by model, variant and what proposed the items; what changed in the newest one.

A measure is a ratio of sums, its error that of users. The newest window is set against all before it: an alert needs
both a difference that chance does not make (``SURE`` standard errors) and one that is large enough to care.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isnan, sqrt

import numpy as np
import numpy.typing as npt

from rankstream.evaluation.monitoring.feeds import Outcomes
from rankstream.evaluation.monitoring.sample_ratio import SampleRatio, sample_ratios
from rankstream.metrics.arrays import Bools, Floats, Ints
from rankstream.metrics.ratios import Ratio, ratio
from rankstream.ranking.experiment import CONTROL, TREATMENT

SURE = 4.0  # standard errors: one alert in 16,000 measures by chance
FEW = 100  # feeds of a window that say too little to raise an alert
MISCALIBRATED = 1.25  # or its inverse: observed to predicted
CHANGED = 0.2  # of a rate, as a share of what it was
MORE_POINTS = 0.05  # of a share of feeds that is no success: errors, fallbacks, users without actions


@dataclass(frozen=True)
class Window:
    """The feeds of some time, and of one model or variant."""

    from_ms: int
    to_ms: int
    name: str  # of the model, or of the variant; empty: all of them
    feeds: int
    users: int
    hit: Ratio  # feeds with something taken
    rate: Ratio  # positions that were taken, of those shown
    calibration: dict[str, Ratio]  # by head: observed actions to predicted ones
    errors: Ratio  # of all answers
    fallbacks: Ratio  # of feeds
    strangers: Ratio  # feeds of users without actions
    unknown: Ratio  # candidates that the model does not know, a feed
    median_age_ms: float  # of the newest action that a feed knew; NaN where none knew any

    def measures(self) -> Iterator[tuple[str, Ratio, bool]]:
        """Yield each measure's name, itself, and whether it is compared as a share of what it was."""
        yield "hit", self.hit, True
        yield "rate", self.rate, True
        yield "errors", self.errors, False
        yield "fallbacks", self.fallbacks, False
        yield "strangers", self.strangers, False
        yield "unknown", self.unknown, True


@dataclass(frozen=True)
class BySource:
    """What one source of candidates proposed, and how it did."""

    source: str
    shown: int
    rate: Ratio


@dataclass(frozen=True)
class Contrast:
    """What an experiment changes of one measure."""

    what: str  # the measure
    treatment: Ratio
    control: Ratio

    @property
    def interval(self) -> tuple[float, float, float]:
        """Return treatment less control, and the 95 % interval of that; users of the two are not the same ones."""
        return self.treatment.less(self.control)


@dataclass(frozen=True)
class Alert:
    """Something that is not as it was, or not as it is said to be."""

    what: str  # the measure
    at_ms: int  # of the window
    now: float
    before: float
    standard_scores: float
    sentence: str


@dataclass(frozen=True)
class MonitorReport:
    """All of it."""

    windows: list[Window]  # oldest first, each of all models
    by_model: list[Window]  # of the whole time
    by_source: list[BySource]
    by_variant: list[Window]  # of users who had feeds of one variant alone; empty without an experiment
    differences: list[Contrast]  # treatment less control
    of_both: int  # users who had feeds of both variants, and are left out there
    sample_ratios: list[SampleRatio]  # of each share that the treatment was to have, in order of time
    alerts: list[Alert]


def monitor(outcomes: Outcomes, every_ms: int) -> MonitorReport:
    """Measure feeds, of which there is one at least, in windows of ``every_ms`` that begin at its multiples, UTC."""
    at_ms = outcomes.at("at_ms").astype(np.int64)
    begins = at_ms // every_ms * every_ms
    windows = [_window(outcomes, begins == begin, int(begin), int(begin) + every_ms) for begin in np.unique(begins)]
    models = np.array([one.model for one in outcomes.feeds])
    named = [name for name in np.unique(models).tolist() if name]
    span = int(at_ms[0]), int(at_ms[-1]) + 1
    by_model = [_window(outcomes, models == name, *span, name) for name in named]
    variants, of_both = _variants(outcomes)
    by_variant = [_window(outcomes, variants == name, *span, name) for name in np.unique(variants).tolist() if name]
    ratios = sample_ratios(outcomes.feeds)
    told = [*alerts(windows, outcomes, begins), *(_mismatch(one, windows[0]) for one in ratios if one.is_mismatch)]
    contrasts = differences(by_variant)
    return MonitorReport(windows, by_model, _by_source(outcomes), by_variant, contrasts, of_both, ratios, told)


def _mismatch(found: SampleRatio, first: Window) -> Alert:
    """Return the alert of an experiment that can't be trusted, of the whole time."""
    had = found.treatment / found.users
    error = sqrt(found.share * (1 - found.share) / found.users)
    apart = (had - found.share) / error if error else 0.0
    return Alert("sample ratio", first.from_ms, had, found.share, apart, found.warning)


def _variants(outcomes: Outcomes) -> tuple[npt.NDArray[np.str_], int]:
    """Return each feed's variant, ``(n,)``, empty for users who had feeds of both, and how many these are."""
    variants = np.array([one.variant for one in outcomes.feeds])
    users = {name: np.unique(outcomes.users[variants == name]) for name in (CONTROL, TREATMENT)}
    both = np.intersect1d(users[CONTROL], users[TREATMENT])
    return np.where(np.isin(outcomes.users, both), "", variants), len(both)


def differences(by_variant: Sequence[Window]) -> list[Contrast]:
    """Return how far the treatment is from the control; nothing where one of the two had no feeds."""
    found = {one.name: one for one in by_variant}
    if CONTROL not in found or TREATMENT not in found:
        return []
    pairs = zip(found[TREATMENT].measures(), found[CONTROL].measures(), strict=True)
    return [Contrast(name, treatment, control) for (name, treatment, _), (_, control, _) in pairs]


def _window(outcomes: Outcomes, rows: Bools, from_ms: int, to_ms: int, name: str = "") -> Window:
    users, shown, taken = outcomes.users[rows], outcomes.shown[rows], outcomes.any_taken[rows]
    answered = (~outcomes.at("is_error").astype(np.bool_))[rows]
    each, served = np.ones(len(users)), answered.astype(np.float64)
    ages = outcomes.at("age_ms")[rows][answered]
    known = ages[~np.isnan(ages)]
    return Window(
        from_ms,
        to_ms,
        name,
        int(rows.sum()),
        len(np.unique(users)),
        hit=ratio(np.minimum(_counts(taken), 1.0), served, users),
        rate=ratio(_counts(taken), _counts(shown), users),
        calibration=dict(_calibrations(outcomes, np.flatnonzero(rows))),
        errors=ratio(1.0 - served, each, users),
        fallbacks=ratio(outcomes.at("is_fallback")[rows] * served, served, users),
        strangers=ratio((outcomes.at("actions_used")[rows] == 0) * served, served, users),
        unknown=ratio(outcomes.at("unknown_items")[rows] * served, served, users),
        median_age_ms=float(np.median(known)) if len(known) else float("nan"),
    )


def _counts(of: Bools) -> Floats:
    counts: Floats = of.sum(axis=1).astype(np.float64)
    return counts


def _calibrations(outcomes: Outcomes, rows: Ints) -> Iterator[tuple[str, Ratio]]:
    """Yield observed to predicted actions of each head that feeds call a probability and that is an action's name."""
    for head, taken in outcomes.taken.items():
        having = [row for row in rows.tolist() if head in outcomes.feeds[row].probabilities]
        if having:
            predicted = np.array([outcomes.feeds[row].probabilities[head].sum() for row in having])
            yield head, ratio(_counts(taken[having]), predicted, outcomes.users[having])


def _by_source(outcomes: Outcomes) -> list[BySource]:
    positions = outcomes.shown.shape[1]
    of = np.full(outcomes.shown.shape, "", object)
    for row, one in enumerate(outcomes.feeds):
        of[row, : len(one.sources)] = one.sources[:positions]
    found = []
    for source in sorted({str(name) for name in of[outcomes.shown].tolist()}):
        mine = of == source
        shown, taken = _counts(mine), _counts(outcomes.any_taken & mine)
        found.append(BySource(source, int(shown.sum()), ratio(taken, shown, outcomes.users)))
    return found


def alerts(windows: Sequence[Window], outcomes: Outcomes, begins: Ints) -> list[Alert]:
    """Return what is amiss in the newest window; nothing where it has few feeds, or there is none before it."""
    newest = windows[-1]
    if newest.feeds < FEW:
        return []
    found = [alert for head, one in newest.calibration.items() if (alert := _off(head, one, newest)) is not None]
    if len(windows) < 2:
        return found
    before = _window(outcomes, begins < newest.from_ms, windows[0].from_ms, newest.from_ms)
    for (name, now, relative), (_, then, _) in zip(newest.measures(), before.measures(), strict=True):
        apart = now.standard_scores_above(then)
        if abs(apart) > SURE and _matters(now.value, then.value, relative):
            found.append(Alert(name, newest.from_ms, now.value, then.value, apart, _sentence(name, now, then)))
    return found


def _matters(now: float, before: float, relative: bool) -> bool:
    if isnan(now) or isnan(before):
        return False
    return abs(now - before) > (CHANGED * before if relative else MORE_POINTS)


def _off(head: str, observed: Ratio, window: Window) -> Alert | None:
    """Return the alert of a head whose probabilities are surely not what happens."""
    low, high = (observed.value + sign * SURE * observed.error for sign in (-1, 1))
    if isnan(observed.value) or (low < MISCALIBRATED and high > 1 / MISCALIBRATED):
        return None
    sentence = (
        f"{head}: {observed.part:,.0f} followed where {observed.whole:,.0f} were predicted, {observed.value:.2f} of "
        "them: train again, or look at what changed in what users are shown"
    )
    apart = (observed.value - 1) / observed.error if observed.error else 0.0
    return Alert(f"calibration of {head}", window.from_ms, observed.value, 1.0, apart, sentence)


SAID = {
    "hit": "feeds of which something is taken are {now:.1%}, and were {before:.1%}",
    "rate": "positions that are taken are {now:.2%}, and were {before:.2%}",
    "errors": "{now:.1%} of the answers are errors, and {before:.1%} were: look at `rankstream watch`",
    "fallbacks": "{now:.1%} of the feeds are fallbacks, and {before:.1%} were: workers can't keep up",
    "strangers": "{now:.1%} of the feeds are of users without actions, and {before:.1%} were: do actions arrive?",
    "unknown": "{now:.1f} candidates of a feed are unknown to the model, and {before:.1f} were: new items need vectors",
}


def _sentence(name: str, now: Ratio, before: Ratio) -> str:
    return SAID[name].format(now=now.value, before=before.value)
