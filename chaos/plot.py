"""The plot of a run: faults as marks, actions sent and applied, how long requests waited, what workers were doing."""

from pathlib import Path
from typing import Any

import numpy as np

from chaos.ledger import Ledger
from chaos.plan import POISON, Fault
from chaos.system import Condition
from chaos.timeline import Timeline
from rankstream.metrics.drawing import GREYS, HUES, SMALL_PT, SOFT, TITLE, WIDE_IN, figure, write_svg

HEIGHTS = (3.0, 1.8, 1.8)  # inches of faults, actions, waiting; workers have 0.3 each
WORKER_IN = 0.34
COLOURS = {
    Condition.UP: HUES[2],
    Condition.STARTING: HUES[4],
    Condition.STILL: HUES[3],
    Condition.DOWN: HUES[1],
}
LEAST_S = 0.001  # of a logarithmic axis
UNANSWERED = "never answered"


def draw(ledger: Ledger, timeline: Timeline, path: Path) -> None:
    """Write it as an SVG file."""
    heights = [*HEIGHTS, 0.5 + WORKER_IN * (ledger.workers + 1)]
    drawn, (faults, actions, waiting, workers) = figure(
        WIDE_IN, sum(heights) + 0.6, nrows=4, sharex=True, height_ratios=heights
    )
    _faults(faults, timeline.faults)
    _actions(actions, timeline)
    _waiting(waiting, timeline)
    _workers(workers, timeline, ledger.workers)
    workers.set_xlabel("seconds after the start of the load")
    verdict = "clean" if ledger.is_clean else "NOT CLEAN"
    faults.set_title(f"{ledger.broker}, {ledger.workers} workers, seed {ledger.seed}: {verdict}", **TITLE)
    label = f"{sum(ledger.faults.values())} faults on {ledger.workers} workers over time, seed {ledger.seed}: {verdict}"
    write_svg(drawn, label, path)


def _faults(axes: Any, faults: list[Fault]) -> None:
    """Draw a row a kind, the first to come on top: a mark with the worker's number, a bar as long as a fault lasts."""
    rows = list(dict.fromkeys(fault.kind for fault in faults))
    for fault in faults:
        row, colour = rows.index(fault.kind), GREYS[1] if fault.kind in POISON else HUES[1]
        axes.plot([fault.at_s, fault.at_s + fault.lasts_s], [row, row], color=colour, lw=3, solid_capstyle="butt")
        axes.plot(fault.at_s, row, marker="|", ms=9, mew=2, color=colour)
        if fault.has_worker:
            place = {"xytext": (4, 3), "textcoords": "offset points"}
            axes.annotate(str(fault.worker), (fault.at_s, row), color=SOFT, fontsize=7, **place)
    axes.set_yticks(range(len(rows)), [kind.value for kind in rows])
    axes.invert_yaxis()


def _actions(axes: Any, timeline: Timeline) -> None:
    for points, name, hue in ((timeline.sent, "sent", GREYS[1]), (timeline.applied, "applied", HUES[0])):
        axes.plot([at for at, _ in points], [number / 1000 for _, number in points], color=hue, label=name)
    axes.set_ylabel("thousand actions")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=SMALL_PT, loc="upper left")


def _waiting(axes: Any, timeline: Timeline) -> None:
    """Draw each second's median and longest; what was never answered stands at the top."""
    answered = [one for one in timeline.answers if one.waited_s is not None]
    seconds = np.array([int(one.asked_s) for one in answered])
    waited = np.array([max(LEAST_S, one.waited_s or 0.0) for one in answered])
    at = np.unique(seconds)
    for name, of, hue, marker in (("longest", np.max, HUES[1], "s"), ("median", np.median, HUES[0], "o")):
        values = [float(of(waited[seconds == second])) for second in at]
        axes.plot(at, values, ls="", marker=marker, ms=2.5, color=hue, label=name)
    never = [one.asked_s for one in timeline.answers if one.waited_s is None]
    if never:
        axes.plot(never, [100.0] * len(never), ls="", marker="X", color=HUES[3], label=UNANSWERED)
    axes.set_yscale("log")
    axes.set_ylabel("s to the answer")
    axes.legend(frameon=False, fontsize=SMALL_PT, loc="lower left", ncols=3)


def _workers(axes: Any, timeline: Timeline, workers: int) -> None:
    names = [f"worker {number}" for number in range(workers)]
    if any(span.worker == workers for span in timeline.spans):
        names.append("broker")
    for condition, colour in COLOURS.items():
        for worker in range(len(names)):
            spans = [one for one in timeline.spans if one.worker == worker and one.condition is condition]
            bars = [(one.from_s, one.to_s - one.from_s) for one in spans]
            axes.broken_barh(bars, (worker - 0.35, 0.7), facecolors=colour, label=None if worker else condition.value)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.legend(frameon=False, fontsize=SMALL_PT, loc="upper left", bbox_to_anchor=(0, -0.35), ncols=4)
