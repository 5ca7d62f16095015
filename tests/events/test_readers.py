"""Recorded logs: whatever the file, replay is handed what a worker would have decoded."""

import gzip
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rankstream.events.action_event import ActionEvent
from rankstream.events.arrivals import Arrivals, arrivals_of, concatenated
from rankstream.events.open import LogOptions, open_log
from rankstream.events.readers import columns as log_columns
from rankstream.events.readers import json_lines as log_events
from rankstream.events.readers.arrow_batch import arrivals_of_batch
from rankstream.events.readers.json_lines import JsonReader, Reading, RowReader
from rankstream.events.readers.rows import NOTHING, Shape, open_rows
from rankstream.events.skipped import Skipped
from rankstream.features.actions import Vocabulary
from rankstream.streams.records import recorded_actions
from tests.builders.actions import MORNING_MS, VOCABULARY, MixingSessions, SomeLiveRanker, a_pipeline, records_of
from tests.builders.logs import read, reasons, rows_of, same, some_events, whole, write_log

NOW_MS = MORNING_MS + 10**10
KINDS = ("log.parquet", "log.csv", "log.tsv", "log.jsonl")
GOOD = {"user_id": "u1", "item_id": 7, "action": "save", "timestamp_ms": MORNING_MS}


def decoded(events: list[ActionEvent]) -> Arrivals:
    """What a worker makes of the events: the truth that readers are held to."""
    return arrivals_of(recorded_actions(events), VOCABULARY, Skipped())


def row_by_row(path: Path, shape: Shape = Shape()) -> tuple[Arrivals, Skipped]:  # noqa: B008  # frozen
    reading = Reading(VOCABULARY, shape, NOW_MS, Skipped())
    return concatenated(list(RowReader(open_rows(path).rows).read(reading))).numbered(0), reading.skipped


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_file_returns_what_a_worker_would_decode(name: str, tmp_path: Path):
    events = some_events()
    log = open_log(write_log(tmp_path / name, rows_of(events)))
    assert same(whole(log), decoded(events))
    assert not log.skipped


@pytest.mark.parametrize("name", KINDS)
def test_states_replayed_from_a_file_are_those_that_the_stream_leaves(name: str, tmp_path: Path):
    """The fast path of packed actions against encoded records, to the byte, sessions folded included."""
    events = some_events(600)
    live, replayed = (a_pipeline(SomeLiveRanker(MixingSessions()), limit=8) for _ in range(2))
    records = recorded_actions(events)
    for at in range(0, len(records), 50):
        live.on_actions(records[at : at + 50])
    arrivals = whole(open_log(write_log(tmp_path / name, rows_of(events))))
    for at in range(0, len(arrivals), 70):
        part = arrivals.rows(slice(at, at + 70))
        replayed.apply(part.user_keys, part.packed, part.offsets.tolist())
    assert records_of(replayed) == records_of(live)
    assert replayed.counters == live.counters


WRONG = [
    {"user_id": ""},
    {"item_id": "x" * 300},
    {"action": "dance"},
    {"action": "d" * 70},
    {"action": ""},
    {"timestamp_ms": -5},
    {"timestamp_ms": 1_700_000_000},
    {"timestamp_ms": 1_700_000_000_000_000},
    {"timestamp_ms": None},
    {"value": -1.0},
    {"surface": "s" * 70},
]


KINDS_OF_WRONG = {
    "schema: no user_id": 1,
    "schema: item_id is wrong": 1,
    "unknown-action": 1,
    "schema: action is wrong": 1,
    "schema: no action": 1,
    "schema: timestamp_ms not from 1970 to 2109": 2,
    "timestamp: before 1973": 1,
    "schema: no timestamp_ms": 1,
    "schema: value is wrong": 1,
    "schema: surface is wrong": 1,
}


@pytest.mark.parametrize("name", KINDS)
def test_what_a_worker_would_reject_is_skipped_and_counted_by_the_workers_reasons(name: str, tmp_path: Path):
    rows = [GOOD | {"item_id": "7", "value": 2.0, "surface": "home"} | wrong for wrong in [{}, *WRONG, {}]]
    path = write_log(tmp_path / name, rows)
    log = open_log(path)
    assert whole(log).user_ids == ["u1", "u1"]
    assert log.skipped.by_kind() == row_by_row(path)[1].by_kind()
    assert reasons(log.skipped) == {"schema": 9, "unknown-action": 1, "timestamp": 1}
    assert log.skipped.by_kind() == KINDS_OF_WRONG
    assert (log.skipped.rows["timestamp: before 1973"].where) == f"{path}, {'line' if 'json' in name else 'row'} 8"


@pytest.mark.parametrize("name", ["log.parquet", "log.csv", "log.tsv"])
@pytest.mark.parametrize("nothing", ["\\N", "NULL", "nan", "undefined"])
def test_what_programs_write_for_nothing_is_no_id_and_no_value_of_a_table(nothing: str, name: str, tmp_path: Path):
    wrong = [{}, {"user_id": nothing}, {"item_id": nothing}, {"value": nothing}, {"action": "dance"}]
    path = write_log(tmp_path / name, [GOOD | {"item_id": "7", "value": "2.0"} | one for one in wrong])
    log = open_log(path)
    read = whole(log)
    assert read.user_ids == ["u1", "u1"]
    assert np.isnan(read.values).tolist() == [False, True]
    assert log.skipped.by_kind() == {"schema: no user_id": 1, "schema: no item_id": 1, "unknown-action": 1}
    assert row_by_row(path, Shape(nothing=NOTHING))[1].by_kind() == log.skipped.by_kind()


def test_a_value_may_have_a_decimal_comma_where_all_is_text(tmp_path: Path):
    log = open_log(write_log(tmp_path / "log.csv", [GOOD | {"value": "12,5"}, GOOD | {"value": "1.299,5"}]))
    assert whole(log).values.tolist() == [12.5, 1299.5]


def test_a_message_may_have_any_id(tmp_path: Path):
    log = open_log(write_log(tmp_path / "log.jsonl", [GOOD | {"user_id": "null"}, GOOD | {"action": "dance"}]))
    assert whole(log).user_ids == ["null"]


def test_rejections_have_the_reason_that_the_stream_reports(tmp_path: Path):
    """A row that can be sent but not applied has the same reason in a dead letter and in the replay."""
    events = [ActionEvent("u1", 7, action, at) for action, at in (("dance", MORNING_MS), ("save", 10**9))]
    pipeline = a_pipeline()
    pipeline.on_actions(recorded_actions(events))
    log = open_log(write_log(tmp_path / "log.jsonl", [*rows_of(events), GOOD]))
    whole(log)
    assert reasons(log.skipped) == pipeline.counters.rejected


def test_good_rows_keep_their_order_among_bad_ones(tmp_path: Path):
    """Rows that are decoded one by one return to their positions."""
    rows = [GOOD | {"item_id": n, "action": "save" if n % 3 else "dance"} for n in range(50)]
    rows[7]["timestamp_ms"] = float(MORNING_MS)
    log = open_log(write_log(tmp_path / "log.jsonl", rows))
    assert whole(log).item_ids == [n for n in range(50) if n % 3]


ODD_COLUMNS = {
    "numbers with fractions as ids": {"user_id": pa.array([7.0, 8.0]), "item_id": pa.array([1.0, None])},
    "timestamps": {
        "timestamp_ms": pa.array([datetime.fromtimestamp(MORNING_MS / 1e3, UTC), None], pa.timestamp("us", "UTC"))
    },
    "timestamps without a zone": {"timestamp_ms": pa.array([MORNING_MS * 1000 + 999] * 2, pa.timestamp("us"))},
    "dictionaries": {name: pa.array(["click", None]).dictionary_encode() for name in ("action", "surface", "user_id")},
    "large and small numbers": {"user_id": pa.array([2**63 + 5, 1], pa.uint64()), "item_id": pa.array([-3, 4])},
    "no values at all": {"value": pa.nulls(2), "surface": pa.nulls(2)},
    "values that are none": {"value": pa.array([float("nan"), float("inf")])},
    "truths as names": {"action": pa.array([True, False])},
    "numbers as surfaces": {"surface": pa.array([1, None])},
    "whole numbers as values": {"value": pa.array([3, -3], pa.int16())},
    "floats as times": {"timestamp_ms": pa.array([MORNING_MS + 0.5, float("nan")])},
    "texts as times": {"timestamp_ms": pa.array([f"{MORNING_MS}.5", "noon"])},
    "texts as values": {"value": pa.array(["1.5", "nan"])},
    "words as values": {"value": pa.array(["", "much"])},
}


@pytest.mark.parametrize("name", ODD_COLUMNS)
def test_columns_of_any_type_return_what_their_rows_return(name: str, tmp_path: Path):
    """The fast reader of columns against its plain twin, on one batch of a file."""
    columns = {field: pa.array([value] * 2) for field, value in GOOD.items()} | ODD_COLUMNS[name]
    pq.write_table(pa.table(columns | {"note": pa.array(["x", "good"])}), tmp_path / "log.parquet")
    fast, plain = (Reading(VOCABULARY, Shape(), NOW_MS, Skipped()) for _ in range(2))
    (batch,) = pq.ParquetFile(tmp_path / "log.parquet").iter_batches()
    arrivals = arrivals_of_batch(batch, fast)
    rows = list(RowReader(open_rows(tmp_path / "log.parquet").rows).read(plain))
    assert same(arrivals, rows[0]) if rows else not len(arrivals)
    assert fast.skipped.by_kind() == plain.skipped.by_kind()


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("kind", [int, float, str])
def test_times_of_every_unit_are_the_same_by_column_and_by_row(unit: str, kind: type, tmp_path: Path):
    ms = [MORNING_MS, MORNING_MS + 1999, MORNING_MS + 500_500]
    scale = {"s": 1e-3, "ms": 1, "us": 1000, "ns": 1_000_000}[unit]
    rows = [GOOD | {"timestamp_ms": kind(round(at * scale) if kind is int else at * scale)} for at in ms]
    path = write_log(tmp_path / "log.parquet", rows)
    arrivals = whole(open_log(path, LogOptions(time_unit=unit)))
    assert same(arrivals, row_by_row(path, Shape(time_unit=unit))[0])
    assert np.abs(arrivals.times_ms - ms).max() <= (1000 if (unit, kind) == ("s", int) else 1)


@pytest.mark.parametrize("name", KINDS)
def test_columns_are_mapped_and_constants_are_set(name: str, tmp_path: Path):
    path = write_log(tmp_path / name, [{"uid": 7, "item": "i9", "when": MORNING_MS // 1000, "action": 3}])
    columns = {"user_id": "uid", "item_id": "item", "timestamp_ms": "when"}
    arrivals = whole(open_log(path, LogOptions(columns, {"action": "save", "surface": "home"}, "s")))
    assert same(arrivals, decoded([ActionEvent(7, "i9", "save", MORNING_MS, "home")]))


@pytest.mark.parametrize("name", KINDS)
def test_a_log_that_records_when_its_rows_were_produced_is_held_to_it(name: str, tmp_path: Path):
    """A worker rejects an event stamped more than a day after its record."""
    hour = 3_600_000
    rows = [GOOD | {"arrived_ms": MORNING_MS + lag * hour} for lag in (2, -23, -25)]
    log = open_log(write_log(tmp_path / name, rows))
    assert whole(log).arrived_ms.tolist() == [MORNING_MS + 2 * hour, MORNING_MS - 23 * hour]
    assert log.skipped.by_kind() == {"timestamp: more than a day after arrived_ms": 1}


def test_ids_of_a_csv_file_stay_texts(tmp_path: Path):
    path = write_log(tmp_path / "log.csv", [GOOD | {"user_id": "007", "item_id": "7"}])
    assert whole(open_log(path)).user_keys == [b"007"]


def test_arrival_order_is_the_logs_own_unless_it_is_sorted(tmp_path: Path):
    rows = [GOOD | {"item_id": n, "timestamp_ms": MORNING_MS + at} for n, at in enumerate([5, 3, 9, 3])]
    path = write_log(tmp_path / "log.parquet", rows)
    assert whole(open_log(path)).item_ids == [0, 1, 2, 3]
    arrivals = whole(open_log(path, LogOptions(sort=True)))
    assert arrivals.item_ids == [1, 3, 0, 2]  # rows of one time keep their order
    assert arrivals.offsets.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("name", KINDS)
def test_a_long_log_comes_in_batches_with_consecutive_offsets(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(log_columns, "BATCH_ROWS", 1000)
    monkeypatch.setattr(log_events, "LINES_BYTES", 50_000)
    path = write_log(tmp_path / name, [GOOD | {"item_id": n} for n in range(5_500)])
    batches = list(open_log(path).batches(VOCABULARY))
    assert len(batches) > 5
    assert max(len(batch) for batch in batches) <= 1000
    assert concatenated(batches).offsets.tolist() == list(range(5_500))
    assert [int(item) for item in concatenated(batches).item_ids] == list(range(5_500))


def test_names_of_lines_are_those_of_their_rows_whether_a_block_is_as_the_wire_has_it_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(log_events, "LINES_BYTES", 400)  # several blocks
    on_the_wire = [GOOD | {"action": name, "surface": "home"} for name in ("save", "hide", "save") for _ in range(5)]
    others = [{"user_id": 7, "action": "forget", "timestamp_ms": MORNING_MS}, GOOD | {"surface": "", "action": "click"}]
    path = write_log(tmp_path / "log.jsonl", [*on_the_wire, *others, GOOD | {"action": "buy", "surface": "tv"}])
    assert JsonReader(path).names(Shape()) == ({"save", "hide", "forget", "click", "buy"}, {"home", "tv"})
    assert JsonReader(path).names(Shape({"action": "surface"})) == ({"home", "tv"}, {"home", "tv"})


def test_a_folder_of_files_is_one_log_in_the_order_of_their_names(tmp_path: Path):
    for day, name in enumerate(("day-1.csv", "day-0.parquet", "day-2.jsonl")):
        write_log(tmp_path / name, [GOOD | {"item_id": 10 * day + n} for n in range(3)])
    (tmp_path / "notes.txt").touch()
    write_log(tmp_path / "items.csv", [{"item_id": 1, "price": 2}])
    log = open_log(tmp_path)
    arrivals = whole(log)
    assert [int(item) for item in arrivals.item_ids] == [10, 11, 12, 0, 1, 2, 20, 21, 22]
    assert arrivals.offsets.tolist() == list(range(9))
    before = log.checksum()
    write_log(tmp_path / "day-2.jsonl", [GOOD])
    assert log.checksum() != before


def test_the_vocabulary_is_the_files_own_or_the_names_that_occur(tmp_path: Path):
    rows = rows_of(some_events(40))
    for name in KINDS:
        log = open_log(write_log(tmp_path / name, rows))
        assert log.vocabulary == Vocabulary(("click", "hide", "save", "view"), ("elsewhere", "home", "search"))


def test_lines_may_be_packed_and_the_checksum_is_the_files(tmp_path: Path):
    events = some_events(20)
    plain = write_log(tmp_path / "log.jsonl", rows_of(events))
    (tmp_path / "log.jsonl.gz").write_bytes(gzip.compress(plain.read_bytes()))
    log = open_log(tmp_path / "log.jsonl.gz")
    assert same(whole(log), decoded(events))
    assert log.checksum() != open_log(plain).checksum() == open_log(plain).checksum()


@pytest.mark.parametrize("name", ["log.parquet", "log.csv"])
def test_numbers_are_names_of_actions_in_tables(name, tmp_path):
    rows = [{"user_id": 1, "item_id": n, "action": n, "timestamp_ms": MORNING_MS} for n in (1, 2, 4)]
    log = read(write_log(tmp_path / name, rows))
    assert log.vocabulary.actions == ("1", "2", "4")
    assert log.actions.tolist() == [1, 2, 3]
