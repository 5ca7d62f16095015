"""Plots of docs/models.md, from results alone; the same file for the same results."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankstream.experiments.kuairand.freshness import HEADS
from rankstream.experiments.kuairand.tables import SCORES_ONLY, largest_size, titles_of
from rankstream.experiments.music.data import FRESHNESS
from rankstream.experiments.music.tables import OBJECTIVES, rows_of
from rankstream.experiments.runs import Runs
from rankstream.metrics.bootstrap import bootstrap_interval
from rankstream.metrics.drawing import HUES, MARKERS, SMALL_PT, SOFT, drawing, name_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH_IN = 4.6  # of every plot: its letters can be read in a column on a screen and on a phone
RECALLS = (0.02, 0.03, 0.05, 0.1, 0.2, 0.3)
NAMES = {"once": "made once", "daily": "daily", "session": "each session", "realtime": "real time"}


def draw(runs: Runs, folder: Path) -> list[Path]:
    """Draw all plots that have results into ``folder``; return their paths."""
    plots: Mapping[str, Callable[[Runs, Path], bool]] = {
        "ranker": ranker,
        "freshness": freshness_gains,
        "pinnerformer": staleness,
    }
    return [path for name, one in plots.items() if one(runs, path := folder / f"{name}.svg")]


def ranker(runs: Runs, path: Path, key: str = "auc_click", of: str = "AUC of clicks") -> bool:
    """Draw by how much the full hybrid is ahead of each row, with intervals; of the largest size.

    Random order, which would stretch the scale, and rows without probabilities are left out.
    """
    size = largest_size(runs)
    compared = runs.result(f"ranker-{size}/_comparison")
    if compared is None:
        return False
    titles, found = titles_of(size), compared["metrics"]["rows"]
    left_out = ("full", "random", *SCORES_ONLY)
    names = [name for name in titles if name in found and name not in left_out][::-1]
    label = f"By how much the full hybrid is ahead of each row in {of}, with intervals."
    with drawing(path, label, WIDTH_IN, 0.42 * len(names) + 1) as axes:
        for position, name in enumerate(names):
            _point(axes, position, found[name]["reference_less_row"][key], 0, upright=False)
        axes.axvline(0, color=SOFT, linewidth=1)
        name_rows(axes, [titles[name][0] for name in names], narrow=True)
        axes.set_ylim(-0.6, len(names) - 0.3)
        axes.set_xlabel(f"full hybrid less row: {of}, 95 % interval")
    return True


def freshness_gains(runs: Runs, path: Path, row: str = "no_realtime") -> bool:
    """Draw the gain from realtime actions by the age of the newest one."""
    compared = runs.result(f"ranker-{largest_size(runs)}/_comparison")
    by_age: Mapping[str, Any] = {} if compared is None else compared["metrics"].get("freshness", {})
    if not any(row in gains[HEADS[0]] for gains in by_age.values()):
        return False
    label = "Gain in AUC from realtime actions, by the age of the newest one, with intervals."
    with drawing(path, label, WIDTH_IN, 3) as axes:
        for series, head in enumerate(HEADS):
            for position, gains in enumerate(by_age.values()):
                _point(axes, position + 0.12 * series, gains[head][row], series, label=None if position else head)
        axes.axhline(0, color=SOFT, linewidth=1)
        axes.set_xticks(range(len(by_age)), ["\n".join(re.split(r" (?=\S+ \S+$)", age)) for age in by_age])
        axes.set_ylabel("AUC: full hybrid less\nwithout realtime")
        axes.set_xlabel("age of the newest action")
        axes.legend(fontsize=SMALL_PT, frameon=False)
    return True


def staleness(runs: Runs, path: Path) -> bool:
    """Draw PinnerFormer's recall by the freshness of the vector, a series an objective."""
    rows, _ = rows_of(runs, "pinnerformer", OBJECTIVES)
    names = [name for name in OBJECTIVES if name in rows]
    if not names:
        return False
    freshness = [fresh for fresh in FRESHNESS if all(fresh in rows[name].results[0]["hits"] for name in names)]
    label = "Recall@10 of each objective, by the freshness of the user vector, with intervals."
    with drawing(path, label, WIDTH_IN, 4) as axes:
        for series, name in enumerate(names):
            for position, fresh in enumerate(freshness):
                values = rows[name].recall(fresh)
                interval = bootstrap_interval(values, range(len(values)), seed=0)
                objective = None if position else OBJECTIVES[name]
                shifted = position + 0.1 * (series - len(names) / 2)
                _point(axes, shifted, (float(values.mean()), *interval), series, label=objective)
        axes.set_xticks(range(len(freshness)), [NAMES[fresh] for fresh in freshness])
        axes.set_yscale("log")  # made once and in real time lie a factor of eight apart
        axes.set_yticks(RECALLS, [f"{tick:g}" for tick in RECALLS])
        axes.minorticks_off()
        axes.set_ylabel("Recall@10, 95 % interval")
        axes.legend(fontsize=SMALL_PT, frameon=False)
    return True


def _point(
    axes: "Axes",
    position: float,
    metric: Sequence[float],
    series: int,
    *,
    upright: bool = True,
    label: str | None = None,
) -> None:
    """Draw a mean and its interval."""
    mean, low, high = metric
    line, dot = ([position, position], [low, high]), ([position], [mean])
    colour, marker = HUES[series % len(HUES)], MARKERS[series % len(MARKERS)]
    axes.plot(*(line if upright else line[::-1]), color=colour)
    axes.plot(*(dot if upright else dot[::-1]), marker, color=colour, label=label)
