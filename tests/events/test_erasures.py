"""Erasures in recorded logs: who keeps states meets them in their place, who reads a log whole leaves out the rest."""

from pathlib import Path

import numpy as np
import pytest

from rankstream.evaluation.point_in_time import LiveRankerAsOf
from rankstream.evaluation.replay.exposures import whole_groups
from rankstream.evaluation.replay.variants import DelayedPipeline
from rankstream.events.action_event import ActionEvent, ErasureEvent
from rankstream.events.arrivals import Arrivals, LogError, arrivals_of, concatenated, events_of
from rankstream.events.dumps import write_dump
from rankstream.events.open import LogOptions, open_log
from rankstream.events.registry import read_log
from rankstream.events.skipped import Skipped
from rankstream.features.ids import id_bytes
from rankstream.streams.records import recorded_actions
from tests.builders.actions import MINUTE_MS, MORNING_MS, VOCABULARY, SomeLiveRanker, a_pipeline, records_of
from tests.builders.logs import FIELDS, Row, same, some_events, whole, write_log

Event = ActionEvent | ErasureEvent
ERASED_MS = MORNING_MS + 200 * MINUTE_MS


def with_erasures(events: list[ActionEvent], users: int = 5) -> list[Event]:
    """The log with some of its users erased, in the middle of it."""
    middle: list[Event] = [ErasureEvent(f"u{n}", "forget", ERASED_MS - n * MINUTE_MS) for n in range(users)]
    return [*events[:200], *middle, *events[200:]]


def rows_of(events: list[Event]) -> list[Row]:
    return [{name: getattr(event, name, None) for name in FIELDS} for event in events]


def read(path: Path) -> Arrivals:
    return concatenated(list(open_log(path).batches(VOCABULARY, erasures=True)))


@pytest.fixture
def events() -> list[Event]:
    return with_erasures(some_events())


@pytest.mark.parametrize("name", ["log.parquet", "log.csv", "log.jsonl"])
def test_a_file_returns_what_a_worker_would_decode_erasures_in_their_places(name: str, tmp_path, events):
    path = write_log(tmp_path / name, rows_of(events))
    assert same(read(path), arrivals_of(recorded_actions(events), VOCABULARY, Skipped()))
    log = open_log(path)
    assert log.vocabulary.actions == tuple(sorted(VOCABULARY.actions))
    assert same(whole(log), whole(open_log(write_log(tmp_path / f"without-{name}", rows_of(some_events())))))
    assert not log.skipped


def test_a_dumped_topic_with_erasures_is_read_as_its_worker_reads_it(tmp_path, events):
    write_dump(tmp_path / "user-actions.jsonl", recorded_actions(events))
    decoded = arrivals_of(recorded_actions(events), VOCABULARY, Skipped())
    in_order = decoded.taken(np.argsort(decoded.arrived_ms, kind="stable")).numbered(0)
    assert same(read(tmp_path / "user-actions.jsonl"), in_order)


def test_arrivals_are_produced_again_as_the_events_that_they_were(events):
    arrivals = arrivals_of(recorded_actions(events), VOCABULARY, Skipped())
    again = arrivals_of(recorded_actions(list(events_of(arrivals, VOCABULARY))), VOCABULARY, Skipped())
    assert same(again, arrivals)
    assert again.erasures.sum() == 5


@pytest.mark.parametrize("delay_ms", [0, MINUTE_MS])
def test_a_replay_leaves_the_states_that_the_stream_leaves(delay_ms: int, tmp_path, events):
    """Rows of one time are in an order of their own there, and groups of rows are cut anew."""
    live, records = a_pipeline(limit=8), recorded_actions(events)
    live.on_actions(records)
    delayed = DelayedPipeline(LiveRankerAsOf(VOCABULARY, SomeLiveRanker().current), delay_ms, 8)
    log = open_log(write_log(tmp_path / "log.jsonl", rows_of(events)))
    for arrivals in whole_groups(log.batches(VOCABULARY, erasures=True)):
        delayed.feed(arrivals, 0, len(arrivals))
    delayed.advance(MORNING_MS * 2)
    for user in {event.user_id for event in events}:
        left, wanted = delayed.state(id_bytes(user)), live.users.get(id_bytes(user))
        assert (left.history, left.total, left.forgotten_ms) == (wanted.history, wanted.total, wanted.forgotten_ms)
    assert delayed.pipeline.counters.erasures == 5


def test_a_log_that_is_read_whole_lacks_what_erased_users_did_before_and_says_how_much(tmp_path, events):
    opened = open_log(write_log(tmp_path / "log.csv", rows_of(events)))
    log = read_log(opened)
    left = [one for one in some_events() if not (one.user_id in {f"u{n}" for n in range(5)} and _is_before(one))]
    assert sorted(log.times_ms.tolist()) == sorted(one.timestamp_ms for one in left)
    count = len(some_events())
    (told,) = [one for one in opened.skipped.most_common_ignored() if one[0].startswith("erased")]
    assert told == ("erased (5 users were erased, and what they did until then is left out)", count - len(left))
    assert set(log.erasures.users) == {f"u{n}" for n in range(5)}


def _is_before(event: ActionEvent) -> bool:
    return event.timestamp_ms <= ERASED_MS - int(str(event.user_id)[1:]) * MINUTE_MS


def test_lists_that_an_erased_user_was_shown_before_are_left_out(tmp_path):
    rows = [
        {"user_id": user, "item_id": item, "action": action, "timestamp_ms": MORNING_MS + at * MINUTE_MS}
        for user, item, action, at in [
            ("u1", 1, "seen", 1), ("u1", 1, "save", 2), ("u2", 1, "seen", 3), ("u2", 1, "save", 4),
            ("u1", None, "forget", 5), ("u1", 2, "seen", 90), ("u1", 2, "save", 91),
        ]
    ]  # fmt: skip
    log = read_log(open_log(write_log(tmp_path / "log.csv", rows), LogOptions(shown="seen")))
    assert log.impressions is not None
    assert log.impressions.user_ids.tolist() == ["u2", "u1"]
    assert log.impressions.item_ids.tolist() == [1, 2]
    assert np.diff(log.impressions.starts).tolist() == [1, 1]
    assert log.user_ids.tolist() == ["u2", "u1"]


def test_a_log_of_none_but_erased_users_is_refused(tmp_path):
    rows = rows_of([*some_events(3)[:1], *[ErasureEvent(f"u{n}", "forget", ERASED_MS) for n in range(20)]])
    with pytest.raises(LogError, match="holds no action of a user who was not erased after it"):
        read_log(open_log(write_log(tmp_path / "log.jsonl", rows)))


def test_an_action_of_that_name_on_an_item_is_no_erasure(tmp_path):
    named = {"user_id": "u1", "item_id": 7, "action": "forget", "timestamp_ms": ERASED_MS}
    rows = [*rows_of([*some_events(9)]), named]
    log = open_log(write_log(tmp_path / "log.csv", rows))
    assert not concatenated(list(log.batches(VOCABULARY, erasures=True))).erasures.any()
    assert log.skipped.by_kind() == {"unknown-action": 1}


def test_records_of_a_pipeline_and_of_its_file_are_the_same_after_all(tmp_path, events):
    """Packed as by the decoder, to the byte."""
    live, replayed = a_pipeline(limit=8), a_pipeline(limit=8)
    live.on_actions(recorded_actions(events))
    rows = read(write_log(tmp_path / "log.parquet", rows_of(events)))
    replayed.apply(rows.user_keys, rows.packed, rows.offsets.tolist())
    assert (records_of(replayed), replayed.counters) == (records_of(live), live.counters)
