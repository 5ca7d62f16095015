"""What another policy would have earned with the feeds that were served: estimates, how far to trust them, a verdict.

Reward models are the ranker's own probabilities, made to fit place by place by a factor (people look at lower places
less) that is learned from the other half of the users: so a user's rewards never speak in what is predicted for him,
and the doubly robust estimate stays unbiased (Chernozhukov et al. 2018, "Double/Debiased Machine Learning").
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import msgspec
import numpy as np

from rankstream.evaluation.off_policy.estimators import (
    Estimate,
    Floats,
    Terms,
    as_logged,
    difference_interval,
    direct,
    doubly_robust,
    effective_sample_size,
    interval,
    inverse_propensity,
    prefix_weights,
    self_normalized,
)
from rankstream.evaluation.off_policy.slates import Slate, columns

FEW = 100  # an effective sample size below this deserves no trust: its intervals are too narrow
FAR_OFF = 4.0  # standard errors that the mean weight may be from 1


@dataclass(frozen=True)
class Line:
    """One estimator's answer."""

    value: Estimate  # reward of a feed
    gain: Estimate  # over what was served, with the same users drawn in both


@dataclass(frozen=True)
class Judgement:
    """A target's value over the first places."""

    places: int
    served: Estimate  # what was earned
    lines: dict[str, Line]  # by estimator: ips, snips, dr, and for one place dm
    effective_sample_size: list[float]  # by place: of its weights, the products from the top
    mean_weight: list[float]  # by place, before clipping; 1 is expected
    mean_weight_error: list[float]  # its standard error
    largest_weight: float  # before clipping


@dataclass(frozen=True)
class Report:
    """What came of it; ``as_dict`` is the same for machines."""

    target: str
    served_by: dict[str, int]  # policy -> feeds
    feeds: int
    users: int
    from_ms: int
    to_ms: int
    rewarded: int  # places that earned something
    judgements: list[Judgement]  # the first place alone, then all that were asked for
    warnings: list[str]
    verdict: str
    skipped: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, as ``--json`` prints them."""
        told: dict[str, Any] = msgspec.to_builtins(self)
        return told


def judge(
    slates: Sequence[Slate],
    rewards: Floats,
    target: str,
    *,
    skipped: Mapping[str, int],
    marks: Sequence[str] = (),
    clip: float | None = None,
    seed: int = 0,
    level: float = 0.95,
) -> Report:
    """Estimate what the target would have earned: ``rewards`` ``(n, K)`` are what the slates did.

    ``marks`` are to be said with every output: leaks that were allowed.
    """
    users = [slate.user for slate in slates]
    places = rewards.shape[1]
    counts = sorted({1, places})
    judgements = [_judgement(slates, rewards[:, :count], users, clip, seed, level) for count in counts]
    warnings = [*marks, *_warnings(slates, judgements)]
    best = "dr" if any(slate.predicted.any() for slate in slates) else "snips"
    return Report(
        target=target,
        served_by=dict(Counter(slate.policy for slate in slates).most_common()),
        feeds=len(slates),
        users=len(set(users)),
        from_ms=min(slate.at_ms for slate in slates),
        to_ms=max(slate.at_ms for slate in slates),
        rewarded=int(np.count_nonzero(rewards)),
        judgements=judgements,
        warnings=warnings,
        verdict=_verdict(judgements[-1], best),
        skipped=dict(skipped),
    )


def _judgement(
    slates: Sequence[Slate], rewards: Floats, users: list[bytes], clip: float | None, seed: int, level: float
) -> Judgement:
    places = rewards.shape[1]
    unclipped = prefix_weights(_column(slates, "logged", places, 1.0), _column(slates, "target", places, 1.0))
    weights = unclipped if clip is None else np.minimum(unclipped, clip)
    served = as_logged(rewards)
    return Judgement(
        places=places,
        served=interval(served, users, seed=seed, level=level),
        lines={
            name: Line(
                interval(terms, users, seed=seed, level=level),
                difference_interval(terms, served, users, seed=seed, level=level),
            )
            for name, terms in _estimates(slates, rewards, weights, users).items()
        },
        effective_sample_size=effective_sample_size(weights).tolist(),
        mean_weight=unclipped.mean(axis=0).tolist(),
        mean_weight_error=(unclipped.std(axis=0) / np.sqrt(len(slates))).tolist(),
        largest_weight=float(unclipped.max()),
    )


def _estimates(slates: Sequence[Slate], rewards: Floats, weights: Floats, users: Sequence[bytes]) -> dict[str, Terms]:
    places = rewards.shape[1]
    predicted, expected = (_column(slates, name, places, 0.0) for name in ("predicted", "expected"))
    factors = factors_of_others(rewards, predicted, users)
    predicted, expected = factors * predicted, factors * expected
    found = {
        "ips": inverse_propensity(rewards, weights),
        "snips": self_normalized(rewards, weights),
        "dr": doubly_robust(rewards, weights, predicted, expected),
    }
    return found | {"dm": direct(expected)} if places == 1 else found


def factors_of_others(rewards: Floats, predicted: Floats, users: Sequence[bytes]) -> Floats:
    """Return ``(n, K)`` factors that make predictions fit, of each place, learned from the half that a user is not in.

    Least squares through the origin; 0 where there is nothing to learn from.
    """
    half = np.array([crc32(user) % 2 for user in users])  # whatever the order of the log
    factors = np.empty_like(rewards)
    for mine in (0, 1):
        others = half != mine
        squares = (predicted[others] ** 2).sum(axis=0)
        products = (rewards[others] * predicted[others]).sum(axis=0)
        factors[half == mine] = products / np.where(squares > 0, squares, np.inf)
    return factors


def _column(slates: Sequence[Slate], name: str, places: int, lacking: float) -> Floats:
    return columns([getattr(slate, name)[:places] for slate in slates], places, lacking)


def _warnings(slates: Sequence[Slate], judgements: Sequence[Judgement]) -> list[str]:
    said = []
    for one in judgements:
        size, where = one.effective_sample_size[-1], "the first place" if one.places == 1 else f"{one.places} places"
        if size < FEW:
            said.append(
                f"for {where} the {len(slates):,} feeds are worth {size:,.0f} of the target's own (effective sample "
                f"size): too few to trust the intervals; {'judge fewer places, ' if one.places > 1 else ''}judge a "
                "target nearer to what was served, or log more, with more exploration"
            )
    off = [place for place in range(judgements[-1].places) if _is_far_off(judgements[-1], place)]
    if off:  # the places below inherit it
        said.append(
            f"weights at place {off[0] + 1} are {judgements[-1].mean_weight[off[0]]:.2f} on average where 1 is "
            "expected: the log does not show enough of what the target does there, or the propensities are not those "
            "of the policy that served"
        )
    if not any(slate.predicted.any() for slate in slates):
        said.append("no head of the feeds is named like an action that counts, so dr has no model and is ips")
    return said


def _is_far_off(judgement: Judgement, place: int) -> bool:
    allowed = FAR_OFF * judgement.mean_weight_error[place]
    return abs(judgement.mean_weight[place] - 1) > max(allowed, 1e-6)


def _verdict(judgement: Judgement, best: str) -> str:
    if judgement.effective_sample_size[-1] < FEW:
        return "no verdict: the log says too little of the target"
    gain = judgement.lines[best].gain
    told = f"{gain.value:+.4f} a feed ({gain.low:+.4f} to {gain.high:+.4f}) by {best}"
    if gain.low > 0:
        return f"the target would earn more than what was served: {told}"
    if gain.high < 0:
        return f"the target would earn less than what was served: {told}"
    return f"no difference to what was served can be told: {told}"
