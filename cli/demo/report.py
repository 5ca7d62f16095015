"""The demo's report: the scoreboard as a page for people and as JSON for programs."""

import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rankstream.cli.demo.scoreboard import FROZEN, HYBRID, POPULAR, RIVALS, Scoreboard
from rankstream.evaluation.html_page import Block, Heading, Plot, Table, Text, page

COLOURS = dict(zip(RIVALS, ("#1565c0", "#78909c", "#ef6c00", "#c0c0c0"), strict=True))


def figures(board: Scoreboard, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return every figure of the report as plain data."""
    rivals = {
        rival: {
            "hit_at_10": board.hit(rival),
            "hit_at_10_interval": board.interval(rival, board.hits),
            "ndcg_at_10": board.ndcg(rival),
            "ndcg_at_10_interval": board.interval(rival, board.gains),
        }
        for rival in RIVALS
    }
    leads = {
        f"over {rival}": {"hit_at_10": board.lead(rival, board.hits), "ndcg_at_10": board.lead(rival, board.gains)}
        for rival in RIVALS[1:]
    }
    wire = {
        "requests": len(board.judged),
        "errors": board.errors,
        "latency_ms_p50": board.latency_ms(0.5),
        "latency_ms_p99": board.latency_ms(0.99),
        "knew_newest_action": board.fresh_share(),
        "newest_action_age_ms_p50": board.newest_age_ms(0.5),
        "newest_action_age_ms_p99": board.newest_age_ms(0.99),
    }
    return {"rivals": rivals, "hybrid_leads": leads, "wire": wire, **facts}


def write_report(board: Scoreboard, facts: Mapping[str, Any], folder: Path) -> Path:
    """Write ``report.html`` and ``report.json``; give the page's path."""
    numbers = figures(board, facts)
    (folder / "report.json").write_text(json.dumps(numbers, indent=2) + "\n")
    path = folder / "report.html"
    path.write_text(page("rankstream demo", _lead(numbers), _blocks(board, numbers), _foot(numbers)))
    return path


def _lead(numbers: Mapping[str, Any]) -> str:
    return (
        f"MovieLens-100K as live traffic: {numbers['live_actions']:,} actions and {numbers['wire']['requests']:,} "
        f"ranking requests through Kafka, each request ranking all films that its user has not met (about "
        f"{numbers['candidates_median']:,.0f})."
    )


def _blocks(board: Scoreboard, numbers: Mapping[str, Any]) -> list[Block]:
    wire = numbers["wire"]
    return [
        Heading("What the feeds were worth"),
        Text(
            "Just before a user saves or clicks a film they ask for a feed; it is judged by where it put that film. "
            "Intervals: 95 %, users drawn anew 1,000 times. Random is exact, not sampled."
        ),
        _worth(numbers),
        Text(_verdict(numbers)),
        Plot(_over_time(board), "HIT@10 so far, over the requests in the order they were made."),
        Heading("What realtime is worth"),
        Plot(_by_history(board), "HIT@10 by how many actions its user had done before the request."),
        Heading("On the wire"),
        Table(
            ["figure", "value"],
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
        Plot(_latencies(board), "Latency of each request, produced to consumed."),
        Heading("How the time went"),
        Table(["stage", "seconds"], [[title, f"{took:.1f}"] for title, took in numbers["stages_s"].items()]),
    ]  # fmt: skip


def _worth(numbers: Mapping[str, Any]) -> Table:
    rows = []
    for rival, worth in numbers["rivals"].items():
        hit, ndcg = worth["hit_at_10_interval"], worth["ndcg_at_10_interval"]
        rows.append(
            [
                rival,
                f"{worth['hit_at_10']:.3f}", f"{hit[0]:.3f} to {hit[1]:.3f}",
                f"{worth['ndcg_at_10']:.3f}", f"{ndcg[0]:.3f} to {ndcg[1]:.3f}",
            ]
        )  # fmt: skip
    return Table(["ranked by", "HIT@10", "interval", "NDCG@10", "interval"], rows, marked=True)


def verdict_on(name: str, lead: tuple[float, tuple[float, float]]) -> str:
    """Say plainly whether the hybrid is ahead of a rival, and how sure that is."""
    ahead, (low, high) = lead
    word = "ahead of" if low > 0 else "behind" if high < 0 else "not clearly different from"
    return f"{word} {name} ({ahead:+.3f}, {low:+.3f} to {high:+.3f})"


def _verdict(numbers: Mapping[str, Any]) -> str:
    parts = [verdict_on(rival, numbers["hybrid_leads"][f"over {rival}"]["hit_at_10"]) for rival in (POPULAR, FROZEN)]
    return f"By HIT@10 the {HYBRID} is " + ", and ".join(parts) + "."


def _foot(numbers: Mapping[str, Any]) -> str:
    return (
        f"{numbers['command']} · model {numbers['model_version']} · {platform.platform()}, Python "
        f"{platform.python_version()} · the same figures in report.json"
    )


def _axes(title: str, down: str, up: str) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.2, 3.1))
    axes = figure.subplots()
    axes.set_title(title, loc="left", fontsize=10, fontweight="bold")
    axes.set_xlabel(down, fontsize=9)
    axes.set_ylabel(up, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e6e9ee")
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8)
    return figure, axes


SETTLED = 20  # requests before the mean of hits says anything


def _over_time(board: Scoreboard) -> Any:
    figure, axes = _axes("HIT@10 so far", "requests", "HIT@10")
    for rival in RIVALS:
        hits = np.array(board.hits[rival])
        steps = np.arange(1, len(hits) + 1)
        axes.plot(steps[SETTLED:], (np.cumsum(hits) / steps)[SETTLED:], color=COLOURS[rival], label=rival, lw=1.8)
    axes.set_ylim(0, 1.35 * axes.get_ylim()[1])  # room for the legend
    axes.legend(fontsize=8, frameon=False, ncols=2, loc="upper left")
    return figure


HISTORY_BUCKETS = ((0, 0), (1, 5), (6, 20), (21, 50), (51, 100), (101, 10**9))


def _by_history(board: Scoreboard) -> Any:
    figure, axes = _axes("What there is to know of the user", "actions before the request", "HIT@10")
    known = np.array([one.history for one in board.judged])
    names = []
    for place, (low, high) in enumerate(HISTORY_BUCKETS):
        among = (known >= low) & (known <= high)
        names.append(
            f"{low if low == high else f'{low}+' if high > 10**6 else f'{low}-{high}'}\n({among.sum()} requests)"
        )
        for offset, rival in enumerate((HYBRID, FROZEN, POPULAR)):
            height = float(np.array(board.hits[rival])[among].mean()) if among.any() else 0.0
            label = rival if place == 0 else None
            axes.bar(place + (offset - 1) * 0.27, height, 0.25, color=COLOURS[rival], label=label)
    axes.set_xticks(range(len(names)), names)
    axes.legend(fontsize=8, frameon=False)
    return figure


def _latencies(board: Scoreboard) -> Any:
    figure, axes = _axes("Latency", "requests", "ms")
    axes.plot([one.latency_ms for one in board.judged], ".", ms=2.5, color="#1565c0", alpha=0.6)
    for quantile, style in ((0.5, "-"), (0.99, "--")):
        axes.axhline(board.latency_ms(quantile), color="#37474f", ls=style, lw=1, label=f"p{quantile * 100:.0f}")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8, frameon=False)
    return figure
