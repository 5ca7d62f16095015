"""Ids through any file: a text's is its text, the number 7 and the text 7 are one, and tables' types don't show."""

import json
import uuid
from collections import Counter
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankstream.events.open import open_log
from rankstream.events.readers.json_lines import Reading
from rankstream.events.readers.plain import PlainReader
from rankstream.events.readers.rows import plain_id
from rankstream.events.registry import read_log
from rankstream.events.skipped import Skipped
from rankstream.features.ids import id_keys
from tests.builders.actions import MORNING_MS, VOCABULARY
from tests.builders.logs import same

HEADING = "user_id,item_id,action,timestamp_ms\n"


def write(path, rows):
    """Write (user, item) by the ending of the name."""
    if path.suffix == ".csv":
        path.write_text(HEADING + "".join(f"{user},{item},view,{MORNING_MS}\n" for user, item in rows))
    elif path.suffix == ".jsonl":
        events = [
            {"user_id": user, "item_id": item, "action": "view", "timestamp_ms": MORNING_MS} for user, item in rows
        ]
        path.write_text("".join(json.dumps(event) + "\n" for event in events))
    else:
        users, items = map(list, zip(*rows, strict=True))
        columns = {"user_id": users, "item_id": items, "action": ["view"] * len(rows)}
        pq.write_table(pa.table(columns | {"timestamp_ms": [MORNING_MS] * len(rows)}), path)
    return path


def test_padded_ids_stay_as_the_log_writes_them(tmp_path):
    log = read_log(open_log(write(tmp_path / "log.csv", [("u17", "0108775015"), ("u17", "0108775016")])))
    assert log.items().tolist() == ["0108775015", "0108775016"]


def test_days_of_a_csv_are_one_log_whether_or_not_their_ids_have_letters(tmp_path):
    write(tmp_path / "d1.csv", [(100 + n, 200 + n) for n in range(40)])
    write(tmp_path / "d2.csv", [("guest-1", 200), *((100 + n, 200 + n) for n in range(39))])
    log = read_log(open_log(tmp_path))
    assert len(log) == 80
    assert Counter(log.user_ids.tolist())["101"] == 2
    assert log.item_ids.dtype == np.int64


def test_whole_numbers_texts_and_csv_are_one_log(tmp_path):
    write(tmp_path / "a.jsonl", [(7, 1)])
    write(tmp_path / "b.jsonl", [("7", "1")])
    write(tmp_path / "c.csv", [("7", "1")])
    write(tmp_path / "d.parquet", [(7, 1)])
    write(tmp_path / "e.parquet", [("7", "1")])
    log = read_log(open_log(tmp_path))
    assert log.user_ids.tolist() == [7] * 5
    assert log.items().tolist() == [1]


@given(st.lists(st.integers(-5, 2**70) | st.text("0123456789-a", min_size=1, max_size=5), min_size=1))
def test_ids_of_a_log_have_the_keys_that_the_wire_gives_them(tmp_path_factory, ids):
    path = write(
        tmp_path_factory.mktemp("ids") / "log.jsonl", [("u", one) for one in ids if one != "" and len(str(one)) < 19]
    )
    if path.read_text():
        log = read_log(open_log(path))
        wanted = [one for one in ids if len(str(one)) < 19]
        assert log.item_keys.tolist() == id_keys(wanted).tolist()


COLUMNS = {
    **{name: pa.array([1, 7], name) for name in ("int8", "int16", "int32", "int64")},
    **{name: pa.array([1, 7], name) for name in ("uint8", "uint16", "uint32", "uint64")},
    "floats": pa.array([1.0, 7.0]),
    "small floats": pa.array([1.0, 7.0], pa.float32()),
    "decimals": pa.array([Decimal(1), Decimal(7)], pa.decimal128(20, 0)),
    "decimals with places": pa.array([Decimal("1.00"), Decimal("7.00")], pa.decimal128(9, 2)),
    **{str(kind): pa.array(["1", "7"], kind) for kind in (pa.string(), pa.large_string(), pa.string_view())},
    **{str(kind): pa.array([b"1", b"7"], kind) for kind in (pa.binary(), pa.large_binary())},
    "dictionary": pa.array(["1", "7"]).dictionary_encode(),
    "dictionary of large texts": pa.array(["1", "7"], pa.large_string()).dictionary_encode(),
    "dictionary of numbers": pa.array([1, 7]).dictionary_encode(),
}  # fmt: skip


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_of_any_type_of_ids_has_the_same_ids(name, tmp_path):
    columns = {"user_id": COLUMNS[name], "item_id": COLUMNS[name], "action": ["view"] * 2}
    pq.write_table(pa.table(columns | {"timestamp_ms": [MORNING_MS] * 2}), tmp_path / "log.parquet")
    log = read_log(open_log(tmp_path / "log.parquet"))
    assert log.item_keys.tolist() == [1, 7]
    assert list(map(str, log.user_ids)) == ["1", "7"]


def test_whole_numbers_that_pandas_holds_as_floats_are_whole_and_a_missing_one_is_missing(tmp_path):
    columns = {"user_id": [7.0, float("nan"), 8.0], "item_id": [1, 2, 3], "action": ["view"] * 3}
    pq.write_table(pa.table(columns | {"timestamp_ms": [MORNING_MS] * 3}), tmp_path / "log.parquet")
    opened = open_log(tmp_path / "log.parquet")
    log = read_log(opened, strict=False)
    assert (log.user_ids.tolist(), log.item_ids.tolist()) == ([7, 8], [1, 3])
    assert opened.skipped.total() == 1


def test_floats_that_are_no_whole_numbers_or_too_large_to_be_one_are_skipped_and_counted(tmp_path):
    columns = {"user_id": [7.0, 7.5, 2.0**53, 8.0], "item_id": [1, 2, 3, 4], "action": ["view"] * 4}
    pq.write_table(pa.table(columns | {"timestamp_ms": [MORNING_MS] * 4}), tmp_path / "log.parquet")
    opened = open_log(tmp_path / "log.parquet")
    assert read_log(opened, strict=False).item_ids.tolist() == [1, 4]
    assert opened.skipped.total() == 2


ODD = [pa.array([1.5, 2.0]), pa.array([b"\xff", b"a"]), pa.array([Decimal("1.5"), None], pa.decimal128(5, 1)),
       pa.array([float("inf"), 3.0]), pa.array([None, None], pa.float64()), pa.array([True, None])]  # fmt: skip


@pytest.mark.parametrize("column", [*COLUMNS.values(), *ODD], ids=str)
def test_a_column_of_ids_is_read_as_its_values_one_by_one(column, tmp_path):
    """The fast reader of a table against its plain twin."""
    columns = {"user_id": column, "item_id": column, "action": ["view"] * len(column)}
    pq.write_table(pa.table(columns | {"timestamp_ms": [MORNING_MS] * len(column)}), tmp_path / "log.parquet")
    (file,) = open_log(tmp_path / "log.parquet").files
    fast, plain = (Reading(VOCABULARY, replace(file.shape, time_unit="ms"), MORNING_MS, Skipped()) for _ in range(2))
    found, wanted = list(file.reader.read(fast)), list(PlainReader(file.layout).read(plain))
    assert len(found) == len(wanted)
    assert all(map(same, found, wanted))
    assert fast.skipped == plain.skipped


def test_a_uuid_is_its_text():
    one = uuid.UUID(int=7)
    assert plain_id(one, "user_id") == str(one)
