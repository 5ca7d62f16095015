"""The plots of a replay's report; needs matplotlib."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from rankstream.evaluation.baselines.panel import RANDOM
from rankstream.evaluation.baselines.popularity import POPULARITY
from rankstream.evaluation.replay.outcomes import ALL
from rankstream.evaluation.replay.wording import (
    Summary,
    baselines_of,
    is_share,
    lead_over,
    rankers,
    shown_variants,
    title_of,
)
from rankstream.evaluation.time_text import delay_text

HUES = ("#1565c0", "#ef6c00", "#2e7d32", "#8e24aa", "#00838f")  # one a bundle
BASELINES = {POPULARITY: "#78909c", RANDOM: "#c2c8ce"}
FEW = 10  # requests: a mean of fewer is not drawn
LINE = "#37474f"


def colours(summary: Summary) -> dict[str, str]:
    """Return each variant its colour: a bundle's own, paler the staler it is."""
    found = dict.fromkeys(baselines_of(summary), BASELINES[POPULARITY]) | {RANDOM: BASELINES[RANDOM]}
    hues = cycle(HUES)
    hue_of: dict[str, str] = {}
    for variant in summary["variants"]:
        if variant["bundle"] not in hue_of:
            hue_of[variant["bundle"]] = next(hues)
    for bundle, hue in hue_of.items():
        variants = [variant["name"] for variant in summary["variants"] if variant["bundle"] == bundle]
        for age, name in enumerate(variants):
            found[name] = _paler(hue, 0.6 * age / max(1, len(variants) - 1))
    return found


def _paler(hue: str, share: float) -> str:
    parts = [int(hue[at : at + 2], 16) for at in (1, 3, 5)]
    return "#" + "".join(f"{round(part + (255 - part) * share):02x}" for part in parts)


def _axes(width: float, height: float, **kind: Any) -> tuple[Any, Any]:
    figure = Figure(figsize=(width, height))
    axes = figure.subplots(**kind)
    for one in np.atleast_1d(axes).ravel():
        one.spines[["top", "right"]].set_visible(False)
        one.grid(alpha=0.25)
        one.set_axisbelow(True)
    return figure, axes


def _as_shares(axis: Any, metric: str) -> None:
    if is_share(metric):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g} %"))


def _from_zero(axes: Any) -> None:
    """Let the axis begin at zero, unless all that is drawn would crowd at its far end."""
    low, high = axes.get_xlim()
    if low < 0.5 * high:
        axes.set_xlim(left=0)


def _legend_above(figure: Any, axes: Any) -> None:
    handles, names = axes.get_legend_handles_labels()
    above = 0.88 + 0.3 / figure.get_figheight()  # axes end at 0.88; a title takes 0.3 inches
    figure.legend(handles, names, fontsize=8, frameon=False, ncols=2, loc="lower left", bbox_to_anchor=(0.1, above))


def _whiskers(found: Sequence[Mapping[str, Any]]) -> Any:
    """Return the distances of the intervals' ends, (2, n); none where there is no interval."""
    ends = [[one["value"] - one["low"], one["high"] - one["value"]] for one in found]
    return np.nan_to_num(np.maximum(np.array(ends, float), 0)).T


def of_variants(summary: Summary) -> Any:
    """Draw the main metric of every variant, with intervals."""
    metric, shade = summary["main_metric"], colours(summary)
    names = [*rankers(summary), *baselines_of(summary)]
    figure, axes = _axes(8.2, 0.6 + 0.42 * len(names))
    for row, name in enumerate(reversed(names)):
        found = summary["metrics"][name][ALL][metric]
        axes.errorbar(
            [found["value"]], [row], xerr=_whiskers([found]), fmt="o", ms=8, capsize=4, lw=2, color=shade[name]
        )
    axes.set_yticks(range(len(names)), [*reversed(names)])
    axes.set_ylim(-0.6, len(names) - 0.4)
    _from_zero(axes)
    axes.set_xlabel(title_of(metric))
    _as_shares(axes.xaxis, metric)
    return figure


def of_staleness(summary: Summary) -> Any:
    """Draw the main metric against the delay, and what each delay costs the first bundle, paired."""
    metric, shade, curves = summary["main_metric"], colours(summary), summary["staleness"]
    figure, (left, right) = _axes(8.2, 3.3, ncols=2, gridspec_kw={"wspace": 0.32})
    delays = [*dict.fromkeys(one["delay_ms"] for curve in curves.values() for one in curve)]
    for bundle, curve in curves.items():
        at = [delays.index(one["delay_ms"]) for one in curve]
        values, hue = [one["value"] for one in curve], shade[curve[0]["variant"]]
        left.errorbar(at, values, yerr=_whiskers(curve), fmt="o-", ms=6, capsize=4, lw=1.8, color=hue, label=bundle)
    popular = summary["metrics"].get(POPULARITY, {}).get(ALL, {}).get(metric)
    if popular:
        left.axhline(popular["value"], color=BASELINES[POPULARITY], ls="--", lw=1.3, label=POPULARITY)
    left.set_title("by how late actions become known", fontsize=10, loc="left")
    left.set_ylabel(title_of(metric))
    left.set_ylim(bottom=0)
    left.margins(x=0.08)
    _legend_above(figure, left)
    _as_shares(left.yaxis, metric)
    _costs(right, summary, delays)
    for axes in (left, right):
        axes.set_xticks(range(len(delays)), [delay_text(delay) for delay in delays])
        axes.set_xlabel("delay")
    return figure


def _costs(axes: Any, summary: Summary, delays: Sequence[int | None]) -> None:
    metric, shade, bundle = summary["main_metric"], colours(summary), str(summary["variants"][0]["bundle"])
    first = rankers(summary)[0]
    axes.axhline(0, color=LINE, lw=1)
    axes.plot([0], [0], "o", ms=6, color=shade[first])
    for one in summary["staleness"].get(bundle, [])[1:]:
        found = lead_over(summary, one["variant"])
        if found is not None:
            lost = {"value": -found["value"], "low": -found["high"], "high": -found["low"]}
            axes.errorbar(
                [delays.index(one["delay_ms"])], [lost["value"]], yerr=_whiskers([lost]), color=shade[one["variant"]],
                fmt="o", ms=6, capsize=4, lw=1.8,
            )  # fmt: skip
    axes.set_title(f"change from {first}, paired", fontsize=10, loc="left")
    axes.margins(x=0.08)
    if is_share(metric):
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:+.3g} pts" if value else "0"))


def over_time(summary: Summary) -> Any:
    """Draw the main metric of a few variants over the replayed time, and the requests below."""
    metric, shade = summary["main_metric"], colours(summary)
    figure, (above, below) = _axes(8.2, 3.6, nrows=2, sharex=True, gridspec_kw={"height_ratios": [4, 1], "hspace": 0.1})
    for name in shown_variants(summary):
        parts = [one for one in summary["over_time"].get(name, []) if one["requests"] >= FEW]
        middles = [_datetime((one["from_ms"] + one["until_ms"]) / 2) for one in parts]
        above.plot(middles, [one["value"] for one in parts], "o-", ms=4, lw=1.8, color=shade[name], label=name)
        sides = ([one[side] for one in parts] for side in ("low", "high"))
        above.fill_between(middles, *sides, color=shade[name], alpha=0.13, lw=0)
    for one in summary["over_time"].get(rankers(summary)[0], []):
        width = (one["until_ms"] - one["from_ms"]) / 86_400_000
        below.bar(_datetime(one["from_ms"]), one["requests"], 0.92 * width, align="edge", color="#b0bec5")
    above.set_ylabel(title_of(metric))
    above.set_ylim(bottom=0)
    _legend_above(figure, above)
    below.set_ylabel("requests", fontsize=8)
    locator = AutoDateLocator(maxticks=9)
    below.xaxis.set_major_locator(locator)
    below.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    below.set_xlabel("time, UTC")
    _as_shares(above.yaxis, metric)
    return figure


def _datetime(at_ms: float) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)


def by_slice(summary: Summary) -> Any:
    """Draw the main metric of a few variants for each slice, one panel a kind of slice."""
    metric, shade, variants = summary["main_metric"], colours(summary), shown_variants(summary)
    counts = {kind: len(next(iter(found.values()), [])) for kind, found in summary["slices"].items()}
    heights = [max(1, count) for count in counts.values()]
    figure, panels = _axes(
        8.2, 0.9 + 0.55 * sum(heights), nrows=len(counts), sharex=True, gridspec_kw={"height_ratios": heights}
    )
    for kind, axes in zip(counts, np.atleast_1d(panels).ravel(), strict=True):
        labels = _a_kind(axes, summary["slices"][kind], variants, shade)
        axes.set_yticks(range(len(labels)), labels, fontsize=9)
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.set_title(kind, fontsize=10, loc="left")
    for axes in np.atleast_1d(panels).ravel():
        _from_zero(axes)
    last = np.atleast_1d(panels).ravel()[-1]
    last.set_xlabel(title_of(metric))
    _as_shares(last.xaxis, metric)
    figure.subplots_adjust(hspace=0.35)
    _legend_above(figure, last)
    return figure


def _a_kind(axes: Any, found: Mapping[str, Any], variants: Sequence[str], shade: Mapping[str, str]) -> list[str]:
    """Draw the slices of one kind; return their labels."""
    labels = [f"{one['slice']}  ({one['requests']:,})" for one in next(iter(found.values()), [])]
    for row, name in enumerate(variants):
        parts = [(line, one) for line, one in enumerate(found.get(name, [])) if one["requests"] >= FEW]
        if parts:
            at = [line + (row - (len(variants) - 1) / 2) * 0.17 for line, _ in parts]
            values = [one["value"] for _, one in parts]
            whiskers = _whiskers([one for _, one in parts])
            axes.errorbar(
                values, at, xerr=whiskers, fmt="o", ms=4.5, capsize=2.5, lw=1.3, color=shade[name], label=name
            )
    return labels


def calibration(summary: Summary) -> Any:
    """Draw the rates that each head predicted against those observed, a panel a head."""
    shade, found = colours(summary), summary["probabilities"]
    variants = [name for name in shown_variants(summary) if name in found]
    heads = [head for head in next(iter(found.values())) if any(found[name][head]["positives"] for name in variants)]
    columns = 2 if len(heads) == 4 else min(3, max(1, len(heads)))
    rows = -(-len(heads) // columns)
    figure, panels = _axes(8.2, 2.75 * rows, nrows=rows, ncols=columns, squeeze=False)
    figure.subplots_adjust(wspace=0.38, hspace=0.5)
    for axes, head in zip(panels.ravel(), heads, strict=False):
        maximum = 0.0
        for name in variants:
            curve = found[name][head]["curve"]
            predicted, observed = ([one[side] for one in curve] for side in (0, 1))
            maximum = max([maximum, *predicted, *observed])
            axes.plot(predicted, observed, "o-", ms=4, lw=1.5, color=shade[name], label=name)
        axes.plot([0, maximum], [0, maximum], color=LINE, ls=":", lw=1)
        axes.set_title(f"{head}  ({found[variants[0]][head]['positives']:,} positives)", fontsize=10, loc="left")
        for axis in (axes.xaxis, axes.yaxis):
            _as_shares(axis, "hit")
    for axes in panels.ravel()[len(heads) :]:
        axes.set_visible(False)
    panels[-1][0].set_xlabel("predicted rate")
    panels[0][0].set_ylabel("observed rate")
    _legend_above(figure, panels[0][0])
    return figure
