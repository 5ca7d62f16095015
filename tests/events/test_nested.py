"""Fields that lie deeper are read where they are named by their path; JSON that is too deep is no JSON."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rankstream.events.open import LogOptions, open_log
from rankstream.events.registry import read_log
from rankstream.features.decoding import MAX_DEPTH
from tests.builders.actions import MORNING_MS
from tests.builders.logs import write_log
from tests.events.test_refusals import refusal

EVENTS = [
    {"type": "view", "who": {"account": {"id": f"u{n}"}}, "data": {"sku": n, "at": {"$date": MORNING_MS + n}}}
    for n in range(3)
]
PATHS = {"user_id": "who.account.id", "item_id": "data.sku", "timestamp_ms": "data.at.$date"}


def lines(folder: Path, rows: list[dict[str, Any]]) -> Path:
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "log.jsonl"


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_fields_are_named_by_their_paths(ending, tmp_path):
    path = lines(tmp_path, EVENTS)
    if ending == "parquet":
        path = tmp_path / "log.parquet"
        pq.write_table(pa.Table.from_pylist(EVENTS), path)
    log = read_log(open_log(path, LogOptions(PATHS)))
    assert log.user_ids.tolist() == ["u0", "u1", "u2"]
    assert log.item_ids.tolist() == [0, 1, 2]
    assert log.times_ms.tolist() == [MORNING_MS, MORNING_MS + 1, MORNING_MS + 2]
    assert log.vocabulary.actions == ("view",)


def test_a_row_without_the_path_is_skipped_with_it(tmp_path):
    log = open_log(lines(tmp_path, [*EVENTS, {"type": "view", "who": 7, "data": None}]), LogOptions(PATHS))
    assert len(read_log(log, strict=False)) == 3
    assert "there is no who.account.id" in log.skipped.rows["schema: no user_id"].example


def test_a_name_with_dots_on_top_is_that_column(tmp_path):
    rows = [{"user.id": "top", "user": {"id": "deep"}, "item_id": 1, "action": "view", "ts": MORNING_MS}]
    log = open_log(lines(tmp_path, rows), LogOptions({"user_id": "user.id"}))
    assert read_log(log).user_ids.tolist() == ["top"]


def test_a_path_may_be_on_later_lines_than_the_first_ones(tmp_path):
    rows = [{"type": "ping", "ts": MORNING_MS}] * 200 + [{"type": "view", "ts": MORNING_MS, "a": {"u": 1, "i": 2}}]
    log = open_log(lines(tmp_path, rows), LogOptions({"user_id": "a.u", "item_id": "a.i"}))
    assert read_log(log, strict=False).item_ids.tolist() == [2]


def test_parts_of_a_time_may_lie_deeper(tmp_path):
    rows = [{"user_id": 1, "item_id": 2, "action": "view", "at": {"day": "2016-10-30", "time": "10:00"}}]
    log = open_log(lines(tmp_path, rows), LogOptions({"timestamp_ms": "at.day+at.time"}))
    assert read_log(log).times_ms.tolist() == [1_477_821_600_000]


def test_objects_around_typed_values_are_named_as_a_whole(tmp_path):
    row = {"Item": {"user_id": {"S": "u"}, "item_id": {"N": "5"}, "action": {"S": "view"}, "ts": {"N": "1700000000"}}}
    words = refusal(lines(tmp_path, [row]), constants={"action": "view"}, columns={"item_id": "Item.item_id.N"})
    assert "--map user_id=Item.user_id.S --map timestamp_ms=Item.ts.N" in words


def test_several_fields_that_may_be_meant_are_named(tmp_path):
    row = {"who": {"a": 1, "b": 2}, "item_id": 1, "action": "view", "ts": MORNING_MS}
    words = refusal(lines(tmp_path, [row]))
    assert "who.a, who.b lie deeper: name the one that is meant with --map user_id=PATH" in words
    words = refusal(lines(tmp_path, [row]), columns={"user_id": "who"})
    assert "it holds who.a, who.b: name the one that is meant with --map user_id=PATH" in words


def test_structures_of_parquet_are_named_in_the_refusal(tmp_path):
    pq.write_table(pa.table({"event": [{"user_id": 1, "sku": 2, "ts": 3}]}), tmp_path / "log.parquet")
    words = refusal(tmp_path / "log.parquet", constants={"action": "view"})
    assert "--map user_id=event.user_id --map item_id=event.sku --map timestamp_ms=event.ts" in words


@pytest.mark.parametrize("held", [{"user_id": [1, 2], "item_id": [3, 4]}, {"user_id": {"0": 1}, "item_id": {"0": 3}}])
def test_one_object_of_columns_is_told_how_it_becomes_rows(held, tmp_path):
    assert "is one JSON object that holds columns" in refusal(lines(tmp_path, [held]))


ROW = {"user_id": "u1", "item_id": "i1", "action": "view", "timestamp_ms": MORNING_MS}


@pytest.mark.parametrize("more", [{}, {"when": MORNING_MS}])
def test_lines_whose_brackets_are_nested_too_deep_are_rejected_as_a_worker_does(more, tmp_path):
    """By the fast reader of lines as the wire has them, and by the plain one."""
    path = write_log(tmp_path / "log.jsonl", [ROW | more] * 3)
    deep = json.dumps(ROW | more | {"x": 0}).replace(": 0}", ": " + "[" * MAX_DEPTH + "]" * MAX_DEPTH + "}")
    just = json.dumps(ROW | more | {"x": 0}).replace(": 0}", ": " + "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1) + "}")
    path.write_text(f"{deep}\n{just}\n\n\n" + path.read_text() + deep)
    log = open_log(path, LogOptions({"timestamp_ms": "when"} if more else {}))
    assert len(read_log(log, strict=False)) == 4
    assert log.skipped.by_kind() == {"not-json": 2}
    assert log.skipped.rows["not-json"].where == f"{path}, line 1"
