import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankstream.events.arrivals import LogError
from rankstream.events.log import EventLog, event_log
from rankstream.events.open import open_log
from rankstream.events.registry import read_log
from rankstream.events.sequences import packed_actions, rows_by_user
from rankstream.features.actions import IDENTITY_BYTES
from rankstream.features.ids import id_keys
from tests.builders.models import START_MS, VOCABULARY, a_log

ROWS = st.lists(
    st.tuples(
        st.integers(0, 5) | st.sampled_from(["ann", "bob"]),
        st.integers(0, 9),
        st.sampled_from(VOCABULARY.actions),
        st.integers(0, 10_000),
    ),
    max_size=30,
)


@given(ROWS)
def test_a_log_is_sorted_and_loses_nothing(rows):
    log = a_log(rows)
    assert np.all(np.diff(log.times_ms) >= 0)
    messages = sorted((str(m["user_id"]), m["item_id"], m["action"], m["timestamp_ms"]) for m in log.as_messages())
    assert messages == sorted((str(u), i, a, START_MS + m * 60_000) for u, i, a, m in rows)


@given(ROWS, st.floats(0, 1))
def test_splitting_cuts_at_the_time_and_loses_nothing(rows, fraction):
    log = a_log(rows)
    until_ms = log.time_at(fraction)
    before, after = log.split_at(until_ms)
    assert len(before) + len(after) == len(log)
    assert np.all(before.times_ms < until_ms)
    assert np.all(after.times_ms >= until_ms)
    assert len(before) <= fraction * len(log) + 1


@given(ROWS, st.floats(0, 1))
def test_a_beginning_is_grouped_as_it_would_be_by_itself(rows, fraction):
    log = a_log(rows)
    before, _ = log.split_at(log.time_at(fraction))
    shared, alone = before.by_user, replace(before, beginning_of=None).by_user
    for name in ("user_ids", "starts", "order", "user_of_row"):
        assert np.array_equal(getattr(shared, name), getattr(alone, name))
    assert np.array_equal(before.item_keys, id_keys(before.item_ids.tolist()))


@given(ROWS)
def test_a_users_rows_stand_as_a_history_sorts_its_actions(rows):
    log = a_log(rows)
    packed = packed_actions(log)
    for user_key, of_user in rows_by_user(log):
        assert set(id_keys(log.user_ids[of_user].tolist()).tolist()) == {user_key}
        identities = [one[:IDENTITY_BYTES] for one in packed[of_user].tolist()]
        assert identities == sorted(identities)


def with_surfaces_and_values() -> EventLog:
    log = a_log([("u", 1, "view", 1), ("v", 2, "save", 2), ("u", 3, "hide", 3)])
    surfaces, values = np.array([0, 1, 2]), np.array([np.nan, 0.0, 2.5])
    return event_log(log.vocabulary, log.user_ids, log.item_ids, log.actions, log.times_ms, surfaces, values)


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_a_written_log_is_read_back(tmp_path, ending):
    log = with_surfaces_and_values()
    path = tmp_path / f"log.{ending}"
    if ending == "jsonl":
        log.write_json_lines(path)
    else:
        log.write_parquet(path)
    read = read_log(open_log(path), None if ending == "parquet" else VOCABULARY)
    assert list(read.as_messages()) == list(log.as_messages())
    assert read.vocabulary == log.vocabulary


def test_messages_are_the_wires():
    first = next(with_surfaces_and_values().as_messages())
    assert first == {"user_id": "u", "item_id": 1, "action": "view", "timestamp_ms": START_MS + 60_000}


def test_rows_out_of_order_are_refused():
    log = a_log([("u", 1, "view", 1), ("u", 2, "view", 2)])
    with pytest.raises(LogError, match="not in order of time"):
        EventLog(log.vocabulary, log.user_ids, log.item_ids, log.actions, log.times_ms[::-1])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"actions": np.array([1, 9])}, "column actions holds 9 in row 1; wanted 1 to 3"),
        ({"times_ms": np.array([-5, 0])}, "column times_ms holds -5"),
        ({"values": np.array([1.0, -1.0])}, "negative or infinite"),
        ({"surfaces": np.array([0, 7])}, "column surfaces holds 7"),
        ({"user_ids": np.array([1])}, "1 and 2 rows"),
    ],
)
def test_columns_that_break_the_promise_are_named(change, words):
    columns = {
        "user_ids": np.array([1, 2]),
        "item_ids": np.array([1, 2]),
        "actions": np.array([1, 1]),
        "times_ms": np.array([5, 6]),
    }
    with pytest.raises(LogError, match=words):
        event_log(VOCABULARY, **(columns | change))


def test_an_unknown_action_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match="unknown action buy; this log has view, save, hide"):
        a_log([("u", 1, "view", 1)]).codes_of(["view", "buy"])


def test_a_json_line_that_lacks_a_column_names_it(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text(json.dumps({"user_id": 1, "action": "view", "timestamp_ms": START_MS}) + "\n")
    with pytest.raises(LogError, match=r"schema: no item_id .*, line 1: there is no item_id"):
        read_log(open_log(path))
