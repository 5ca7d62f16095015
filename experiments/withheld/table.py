"""Outcomes of a replay as a table: cold, warm and all items, each ranker beside the first, with paired intervals."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from rankstream.evaluation.baselines.popularity import POPULARITY
from rankstream.experiments.markdown import mean_and_interval, table
from rankstream.metrics.arrays import Bools, Floats
from rankstream.metrics.bootstrap import bootstrap_interval

PARTS = ("cold", "warm", "all")
GAINED = "after less before"


def written_table(path: Path, trained: Collection[Any], variants: Mapping[str, str], limit: int) -> str:
    """Return the table of an outcomes file as Markdown: ``variants`` are before and after, beside popularity.

    They are called as their values say. Cold is what is not among the ``trained`` items; the last column is after
    less before, paired by request.
    """
    rows = pq.read_table(path).to_pylist()
    of = {shown: _by_query(rows, name) for name, shown in (*variants.items(), (POPULARITY, POPULARITY))}
    first, second = variants.values()
    queries = sorted(of[first])
    targets = [of[first][query]["targets"][0] for query in queries]
    users = [of[first][query]["user_id"] for query in queries]
    cold = np.array([target not in trained for target in targets], np.bool_)
    columns = {name: [found[query] for query in queries] for name, found in of.items()}
    lines = []
    for metric in (f"hit@{limit}", "hit@100", "hit@10", "ndcg@10"):
        values = {name: _values(column, metric) for name, column in columns.items()}
        values[GAINED] = values[second] - values[first]
        lines += [[_title(metric, limit, part), *_cells(values, users, _part(cold, part))] for part in PARTS]
    counts = ", ".join(f"{int(_part(cold, part).sum())} {part}" for part in PARTS)
    return table([f"requests: {counts}", *of, GAINED], lines)


def _title(metric: str, limit: int, part: str) -> str:
    return f"{f'recall@{limit}' if metric == f'hit@{limit}' else metric.upper()}, {part}"


def _by_query(rows: Sequence[Mapping[str, Any]], name: str) -> dict[str, Mapping[str, Any]]:
    return {row["query"]: row for row in rows if row["variant"] == name}


def _cells(values: Mapping[str, Floats], users: Sequence[Any], part: Bools) -> list[str]:
    """Return the mean of each column over a part of the requests."""
    return [_cell(column, users, part) for column in values.values()]


def _values(rows: Sequence[Mapping[str, Any]], metric: str) -> Floats:
    return np.array([row[metric] or 0.0 for row in rows], np.float64)


def _part(cold: Bools, part: str) -> Bools:
    return cold if part == "cold" else ~cold if part == "warm" else np.ones(len(cold), np.bool_)


def _cell(values: Floats, users: Sequence[Any], part: Bools) -> str:
    if not part.any():
        return "-"
    chosen = [user for user, among in zip(users, part, strict=True) if among]
    return mean_and_interval(float(values[part].mean()), bootstrap_interval(values[part], chosen, seed=0))
