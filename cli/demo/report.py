"""The demo's report: the scoreboard as a page for people and as JSON for programs."""

import json
import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rankstream.cli.demo.scoreboard import BASELINES, HYBRID, LIMIT, NO_REALTIME, RANKERS, VMIS_KNN, Scoreboard
from rankstream.evaluation.html_page import Block, Heading, Plot, Table, Text, page
from rankstream.metrics.drawing import GREYS, HUES, NARROW_IN, SOFT, WIDE_IN, figure, legend_above

COLOURS = dict(zip(RANKERS, (HUES[0], HUES[4], GREYS[0], HUES[1], HUES[2], HUES[3], GREYS[1]), strict=True))
DASHES = dict(zip(RANKERS, ("-", (0, (3, 1, 1, 1)), "--", "-.", (0, (5, 1)), (0, (1, 1)), ":"), strict=True))


def metrics_of(board: Scoreboard, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything that the report shows as plain data."""
    rankers = {
        ranker: {
            "hit_at_10": board.hit(ranker),
            "hit_at_10_interval": board.interval(ranker, board.hits),
            "ndcg_at_10": board.ndcg(ranker),
            "ndcg_at_10_interval": board.interval(ranker, board.gains),
        }
        for ranker in RANKERS
    }
    leads = {
        f"over {one}": {"hit_at_10": board.lead(one, board.hits), "ndcg_at_10": board.lead(one, board.gains)}
        for one in BASELINES
    }
    wire = {
        "requests": len(board.scored),
        "errors": board.errors,
        "latency_ms_p50": board.latency_ms(0.5),
        "latency_ms_p99": board.latency_ms(0.99),
        "knew_newest_action": board.fresh_share(),
        "newest_action_age_ms_p50": board.newest_age_ms(0.5),
        "newest_action_age_ms_p99": board.newest_age_ms(0.99),
    }
    return {"rivals": rankers, "hybrid_leads": leads, "best_baseline": board.best_baseline(), "wire": wire, **facts}


def write_report(board: Scoreboard, facts: Mapping[str, Any], folder: Path) -> Path:
    """Write ``report.html`` and ``report.json``; return the page's path."""
    numbers = metrics_of(board, facts)
    (folder / "report.json").write_text(json.dumps(numbers, indent=2) + "\n")
    path = folder / "report.html"
    path.write_text(page("rankstream demo", _lead(numbers), _blocks(board, numbers), _foot(numbers)))
    return path


def _lead(numbers: Mapping[str, Any]) -> str:
    return (
        f"MovieLens-100K as live traffic: {numbers['live_actions']:,} actions and {numbers['wire']['requests']:,} "
        f"ranking requests through Kafka, each request ranking all films that its user has not seen (about "
        f"{numbers['candidates_median']:,.0f})."
    )


def _blocks(board: Scoreboard, numbers: Mapping[str, Any]) -> list[Block]:
    wire = numbers["wire"]
    return [
        Heading("Ranking quality"),
        Text(
            "Just before a user saves or clicks a film they ask for a feed; the metrics use the rank of that film. "
            "Intervals: 95 %, bootstrap over users, 1,000 resamples. Random is exact, not sampled. A second request "
            f"asks for the best of {LIMIT} films that are found for it: what is not among these is a miss."
        ),
        _quality(numbers),
        Text(_verdict(numbers)),
        _plot(_over_time, board, "HIT@10 so far, over the requests in the order they were made."),
        Heading("What realtime actions add"),
        _plot(_by_history, board, "HIT@10 by how many actions its user had done before the request."),
        Heading("On the wire"),
        Table(
            ["metric", "value"],
            [
                ["request latency p50 / p99, produced to consumed",
                 f"{wire['latency_ms_p50']:,.0f} / {wire['latency_ms_p99']:,.0f} ms"],
                ["feeds that knew the newest action produced before them", f"{wire['knew_newest_action']:.1%}"],
                ["age of that action when the feed was consumed, p50 / p99",
                 f"{wire['newest_action_age_ms_p50']:,.0f} / {wire['newest_action_age_ms_p99']:,.0f} ms"],
                ["the past produced (one kafka-python producer)", f"{numbers['produced_per_s']:,.0f} events/s"],
                ["the past applied, after the worker's start", f"{numbers['catch_up_s']:.1f} s, group join included"],
                ["live traffic", f"{numbers['live_events_per_s']:,.0f} events/s, beside {wire['requests']:,} requests"],
                ["state on disk", f"{numbers['state_bytes'] / 1e6:,.1f} MB for {numbers['users']:,} users"],
                ["requests answered with an error", f"{wire['errors']}"],
            ],
        ),
        _plot(_latencies, board, "Latency of each request, produced to consumed."),
        Heading("How the time went"),
        Table(["stage", "seconds"], [[title, f"{took:.1f}"] for title, took in numbers["stages_s"].items()]),
    ]  # fmt: skip


def _quality(numbers: Mapping[str, Any]) -> Table:
    rows = []
    for ranker, one in numbers["rivals"].items():
        hit, ndcg = one["hit_at_10_interval"], one["ndcg_at_10_interval"]
        rows.append(
            [
                ranker,
                f"{one['hit_at_10']:.3f}", f"{hit[0]:.3f} to {hit[1]:.3f}",
                f"{one['ndcg_at_10']:.3f}", f"{ndcg[0]:.3f} to {ndcg[1]:.3f}",
            ]
        )  # fmt: skip
    return Table(["ranked by", "HIT@10", "interval", "NDCG@10", "interval"], rows, marked=True)


def verdict_on(name: str, lead: tuple[float, tuple[float, float]]) -> str:
    """Return in words whether the hybrid is ahead of a baseline, and how sure that is."""
    ahead, (low, high) = lead
    word = "ahead of" if low > 0 else "behind" if high < 0 else "not clearly different from"
    return f"{word} {name} ({ahead:+.3f}, {low:+.3f} to {high:+.3f})"


def _verdict(numbers: Mapping[str, Any]) -> str:
    parts = [
        verdict_on(one, numbers["hybrid_leads"][f"over {one}"]["hit_at_10"])
        for one in (numbers["best_baseline"], NO_REALTIME)
    ]
    return f"By HIT@10 the {HYBRID} is " + ", and ".join(parts) + "."


def _foot(numbers: Mapping[str, Any]) -> str:
    return (
        f"{numbers['command']} · model {numbers['model_version']} · {platform.platform()}, Python "
        f"{platform.python_version()} · the same numbers in report.json"
    )


def _plot(draw: Callable[[Scoreboard, bool], Any], board: Scoreboard, caption: str) -> Plot:
    return Plot(draw(board, False), caption, narrow=draw(board, True))


def _axes(down: str, up: str, narrow: bool) -> tuple[Any, Any]:
    drawn, axes = figure(NARROW_IN if narrow else WIDE_IN, 3.1)
    axes.grid(visible=False, axis="x")
    axes.set_xlabel(down)
    axes.set_ylabel(up)
    return drawn, axes


SETTLED = 20  # requests before the mean of hits means anything


def _over_time(board: Scoreboard, narrow: bool) -> Any:
    drawn, axes = _axes("requests", "HIT@10", narrow)
    for ranker in RANKERS:
        hits = np.array(board.hits[ranker])
        steps = np.arange(1, len(hits) + 1)
        means = (np.cumsum(hits) / steps)[SETTLED:]
        axes.plot(steps[SETTLED:], means, color=COLOURS[ranker], ls=DASHES[ranker], label=ranker, lw=1.8)
    axes.set_ylim(bottom=0)
    legend_above(drawn, axes, 1 if narrow else 2)
    return drawn


HISTORY_BUCKETS = ((0, 0), (1, 5), (6, 20), (21, 50), (51, 100), (101, 10**9))


def _by_history(board: Scoreboard, narrow: bool) -> Any:
    drawn, axes = _axes("actions before the request (requests below)", "HIT@10", narrow)
    known = np.array([one.history for one in board.scored])
    names = []
    for index, (low, high) in enumerate(HISTORY_BUCKETS):
        among = (known >= low) & (known <= high)
        span = f"{low}" if low == high else f"{low}+" if high > 10**6 else f"{low}-{high}"
        names.append(f"{span}\n({among.sum()})")
        for offset, ranker in enumerate((HYBRID, NO_REALTIME, VMIS_KNN)):
            height = float(np.array(board.hits[ranker])[among].mean()) if among.any() else 0.0
            label = ranker if index == 0 else None
            axes.bar(index + (offset - 1) * 0.27, height, 0.25, color=COLOURS[ranker], label=label)
    axes.set_xticks(range(len(names)), names)
    legend_above(drawn, axes, 1 if narrow else 3)
    return drawn


def _latencies(board: Scoreboard, narrow: bool) -> Any:
    drawn, axes = _axes("requests", "ms", narrow)
    axes.plot([one.latency_ms for one in board.scored], ".", ms=3.5, color=HUES[0])
    for quantile, style in ((0.5, "-"), (0.99, "--")):
        axes.axhline(board.latency_ms(quantile), color=SOFT, ls=style, lw=1, label=f"p{quantile * 100:.0f}")
    axes.set_ylim(bottom=0)
    legend_above(drawn, axes)
    return drawn
