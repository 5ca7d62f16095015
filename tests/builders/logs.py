"""Builders of recorded logs: the same events in every kind of file."""

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rankstream.events.action_event import ActionEvent
from rankstream.events.arrivals import Arrivals, concatenated
from rankstream.events.log import EventLog
from rankstream.events.open import FileLog, LogOptions, open_log
from rankstream.events.registry import read_log
from rankstream.events.skipped import Skipped
from tests.builders.actions import MINUTE_MS, MORNING_MS, VOCABULARY

Row = dict[str, Any]
FIELDS = ("user_id", "item_id", "action", "timestamp_ms", "surface", "value")


def some_events(count: int = 300, seed: int = 0) -> list[ActionEvent]:
    """Events of texts and numbers as ids, with and without surface and value, some late, some twice."""
    rng = np.random.default_rng(seed)
    events = []
    for n in range(count):
        events.append(
            ActionEvent(
                user_id=f"u{rng.integers(20)}",
                item_id=str(rng.integers(1, 90)) if rng.random() < 0.5 else f"ä{rng.integers(90)}",
                action=VOCABULARY.actions[rng.integers(len(VOCABULARY.actions))],
                timestamp_ms=MORNING_MS + n * MINUTE_MS - int(rng.integers(0, 300_000)),
                surface=[None, "home", "search", "elsewhere"][rng.integers(4)],
                value=None if rng.random() < 0.3 else round(float(rng.exponential(30)), 3),
            )
        )
    return events + events[::50]


def rows_of(events: list[ActionEvent]) -> list[Row]:
    return [{name: getattr(event, name) for name in FIELDS} for event in events]


def write_log(path: Path, rows: list[Row]) -> Path:
    """Write rows by the ending of the name; a field that a row lacks is empty."""
    names = list(dict.fromkeys(name for row in rows for name in row)) or list(FIELDS[:4])
    if path.suffix == ".parquet":
        pq.write_table(pa.table({name: [row.get(name) for row in rows] for name in names}), path)
    elif path.suffix == ".jsonl":
        lines = [json.dumps({name: value for name, value in row.items() if value is not None}) for row in rows]
        path.write_text("".join(line + "\n" for line in lines))
    else:
        with path.open("w", newline="") as file:
            lines = csv.writer(file, delimiter="," if path.suffix == ".csv" else "\t")
            lines.writerow(names)
            lines.writerows([["" if row.get(name) is None else row[name] for name in names] for row in rows])
    return path


def whole(log: FileLog) -> Arrivals:
    return concatenated(list(log.batches(VOCABULARY)))


def read(path: Path, **how: Any) -> EventLog:
    """Return a log as training reads it, none of whose rows are skipped."""
    return read_log(open_log(path, LogOptions(**how)))


def same(one: Arrivals, other: Arrivals) -> bool:
    """Return whether two readings gave equal arrivals, byte for byte; ids may be numbers in one, texts in another."""
    texts = [[list(map(str, ids)) for ids in (log.user_ids, log.item_ids)] for log in (one, other)]
    lists = [(log.user_keys, log.packed) for log in (one, other)]
    arrays = [(log.item_keys, log.codes, log.times_ms, log.arrived_ms, log.offsets) for log in (one, other)]
    return texts[0] == texts[1] and lists[0] == lists[1] and all(map(np.array_equal, *arrays))


def reasons(skipped: Skipped) -> Counter[str]:
    """Return how many were skipped by reason alone, as workers count dead letters."""
    counts: Counter[str] = Counter()
    for kind, count in skipped.by_kind().items():
        counts[kind.partition(":")[0]] += count
    return counts
