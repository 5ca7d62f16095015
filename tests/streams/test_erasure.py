"""Erasure of a user through the pipeline: from the record to what a request sees."""

import pytest

from rankstream.features.user_state import UserState
from rankstream.streams.partitioner import PartitionCheck
from tests.builders.actions import (
    MINUTE_MS,
    MORNING_MS,
    ARecord,
    MixingSessions,
    SomeLiveRanker,
    a_forget,
    a_pipeline,
    a_request,
    an_event,
    decoded,
    records_of,
)


def test_a_request_after_an_erasure_sees_a_user_of_whom_nothing_is_known():
    pipeline = a_pipeline()
    pipeline.on_actions([an_event("u1", "a", 1), an_event("u2", "b", 1, 1), a_forget("u1", 2, 2)])
    first, second = decoded(pipeline.on_requests([a_request("u1", at=3), a_request("u2", at=3)]).answer())
    assert (first["actions_used"], second["actions_used"]) == (0, 1)
    assert (pipeline.counters.actions, pipeline.counters.erasures) == (2, 1)


def test_an_action_after_an_erasure_starts_a_user_who_is_as_new():
    log = [an_event("u1", n, 4000 * n, n) for n in range(300)]
    later = [an_event("u1", n, 4000 * n, n) for n in range(301, 500)]
    serving = SomeLiveRanker(MixingSessions())
    erased, fresh = a_pipeline(serving, 50), a_pipeline(serving, 50)
    erased.on_actions([*log, a_forget("u1", 4000 * 300, 300), *later])
    fresh.on_actions(later)
    left, new = erased.users.get(b"u1"), fresh.users.get(b"u1")
    assert left == UserState(new.history, new.tail, new.offset, new.total, new.departed, left.forgotten_ms)
    assert left.forgotten_ms == MORNING_MS + 1000 * 4000 * 300


def test_an_erasure_and_the_actions_before_it_are_redelivered_without_effect():
    log = [an_event("u1", "a", 1, 0), a_forget("u1", 2, 1), an_event("u1", "b", 3, 2)]
    once, twice = a_pipeline(), a_pipeline()
    once.on_actions(log)
    twice.on_actions(log)
    twice.on_actions(log)
    assert records_of(twice) == records_of(once)
    assert twice.counters.redelivered == 3


def test_a_late_action_of_before_an_erasure_is_counted_and_dropped():
    pipeline = a_pipeline()
    pipeline.on_actions([a_forget("u1", 60, 0), an_event("u1", "a", 60, 1), an_event("u1", "b", 61, 2)])
    assert (pipeline.users.get(b"u1").total, pipeline.counters.forgotten, pipeline.counters.actions) == (1, 1, 1)


def test_who_was_never_seen_can_be_erased_too_as_his_actions_may_be_under_way():
    pipeline = a_pipeline()
    pipeline.on_actions([a_forget("u1", 60), an_event("u1", "a", 10, 1)])
    assert len(pipeline.users.get(b"u1").history) == 0


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "empty"),
        (b'{"user_id":"u1","action":"forget"}', "schema"),
        (b'{"user_id":"u2","action":"forget","timestamp_ms":1700000000000}', "key-mismatch"),
        (b'{"user_id":"u1","action":"forget","timestamp_ms":1700000000}', "timestamp"),
        (b'{"user_id":"u1","action":"forget","timestamp_ms":1700000000000,"item_id":""}', "schema"),
        (b'{"user_id":"u1","action":"forget","timestamp_ms":1700000000000,"item_id":"a"}', "unknown-action"),
        (b'{"user_id":"u1","action":"view","timestamp_ms":1700000000000}', "schema"),
    ],
)
def test_what_is_not_quite_an_erasure_erases_nobody(value: bytes | None, reason: str):
    pipeline = a_pipeline()
    (letter,) = decoded(pipeline.on_actions([an_event("u1", "a"), ARecord(value, b"u1", 1)]))
    assert letter["reason"] == reason
    assert (len(pipeline.users.get(b"u1").history), pipeline.counters.erasures) == (1, 0)


def test_an_erasure_of_a_day_after_its_record_is_refused():
    """It would erase what the user is still to do."""
    erasure = a_forget("u1", 2 * 24 * 3600)
    erasure.timestamp = MORNING_MS
    (letter,) = decoded(a_pipeline().on_actions([erasure]))
    assert letter["reason"] == "timestamp"


def test_an_erasure_on_a_wrong_partition_is_a_dead_letter_and_means_the_same_when_it_is_sent_again():
    """It has its own time, not that of its record."""
    pipeline = a_pipeline()
    pipeline.wrong_partition = PartitionCheck(1, 2)
    (letter,) = decoded(pipeline.on_actions([a_forget("u1", 5)]))
    assert letter["reason"] == "wrong-partition"
    right, again = a_pipeline(), a_forget("u1", 5, 7)
    again.timestamp += 60 * MINUTE_MS
    right.on_actions([an_event("u1", "a", 4), an_event("u1", "b", 6, 1), again])
    assert right.users.get(b"u1").total == 1


def test_a_user_who_was_silent_for_long_is_as_new_to_requests_and_to_the_next_action():
    pipeline = a_pipeline()
    pipeline.users.forget_after_ms = 60 * MINUTE_MS
    pipeline.on_actions([an_event("u1", "a", 0), an_event("u1", "b", 3600, 1)])
    requests = [a_request("u1", at=7200), a_request("u1", at=7201)]
    assert [feed["actions_used"] for feed in decoded(pipeline.on_requests(requests).answer())] == [2, 0]
    pipeline.on_actions([an_event("u1", "c", 7201, 2), an_event("u1", "late", 60, 3)])
    assert pipeline.users.get(b"u1").total == 1
    assert (pipeline.counters.expired, pipeline.counters.forgotten, pipeline.counters.erasures) == (1, 1, 0)
