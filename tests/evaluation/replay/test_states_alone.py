"""Replay of states alone: columns of any log leave what its rows leave one by one, with either engine, to the byte."""

import importlib.util
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from rankstream.evaluation.replay.variants import DelayedPipeline
from rankstream.events.arrivals import Arrivals, LogError, concatenated
from rankstream.events.open import FileLog, LogOptions, open_log
from rankstream.events.readers import columns as column_reader
from rankstream.events.readers.json_lines import Reading, RowReader
from rankstream.events.skipped import Skipped
from rankstream.streams.engine import PLAIN, Engine, open_engine
from tests.builders.actions import MORNING_MS, VOCABULARY, MixingSessions, SomeLiveRanker
from tests.builders.logs import same

needs_numba = pytest.mark.skipif(
    importlib.util.find_spec("numba") is None, reason="numba is not installed: pip install 'rankstream[fast]'"
)
HOUR_MS = 3_600_000
TEXTS = ("u1", "u2", "u3", "7", "007", "x" * 16, "x" * 17, "y" * 256, "y" * 257, "ü" * 200, "日本", "\0", "", None)
NUMBERS = (1, 2, 7, 0, -3, 2**63 - 1, None)
TIMES = st.integers(0, 12).map(lambda n: MORNING_MS + n * HOUR_MS)
ODD_TIMES = st.sampled_from([None, 0, -5, 10**9, 4_102_444_800_000, 2**62])
ACTIONS = ("view", "view", "click", "save", "hide", "forget", "dance", "d" * 70, "", None)
ROW = {
    "action": st.sampled_from(ACTIONS),
    "timestamp_ms": st.integers(0, 9).flatmap(lambda n: TIMES if n else ODD_TIMES),
    "surface": st.sampled_from(["home", "elsewhere", None]),
    "value": st.sampled_from([None, 0.0, 3.5, -1.0, float("inf"), float("nan")]),
}
TYPES = (pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string()))


@st.composite
def files(draw: st.DrawFn) -> list[pa.Table]:
    """One to three files of one log; ids are texts of any type of Arrow's, or numbers, and mostly there."""
    users, items = draw(st.sampled_from([TEXTS, NUMBERS])), draw(st.sampled_from([TEXTS, NUMBERS]))
    kind = draw(st.sampled_from(TYPES))
    row = st.fixed_dictionaries({"user_id": st.sampled_from(users), "item_id": st.sampled_from(items), **ROW})
    types = {"user_id": users, "item_id": items}
    made = []
    for rows in draw(st.lists(st.lists(row, min_size=1, max_size=40), min_size=1, max_size=3)):
        columns = {name: [one[name] for one in rows] for name in rows[0]}
        arrays = {name: pa.array(values, kind if types.get(name) is TEXTS else None) for name, values in columns.items()
                  if name in types} | {
            "action": pa.array(columns["action"], kind),
            "timestamp_ms": pa.array(columns["timestamp_ms"], pa.int64()),
            "surface": pa.array(columns["surface"], kind),
            "value": pa.array(columns["value"], pa.float64()),
        }  # fmt: skip
        made.append(pa.table({name: _whole(array) for name, array in arrays.items()}))
    return made


def _whole(array: pa.Array) -> pa.Array:
    return array.cast(pa.int64()) if pa.types.is_null(array.type) else array


def row_by_row(log: FileLog, skipped: Skipped) -> Arrivals | None:
    """Read all rows one at a time: the plain reference of columns."""
    positions = log.shown is not None
    parts = [
        part
        for file in log.files
        for part in RowReader(file.reader.rows()).read(
            Reading(VOCABULARY, file.shape, log.now_ms, skipped, positions=positions).of(file.path)
        )
    ]
    rows = concatenated(parts) if parts else None
    if rows is not None and log.shown is not None:
        rows = rows.taken((rows.codes != VOCABULARY.action_codes[log.shown]).nonzero()[0])
    return rows if rows is None else rows.numbered(0)


def replayed(batches: Iterator[Arrivals], engine: Engine, max_cached: int) -> tuple[Any, ...]:
    """Return all that a replay of states alone leaves: states and counters."""
    delayed = DelayedPipeline(SomeLiveRanker(MixingSessions()), 0, 3, 12 * HOUR_MS, engine)
    users = delayed.pipeline.users
    users.max_cached = max_cached
    for arrivals in batches:
        delayed.feed(arrivals, 0, len(arrivals))
    users.commit(users.take_changes(0))
    return list(users.store.items()), delayed.pipeline.counters, delayed.applied


@pytest.fixture(scope="session")
def compiled() -> Engine:
    return open_engine("compiled")


@needs_numba
@settings(max_examples=150, deadline=None)
@given(files(), st.sampled_from([None, "view"]), st.integers(1, 50), st.integers(1, 9))
def test_columns_leave_what_rows_leave_one_by_one(
    compiled: Engine, tables: list[pa.Table], shown: str | None, batch: int, max_cached: int
):
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(column_reader, "BATCH_ROWS", batch)
        patch.setattr("rankstream.streams.compiled.pipeline.ROWS_AT_ONCE", 5)
        for number, table in enumerate(tables):
            pq.write_table(table, Path(folder) / f"{number}.parquet", row_group_size=11)
        try:
            log, plain = open_log(Path(folder), LogOptions(shown=shown)), Skipped()
            batches = list(log.batches(VOCABULARY, erasures=True))
        except LogError:  # no row of it can be used, or none tells the unit of its times
            event("nothing to read")
            return
        skipped, rows = (dict(log.skipped.rows), log.skipped.by_kind()), row_by_row(log, plain)
        assert skipped == (dict(plain.rows), plain.by_kind())
        assert rows is not None
        assert same(concatenated(batches), rows)
        wanted = replayed(iter([rows]), PLAIN, 10**6)
        assert replayed(iter(batches), PLAIN, max_cached) == wanted
        assert replayed(iter(batches), compiled, max_cached) == wanted
        cut = [one.rows(slice(at, at + 3)) for one in batches for at in range(0, len(one), 3)]
        assert replayed(iter(cut), compiled, max_cached) == wanted
