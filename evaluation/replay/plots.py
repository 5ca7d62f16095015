"""The plots of a replay's report, each for a screen and for a phone (``narrow``); needs matplotlib."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.ticker import FuncFormatter, MaxNLocator

from rankstream.evaluation.replay.funnel import ADDED_BY, FOUND, FOUND_BY
from rankstream.evaluation.replay.funnel_tables import part_of, parts_of, sources_of
from rankstream.evaluation.replay.outcomes import ALL
from rankstream.evaluation.replay.summary import ALL_ITEMS
from rankstream.evaluation.replay.wording import (
    Summary,
    against_best,
    baselines_of,
    is_share,
    lead_over,
    rankers,
    shown_variants,
    title_of,
)
from rankstream.evaluation.time_text import delay_text
from rankstream.metrics.drawing import (
    GREYS,
    HUES,
    INK,
    MARKERS,
    NARROW_IN,
    PAPER,
    SMALL_PT,
    SOFT,
    TITLE,
    WIDE_IN,
    figure,
    legend_above,
    name_rows,
)

FEW = 10  # requests: a mean of fewer is not drawn
NOTHING = {"requests": 0}
WHOLE = {"value": 1.0, "low": 1.0, "high": 1.0}  # of the wanted items, before any step of the funnel


@dataclass(frozen=True)
class Look:
    """How one ranker is drawn everywhere: a bundle's hue and marker, hollow and dashed if it lags; baselines grey."""

    colour: str
    marker: str
    is_late: bool = False

    @property
    def points(self) -> dict[str, Any]:
        """Return matplotlib's options of points alone."""
        return {"color": self.colour, "marker": self.marker, "mfc": PAPER if self.is_late else self.colour}

    @property
    def line(self) -> dict[str, Any]:
        """Return matplotlib's options of points on a line."""
        return self.points | {"ls": "--" if self.is_late else "-"}


def looks(summary: Summary) -> dict[str, Look]:
    """Return how each ranker looks."""
    found: dict[str, Look] = {}
    of_bundle: dict[str, tuple[str, str]] = {}
    hues = cycle(zip(cycle(HUES), MARKERS, strict=False))
    for variant in summary["variants"]:
        is_late = variant["bundle"] in of_bundle
        hue, marker = of_bundle.setdefault(variant["bundle"], of_bundle.get(variant["bundle"]) or next(hues))
        found[variant["name"]] = Look(hue, marker, is_late)
    greys = zip(cycle(GREYS), cycle(reversed(MARKERS)), strict=False)
    return found | {name: Look(*grey) for name, grey in zip(baselines_of(summary), greys, strict=False)}


def _width(narrow: bool) -> float:
    return NARROW_IN if narrow else WIDE_IN


def _columns(narrow: bool) -> int:
    return 1 if narrow else 2


def _as_shares(axis: Any, metric: str) -> None:
    if is_share(metric):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g} %"))


def _few_ticks(axis: Any, narrow: bool) -> None:
    axis.set_major_locator(MaxNLocator(4 if narrow else 8))


def _from_zero(axes: Any) -> None:
    """Let the axis begin at zero, unless all that is drawn would crowd at its far end."""
    low, high = axes.get_xlim()
    if low < 0.5 * high:
        axes.set_xlim(left=0)


def _whiskers(found: Sequence[Mapping[str, Any]]) -> Any:
    """Return the distances of the intervals' ends, (2, n); none where there is no interval."""
    ends = [[one["value"] - one["low"], one["high"] - one["value"]] for one in found]
    return np.nan_to_num(np.maximum(np.array(ends, float), 0)).T


def of_variants(summary: Summary, narrow: bool = False) -> Any:
    """Draw the main metric of every ranker, with intervals."""
    metric, look = summary["main_metric"], looks(summary)
    names = [*rankers(summary), *baselines_of(summary)]
    drawn, axes = figure(_width(narrow), 0.6 + (0.5 if narrow else 0.42) * len(names))
    for row, name in enumerate(reversed(names)):
        found = summary["metrics"][name][ALL][metric]
        axes.errorbar(
            [found["value"]], [row], xerr=_whiskers([found]), ms=7, capsize=4, lw=2, ls="", **look[name].points
        )
    name_rows(axes, [*reversed(names)], narrow)
    axes.set_ylim(-0.6, len(names) - (0.2 if narrow else 0.4))
    _few_ticks(axes.xaxis, narrow)
    _from_zero(axes)
    axes.set_xlabel(title_of(metric))
    _as_shares(axes.xaxis, metric)
    return drawn


def of_funnel(summary: Summary, narrow: bool = False) -> Any:
    """Draw what is left of the wanted items at each step, by part of the items; and what each source finds and adds."""
    first = rankers(summary)[0]
    parts = [part for part in parts_of(summary) if (part_of(summary, FOUND, first, part) or NOTHING)["requests"] >= FEW]
    limit, last = summary["protocol"]["limit"], summary["ks"][-1]
    steps = {"wanted": "", f"among {limit:,} proposed": FOUND, f"among the first {last}": f"hit@{last}"}
    sources = sources_of(summary, first)
    rows = [len(steps) + 1, max(1, len(sources)) + 1]
    layout = {"nrows": 2, "sharex": False, "gridspec_kw": {"height_ratios": rows}}
    drawn, (above, below) = figure(_width(narrow), 1.2 + (0.62 if narrow else 0.5) * sum(rows), **layout)
    for at, (part, hue, marker) in enumerate(zip(parts, cycle(HUES), MARKERS, strict=False)):
        found = [WHOLE if not metric else part_of(summary, metric, first, part) for metric in steps.values()]
        beside = (at - (len(parts) - 1) / 2) * 0.17
        _row_of_points(above, found, f"{part} items", hue, marker, beside)
    name_rows(above, list(steps), narrow)
    for kind, hue, marker in ((FOUND_BY, GREYS[1], "o"), (ADDED_BY, HUES[0], "s")):
        found = [part_of(summary, kind + source, first, ALL_ITEMS) for source in sources]
        _row_of_points(below, found, "finds alone" if kind == FOUND_BY else "adds", hue, marker)
    name_rows(below, sources, narrow)
    for axes, count in ((above, len(steps)), (below, len(sources))):
        axes.set_ylim(count - 0.4, -0.8 if narrow else -0.6)
        _as_shares(axes.xaxis, FOUND)
        legend = {"fontsize": SMALL_PT, "frameon": False, "labelcolor": INK, "ncols": 2 if narrow else 5}
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), **legend)
    below.axvline(0, color=SOFT, lw=1)
    below.set_xlabel("share of the wanted items")
    return drawn


def _row_of_points(
    axes: Any,
    found: Sequence[Mapping[str, Any] | None],
    label: str,
    colour: str,
    marker: str,
    beside: float = 0.0,
) -> None:
    """Draw one point a row, with its interval, and leave out what is not known."""
    known = [(row + beside, one) for row, one in enumerate(found) if one is not None]
    if known:
        rows, ones = [row for row, _ in known], [one for _, one in known]
        options = {"ms": 6, "capsize": 3, "lw": 1.5, "ls": "", "color": colour, "marker": marker, "label": label}
        axes.errorbar([one["value"] for one in ones], rows, xerr=_whiskers(ones), **options)


def of_staleness(summary: Summary, narrow: bool = False) -> Any:
    """Draw the main metric against the delay, and what each delay costs the first bundle, paired."""
    metric, look, curves = summary["main_metric"], looks(summary), summary["staleness"]
    layout = {"nrows": 2} if narrow else {"ncols": 2}
    drawn, (left, right) = figure(_width(narrow), 5.6 if narrow else 3.5, **layout)
    delays = [*dict.fromkeys(one["delay_ms"] for curve in curves.values() for one in curve)]
    for bundle, curve in curves.items():
        at = [delays.index(one["delay_ms"]) for one in curve]
        values, options = [one["value"] for one in curve], look[curve[0]["variant"]].line
        left.errorbar(at, values, yerr=_whiskers(curve), ms=6, capsize=4, lw=1.8, label=bundle, **options)
    best = against_best(summary, rankers(summary)[0])
    if best is not None:
        name = str(best["baseline"])
        level, colour = summary["metrics"][name][ALL][metric]["value"], look[name].colour
        left.axhline(level, color=colour, ls=":", lw=1.6, label=name)
    left.set_title("by how late actions become known", **TITLE)
    left.set_ylabel(title_of(metric))
    left.set_ylim(bottom=0)
    left.margins(x=0.08)
    legend_above(drawn, left, _columns(narrow))
    _as_shares(left.yaxis, metric)
    _costs(right, summary, delays)
    for axes in (left, right):
        axes.set_xticks(range(len(delays)), [delay_text(delay) for delay in delays])
        axes.set_xlabel("delay")
    return drawn


def _costs(axes: Any, summary: Summary, delays: Sequence[int | None]) -> None:
    metric, look, bundle = summary["main_metric"], looks(summary), str(summary["variants"][0]["bundle"])
    first = rankers(summary)[0]
    axes.axhline(0, color=SOFT, lw=1)
    axes.plot([0], [0], ms=6, **look[first].points)
    for one in summary["staleness"].get(bundle, [])[1:]:
        found = lead_over(summary, one["variant"])
        if found is not None:
            lost = {"value": -found["value"], "low": -found["high"], "high": -found["low"]}
            at, options = delays.index(one["delay_ms"]), look[one["variant"]].points
            axes.errorbar([at], [lost["value"]], yerr=_whiskers([lost]), ms=6, capsize=4, lw=1.8, **options)
    axes.set_title(f"change from {first}, paired", **TITLE)
    axes.margins(x=0.08)
    if is_share(metric):
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:+.3g} pts" if value else "0"))


def over_time(summary: Summary, narrow: bool = False) -> Any:
    """Draw the main metric of a few variants over the replayed time, and the requests below."""
    metric, look = summary["main_metric"], looks(summary)
    ratios = {"height_ratios": [4, 1]}
    drawn, (above, below) = figure(_width(narrow), 3.8, nrows=2, sharex=True, gridspec_kw=ratios)
    for name in shown_variants(summary):
        parts = [one for one in summary["over_time"].get(name, []) if one["requests"] >= FEW]
        middles = [_datetime((one["from_ms"] + one["until_ms"]) / 2) for one in parts]
        above.plot(middles, [one["value"] for one in parts], ms=4.5, lw=1.8, label=name, **look[name].line)
        sides = ([one[side] for one in parts] for side in ("low", "high"))
        above.fill_between(middles, *sides, color=look[name].colour, alpha=0.13, lw=0)
    for one in summary["over_time"].get(rankers(summary)[0], []):
        width = (one["until_ms"] - one["from_ms"]) / 86_400_000
        below.bar(_datetime(one["from_ms"]), one["requests"], 0.92 * width, align="edge", color=GREYS[1])
    above.set_ylabel(title_of(metric))
    above.set_ylim(bottom=0)
    legend_above(drawn, above, _columns(narrow))
    below.set_ylabel("requests")
    locator = AutoDateLocator(minticks=2, maxticks=5) if narrow else AutoDateLocator(minticks=3, maxticks=9)
    below.xaxis.set_major_locator(locator)
    below.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    below.xaxis.get_offset_text().set(fontsize=SMALL_PT, color=INK)
    below.set_xlabel("time, UTC")
    _as_shares(above.yaxis, metric)
    return drawn


def _datetime(at_ms: float) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)


def by_slice(summary: Summary, narrow: bool = False) -> Any:
    """Draw the main metric of a few variants for each slice, one panel a kind of slice."""
    metric, variants = summary["main_metric"], shown_variants(summary)
    counts = {kind: len(next(iter(found.values()), [])) for kind, found in summary["slices"].items()}
    heights = [max(1, count) for count in counts.values()]
    high, ratios = 1.4 + (0.72 if narrow else 0.55) * sum(heights), {"height_ratios": heights}
    drawn, panels = figure(_width(narrow), high, nrows=len(counts), sharex=True, gridspec_kw=ratios)
    panels = np.atleast_1d(panels).ravel()
    for kind, axes in zip(counts, panels, strict=True):
        name_rows(axes, _a_kind(axes, summary, kind, variants), narrow, above_pt=15)
        axes.set_ylim(heights[list(counts).index(kind)] - 0.5, -0.75 if narrow else -0.5)
        axes.set_title(kind, **TITLE, fontweight="bold")
    _few_ticks(panels[-1].xaxis, narrow)
    for axes in panels:
        _from_zero(axes)
    panels[-1].set_xlabel(title_of(metric))
    _as_shares(panels[-1].xaxis, metric)
    legend_above(drawn, panels[-1], _columns(narrow))
    return drawn


def _a_kind(axes: Any, summary: Summary, kind: str, variants: Sequence[str]) -> list[str]:
    """Draw the slices of one kind; return their labels."""
    found, look = summary["slices"][kind], looks(summary)
    labels = [f"{one['slice']}  ({one['requests']:,})" for one in next(iter(found.values()), [])]
    for row, name in enumerate(variants):
        parts = [(line, one) for line, one in enumerate(found.get(name, [])) if one["requests"] >= FEW]
        if parts:
            at = [line + (row - (len(variants) - 1) / 2) * 0.17 for line, _ in parts]
            values, whiskers = [one["value"] for _, one in parts], _whiskers([one for _, one in parts])
            options = {"ms": 4.5, "capsize": 2.5, "lw": 1.3, "ls": "", "label": name}
            axes.errorbar(values, at, xerr=whiskers, **options, **look[name].points)
    return labels


def calibration(summary: Summary, narrow: bool = False) -> Any:
    """Draw the rates that each head predicted against those observed, a panel a head."""
    look, found = looks(summary), summary["probabilities"]
    variants = [name for name in shown_variants(summary) if name in found]
    heads = [head for head in next(iter(found.values())) if any(found[name][head]["positives"] for name in variants)]
    columns = 1 if narrow else 2 if len(heads) == 4 else min(3, max(1, len(heads)))
    rows = -(-len(heads) // columns)
    drawn, panels = figure(_width(narrow), 2.75 * rows + 0.3, nrows=rows, ncols=columns, squeeze=False)
    for axes, head in zip(panels.ravel(), heads, strict=False):
        maximum = 0.0
        for name in variants:
            curve = found[name][head]["curve"]
            predicted, observed = ([one[side] for one in curve] for side in (0, 1))
            maximum = max([maximum, *predicted, *observed])
            axes.plot(predicted, observed, ms=4, lw=1.5, label=name, **look[name].line)
        axes.plot([0, maximum], [0, maximum], color=SOFT, ls=":", lw=1)
        axes.set_title(f"{head}  ({found[variants[0]][head]['positives']:,} positives)", **TITLE)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(4))
            _as_shares(axis, "hit")
    for axes in panels.ravel()[len(heads) :]:
        axes.set_visible(False)
    panels[-1][0].set_xlabel("predicted rate")
    panels[0][0].set_ylabel("observed rate")
    legend_above(drawn, panels[0][0], _columns(narrow))
    return drawn
