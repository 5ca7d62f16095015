"""Logs without the actions that some of their items had before the cut, as if these had come into being at it.

Only what a file says of actions is written anew; what else lies in the log's folder is copied.
"""

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rankstream.experiments.feed.logs import LOGS, FeedLog

TEST_SHARE = 0.15  # of the actions, the last ones: replayed


@dataclass(frozen=True)
class WithheldLog:
    """How a log's files name items and times."""

    log: FeedLog
    files: tuple[str, ...]  # in the log's folder; the first one holds the actions
    item: str  # columns
    time: str
    ms: int = 1  # of one unit of its times
    lists: tuple[str, ...] = ()  # columns of the other files: items before any cut, a list a row; the first has all


WITHHELD = {
    one.log.name: one
    for one in (
        WithheldLog(
            LOGS["kuairand"], ("impressions.parquet", "user_history_before_apr25.parquet", "users.parquet"),
            "video_id", "time_ms", lists=("watch_seq", "like_seq", "long_watch_seq"),
        ),
        WithheldLog(LOGS["ml_small"], ("ratings.parquet",), "movie_id", "timestamp", ms=1_000),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Written:
    """A log as it was written."""

    path: Path  # as the log's, below the folder that it was written into
    cut_ms: int  # training ends here, and the replay begins
    items: frozenset[Any]  # that were withheld


def write_withheld(one: WithheldLog, data: Path, folder: Path, share: float, seed: int) -> Written:
    """Write a log below ``folder`` as it lies below ``data``, without what was done to a random ``share`` of its items.

    What was done from the cut on stays.
    """
    source, target = (one.log.at(root) for root in (data, folder))
    source, target = (path if path.suffix == "" else path.parent for path in (source, target))
    target.mkdir(parents=True, exist_ok=True)
    actions = pq.read_table(source / one.files[0])
    times, items = actions[one.time].to_numpy(), actions[one.item].to_numpy()
    cut = np.sort(times)[int(len(times) * (1 - TEST_SHARE))]
    others = [pq.read_table(source / name) for name in one.files[1:]]
    withheld = _drawn([items, *_listed(others, one.lists[:1])], share, seed)
    kept = ~(np.isin(items, list(withheld)) & (times < cut))
    pq.write_table(actions.filter(pa.array(kept)), target / one.files[0])
    for name, table in zip(one.files[1:], others, strict=True):
        if set(one.lists) & set(table.schema.names):
            pq.write_table(_without(table, one.lists, withheld), target / name)
        else:
            shutil.copyfile(source / name, target / name)
    return Written(one.log.at(folder), int(cut) * one.ms, withheld)


def _listed(tables: Iterable[pa.Table], lists: Sequence[str]) -> list[Any]:
    return [
        table[name].combine_chunks().flatten().to_numpy()
        for table in tables
        for name in lists
        if name in table.schema.names
    ]


def _drawn(items: Sequence[Any], share: float, seed: int) -> frozenset[Any]:
    different = np.unique(np.concatenate(items))
    return frozenset(different[np.random.default_rng(seed).random(len(different)) < share].tolist())


def _without(table: pa.Table, lists: Sequence[str], withheld: frozenset[Any]) -> pa.Table:
    """Return a table of histories without these items; one that becomes empty is left out."""
    rows = table.to_pylist()
    for row in rows:
        for name in lists:
            row[name] = [item for item in row[name] if item not in withheld]
        row["history_len"] = len(row[lists[0]])
    return pa.Table.from_pylist([row for row in rows if row[lists[0]]], schema=table.schema)
