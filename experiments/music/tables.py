"""The tables of PinnerFormer, HierTCN and MovieLens-1M, from results alone.

A result holds each user's numbers of targets and of hits, so that seeds are averaged user by user, and intervals (95 %,
bootstrap over users) and paired differences are computed here.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rankstream.experiments.markdown import mean_and_interval, short, table
from rankstream.experiments.music.data import FRESHNESS, spelled
from rankstream.experiments.runs import Runs
from rankstream.metrics.bootstrap import bootstrap_interval

Values = npt.NDArray[np.float64]
SEED = re.compile(r"-seed\d+$")
SIZE_NOTE = {
    "full": "",
    "medium": "*All users, a fifth of the steps of the full size: not trained to the end.*\n\n",
    "small": "*A small run of minutes: it shows that all of it runs, and nothing else.*\n\n",
}


@dataclass(frozen=True)
class Row:
    """One row's results over its seeds."""

    results: tuple[Mapping[str, Any], ...]  # of each seed: the metrics

    def of_users(self, hits: Sequence[str], targets: str) -> Values:
        """Return recall a user, averaged over seeds."""
        found: Values = np.mean([spelled(text) for text in hits], axis=0) / spelled(targets)
        return found

    def has(self, freshness: Collection[str]) -> bool:
        """Return whether there are results of PinnerFormer's vectors for all of these."""
        return set(freshness) <= set(self.results[0]["hits"])

    def recall(self, freshness: str) -> Values:
        """Return recall@10 a user of PinnerFormer's vectors of this freshness."""
        return self.of_users([result["hits"][freshness] for result in self.results], self.results[0]["targets"])

    def hits(self, cut: int) -> Values:
        """Return recall a user of the next item."""
        return self.of_users([result[f"hits@{cut}"] for result in self.results], self.results[0]["targets"])

    def reciprocal_ranks(self) -> Values:
        """Return the mean reciprocal rank a user of the next item."""
        every = [np.array(result["reciprocal_ranks"].split(), np.float64) for result in self.results]
        means: Values = np.mean(every, axis=0)
        return means

    def mean(self, name: str) -> float:
        """Return the mean of a number over seeds."""
        return float(np.mean([result[name] for result in self.results]))


def rows_of(runs: Runs, name: str, wanted: Collection[str]) -> tuple[dict[str, Row], str]:
    """Return the rows of the size that has the most of those wanted, and that size."""
    best: tuple[dict[str, Row], str] = ({}, "")
    count = 0
    for size in SIZE_NOTE:
        found: dict[str, list[Mapping[str, Any]]] = {}
        for result in runs.results_of(f"{name}-{size}"):
            row = SEED.sub("", result["name"].split("/")[1])
            found.setdefault(row, []).append(result["metrics"])
        has = len(found.keys() & set(wanted))
        if has > count:
            count, best = has, ({row: Row(tuple(results)) for row, results in found.items()}, size)
    return best


def with_interval(values: Values, digits: int = 3) -> str:
    """Write a mean over users with its interval."""
    return mean_and_interval(float(values.mean()), bootstrap_interval(values, range(len(values)), seed=0), digits)


def tables(runs: Runs) -> dict[str, str]:
    """Return all tables that have results."""
    made = {**movielens(runs), **pinnerformer(runs), **hiertcn(runs)}
    return {name: text for name, text in made.items() if text}


# --- MovieLens-1M -------------------------------------------------------------------------------------------------


MOVIELENS = {
    "plain": {
        "encoder": "encoder, all 3,416 items ranked",
        "encoder_seen_hidden": "the same, seen items left out",
    },
    "repeats": {
        "encoder": "with a repeat weight, all 3,416 items ranked",
        "encoder_seen_hidden": "the same, seen items left out",
        "popularity": "popularity, all items ranked",
        "popularity_seen_hidden": "popularity, seen items left out",
    },
}


def movielens(runs: Runs) -> dict[str, str]:
    """Return the table of the encoder on MovieLens-1M."""
    size = "full" if runs.result("movielens/full-repeats") else "small"
    results = {row: runs.result(f"movielens/{size}-{row}") for row in MOVIELENS}
    rows = [
        [shown, *_movielens_cells(result["metrics"][name])]
        for row, result in results.items()
        if result is not None
        for name, shown in MOVIELENS[row].items()
    ]
    if not rows:
        return {}
    return {"movielens": SIZE_NOTE[size] + table(["test", "Recall@1", "Recall@5", "Recall@10", "NDCG@10"], rows)}


def _movielens_cells(measured: Mapping[str, Any]) -> list[str]:
    wide = [mean_and_interval(measured[name]["value"], measured[name]["interval"]) for name in ("recall@10", "ndcg@10")]
    return [short(measured["recall@1"]), short(measured["recall@5"]), *wide]


# --- PinnerFormer -------------------------------------------------------------------------------------------------

OBJECTIVES = {
    "next-action": "next action",
    "sasrec": "SASRec's: each position's next action",
    "all-action": "all-action, 28 days",
    "dense-14-days": "dense all-action, 14 days",
    "dense": "dense all-action, 28 days",
}
BASELINES = ("popularity", "popularity of 28 days", "nearest to the last item", "last 10 items")
NEGATIVES = {
    "random": "random",
    "in-batch-without-log-q": "in-batch, no log Q",
    "in-batch": "in-batch, log Q",
    "mixed-without-log-q": "mixed, no log Q",
    "dense": "mixed, log Q",
    "narrow-sketch": "mixed, log Q of a sketch of 4 x 2,048 counters",
}
TIMES = {
    "time-in-tokens": "in the tokens, as published",
    "time-in-tokens-newest-only": "in the tokens, newest position of each window only",
    "dense": "between pairs, in attention (ours)",
}


def pinnerformer(runs: Runs) -> dict[str, str]:
    """Return PinnerFormer's tables."""
    parts = {"objectives": OBJECTIVES, "negatives": NEGATIVES, "time": TIMES}
    made = {}
    for part, names in parts.items():
        rows, size = rows_of(runs, "pinnerformer", names)
        if "dense" in rows:
            made[f"pinnerformer-{part}"] = SIZE_NOTE[size] + _recalls(rows, names)
    rows, size = rows_of(runs, "pinnerformer", OBJECTIVES)
    complete = {name: row for name, row in rows.items() if name in OBJECTIVES and row.has(FRESHNESS)}
    return made | ({"pinnerformer-staleness": SIZE_NOTE[size] + _staleness(complete)} if "dense" in complete else {})


def _recalls(rows: Mapping[str, Row], names: Mapping[str, str]) -> str:
    head = ["trained with", "seeds", "once", "less dense's", "daily", "real time", "less dense's", "P90 coverage@10"]
    lines, reference = [], rows["dense"]
    if "baselines" in rows:
        for name in BASELINES:
            kept = rows["baselines"].results[0]
            baseline = Row(({"targets": kept["targets"], "hits": kept["hits"][name]},))
            lines.append([f"*{name}*", "", *_recall_cells(baseline, reference), ""])
    for name, shown in names.items():
        if name in rows:
            row = rows[name]
            cells = _recall_cells(row, reference if name != "dense" else None)
            lines.append([shown, str(len(row.results)), *cells, short(row.mean("coverage"))])
    return table(head, lines)


def _recall_cells(row: Row, reference: Row | None) -> list[str]:
    cells = []
    for freshness in ("once", "realtime"):
        recall = row.recall(freshness)
        difference = "" if reference is None else with_interval(recall - reference.recall(freshness))
        cells.extend([with_interval(recall), difference])
    return [*cells[:2], short(row.recall("daily").mean()), *cells[2:]]


def _staleness(rows: Mapping[str, Row]) -> str:
    head = ["trained with", "once", "daily", "each session", "real time"]
    head += ["lost daily", "lost once", "more than dense's", "lost once, of each session's"]
    made = {
        name: {freshness: rows[name].recall(freshness) for freshness in FRESHNESS}
        for name in OBJECTIVES
        if name in rows
    }
    reference, lines = _lost(made["dense"]["once"], made["dense"]["realtime"]), []
    for name, recalls in made.items():
        daily, once = (_lost(recalls[stale], recalls["realtime"]) for stale in ("daily", "once"))
        more = "" if name == "dense" else _points(once - reference)
        cells = [_points(daily), _points(once), more, _points(_lost(recalls["once"], recalls["session"]))]
        lines.append([OBJECTIVES[name], *(with_interval(values) for values in recalls.values()), *cells])
    return table(head, lines)


def _lost(stale: Values, fresh: Values, resamples: int = 1000) -> Values:
    """Return the share of fresh recall that is lost: of all users, then of resampled users, ``(1 + resamples,)``.

    Each call resamples the same users, so that differences of two are paired.
    """
    resampled = np.random.default_rng(0).integers(0, len(stale), (resamples, len(stale)))
    which = np.concatenate([np.arange(len(stale))[None], resampled])
    shares: Values = 1 - stale[which].mean(1) / np.maximum(fresh[which].mean(1), 1e-9)
    return shares


def _points(shares: Values) -> str:
    """Write a share of all users in percent, with its interval."""
    low, high = np.quantile(shares[1:], [0.025, 0.975])
    return f"{100 * shares[0]:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


# --- HierTCN ------------------------------------------------------------------------------------------------------

SESSION_MODELS = {
    "hiertcn": "HierTCN",
    "hrnn": "hierarchical GRU (HRNN)",
    "flat-gru": "flat GRU",
    "flat-tcn": "flat TCN",
}
LEARNING = {f"{name}-learned-items": shown for name, shown in SESSION_MODELS.items()}
LOSSES = {
    "hiertcn": "cross-entropy, all items",
    "loss-cross-entropy-20": "cross-entropy, 20 negatives",
    "loss-nce": "NCE",
    "loss-bpr": "BPR",
    "loss-hinge-linear": "hinge",
    "loss-hinge-sigmoid": "hinge of sigmoids",
    "loss-hinge-logsigmoid": "hinge of log sigmoids",
}
FEW = "loss-cross-entropy-20"  # what other losses on 20 negatives are compared with
COSTS = {
    "training_us_a_next_item": "training, softmax over all",
    "training_us_with_few_negatives": "training, 20 negatives",
    "serving_us_an_action": "serving, an action",
    "bytes_a_next_item_max": "data of the largest batch",
}


def hiertcn(runs: Runs) -> dict[str, str]:
    """Return HierTCN's tables."""
    made = {}
    parts = (
        ("models", SESSION_MODELS, "hiertcn"),
        ("items", LEARNING, "hiertcn-learned-items"),
        ("losses", LOSSES, FEW),
    )
    for part, names, reference in parts:
        rows, size = rows_of(runs, "hiertcn", names)
        if reference in rows:
            made[f"hiertcn-{part}"] = SIZE_NOTE[size] + _next_items(rows, names, reference)
    rows, _ = rows_of(runs, "hiertcn", ["costs"])
    return made | ({"hiertcn-costs": _costs(rows["costs"].results[0])} if "costs" in rows else {})


def _next_items(rows: Mapping[str, Row], names: Mapping[str, str], of: str) -> str:
    less = "less cross-entropy's, 20" if of == FEW else "less HierTCN's"
    head = ["", "weights", "seeds", "Recall@1", "Recall@5", "Recall@10", less, "MRR"]
    reference, lines = rows[of].hits(10), []
    if of != FEW and "baselines" in rows:
        for name, kept in rows["baselines"].results[0]["rows"].items():
            lines.append([f"*{name}*", "", "", *_next_cells(Row((kept,)), reference)])
    for name, shown in names.items():
        if name in rows:
            row = rows[name]
            cells = _next_cells(row, reference if name != of else None)
            lines.append([shown, f"{row.mean('parameters'):,.0f}", str(len(row.results)), *cells])
    return table(head, lines)


def _next_cells(row: Row, reference: Values | None) -> list[str]:
    ten = row.hits(10)
    difference = "" if reference is None else with_interval(ten - reference)
    few = [short(row.hits(cut).mean()) for cut in (1, 5)]
    return [*few, with_interval(ten), difference, with_interval(row.reciprocal_ranks())]


def _costs(measured: Mapping[str, Mapping[str, float]]) -> str:
    head = ["HierTCN = 1", *COSTS.values(), "as us, us, us, bytes", "largest batch", "padding"]
    lines, unit = [], measured["hiertcn"]
    for name, shown in SESSION_MODELS.items():
        mine = measured[name]
        ratios = [f"{mine[cost] / unit[cost]:.2f}" for cost in COSTS]
        absolute = ", ".join(f"{mine[cost]:,.0f}" for cost in COSTS)
        lines.append([shown, *ratios, absolute, f"{mine['batch_mb_max']:.2f} MB", f"{100 * mine['padding']:.0f} %"])
    return table(head, lines)
