import json
from base64 import b64decode

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankstream.events.action_event import ActionDecoder
from rankstream.features.actions import Vocabulary
from rankstream.features.counters import ever_done
from rankstream.features.decoding import MAX_DEPTH
from rankstream.features.ids import id_key, id_keys
from rankstream.features.join import join, match_user, session_vector
from rankstream.features.user_state import unpack_state
from rankstream.features.user_view import view_user
from rankstream.ranking.serving import LiveRanker
from rankstream.streams import pipeline as pipeline_module
from rankstream.streams.partitioner import PartitionCheck, partition_of
from rankstream.streams.records import Channel
from tests.builders.actions import (
    MORNING_MS,
    VOCABULARY,
    ARecord,
    EchoRanker,
    MixingSessions,
    SomeLiveRanker,
    a_pipeline,
    a_request,
    an_event,
    decoded,
    records_of,
)
from tests.builders.bundle import a_bundle, a_user_table


def test_an_action_reaches_the_state_of_its_user():
    pipeline = a_pipeline()
    assert pipeline.on_actions([an_event("u1", "a", at=1, offset=5, surface="home", value=2.0)]) == []
    state = pipeline.users.get(b"u1")
    assert state.history.columns().item_keys.tolist() == [id_key("a")]
    assert (state.offset, pipeline.counters.actions) == (5, 1)


def test_a_request_sees_the_newest_applied_actions_also_those_not_yet_checkpointed():
    pipeline = a_pipeline()
    pipeline.on_actions([an_event("u1", "a", at=1)])
    (feed,) = decoded(pipeline.on_requests([a_request("u1", at=2)]).answer())
    assert feed["actions_used"] == 1


def test_a_feed_names_the_surface_that_its_request_named():
    requests = [a_request("u1", surface="home"), a_request("u1")]
    first, second = decoded(a_pipeline().on_requests(requests).answer())
    assert (first["surface"], "surface" in second) == ("home", False)


def test_a_request_is_ranked_with_the_state_at_the_time_it_was_read():
    pipeline = a_pipeline()
    pending = pipeline.on_requests([a_request("u1")])
    pipeline.on_actions([an_event("u1", "a")])
    (feed,) = decoded(pending.answer())
    assert feed["actions_used"] == 0


def test_served_features_are_written_beside_the_feed_where_that_is_switched_on(tmp_path):
    serving = LiveRanker.open(a_bundle(tmp_path / "bundle"), a_user_table(tmp_path / "users", ["u1"]))
    pipeline = a_pipeline(serving)
    pipeline.log_served = True
    pipeline.on_actions([an_event("u1", item, at=at, offset=7 + at) for at, item in enumerate([5, 6, 5])])
    state = pipeline.users.get(b"u1")
    feed, served = pipeline.on_requests([a_request("u1", offset=3, at=60, candidates=[1, 2, 3], top_k=2)]).answer()
    assert (feed.channel, served.channel, served.key) == (Channel.FEEDS, Channel.SERVED, b"u1")
    (feed, logged) = decoded([feed, served])
    offline = serving.current.offline
    inputs = join(match_user(state, id_key("u1"), MORNING_MS + 60_000, offline), id_keys([1, 2, 3]), offline)
    assert logged["features"] == inputs.digest()
    assert (logged["state_offset"], logged["state_actions"], logged["partition"], logged["offset"]) == (9, 3, 0, 3)
    assert logged["items"] == feed["items"]
    assert (logged["model_version"], logged["user_vectors"]) == ("tiny-1", offline.users.version)


def test_a_refusal_has_no_served_features():
    pipeline = a_pipeline()
    pipeline.log_served = True
    late = a_request(deadline_ms=MORNING_MS - 5)
    assert [one.channel for one in pipeline.on_requests([late]).answer()] == [Channel.FEEDS]


def test_a_redelivered_action_changes_nothing():
    """After a kill, Kafka redelivers what was applied but not committed."""
    events = [an_event("u1", f"i{n}", at=n, offset=n) for n in range(9)]
    once, twice = a_pipeline(limit=4), a_pipeline(limit=4)
    once.on_actions(events)
    twice.on_actions(events[:6])
    twice.on_actions(events[2:])
    assert records_of(twice) == records_of(once)
    assert twice.counters.redelivered == 4


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["u1", "u2", 3]), st.integers(0, 4), st.integers(0, 30), st.sampled_from(["view", "save"])
    ),
    max_size=40,
)


@settings(max_examples=60)
@given(EVENTS, st.data())
def test_how_the_log_is_cut_into_chunks_never_shows(events: list[tuple], data: st.DataObject):
    """Batch = single, to the byte, sessions folded included; records of a short history, so that sessions leave it."""
    log = [an_event(user, item, 600 * at, n, kind) for n, (user, item, at, kind) in enumerate(events)]
    whole, cut = (a_pipeline(SomeLiveRanker(MixingSessions()), limit=3) for _ in range(2))
    whole.on_actions(log)
    rest = log
    while rest:
        take = data.draw(st.integers(1, len(rest)))
        cut.on_actions(rest[:take])
        rest = rest[take:]
    assert records_of(cut) == records_of(whole)


@settings(max_examples=60)
@given(EVENTS)
def test_what_a_user_ever_did_is_counted_also_while_sessions_are_folded(events: list[tuple]):
    log = [an_event(user, item, 600 * n + at, n, kind) for n, (user, item, at, kind) in enumerate(events)]
    pipeline = a_pipeline(SomeLiveRanker(MixingSessions()), limit=3)
    pipeline.on_actions(log)
    for user in {user for user, _, _, _ in events}:
        state = pipeline.users.get(str(user).encode())
        counts = ever_done(state.departed, state.history.columns().action_types, len(VOCABULARY.actions))
        kinds = [kind for one, _, _, kind in events if one == user]
        assert counts.tolist() == [kinds.count(name) for name in VOCABULARY.actions]


def test_sessions_that_leave_the_history_live_on_in_the_recurrent_state():
    """Read with a short history and folded states, or with all actions held: the same session vector, within fp16."""
    log = [an_event("u1", f"i{n}", at=n * 1000 + n % 3, offset=n) for n in range(40)]
    vectors = []
    for limit in (3, 100):
        pipeline = a_pipeline(SomeLiveRanker(MixingSessions()), limit=limit)
        pipeline.on_actions(log)
        pipeline.on_requests([a_request("u1", at=40_000)]).answer()
        ranker: EchoRanker = pipeline.serving.current
        ((_, state, now_ms),) = ranker.requests
        vectors.append(session_vector(view_user(state, 0, now_ms, ranker.offline.users), ranker.offline))
    assert np.abs(vectors[0]).sum() > 0.1
    assert np.allclose(vectors[0], vectors[1], atol=2e-3)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (ARecord(b"{nonsense"), "not-json"),
        (ARecord(b"\xff\xfe"), "not-json"),
        (ARecord(an_event().value[:-1] + b',"x":' + b"[" * 998), "not-json"),  # 1 KB, which need not be closed
        (ARecord(an_event().value[:-1] + b',"x":' + b"[" * 5_000 + b"]" * 5_000 + b"}"), "not-json"),
        (ARecord(an_event().value[:-1] + b',"x":' + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH + b"}"), "not-json"),
        (ARecord(None), "empty"),
        (ARecord(b'{"user_id": "u1"}'), "schema"),
        (ARecord(b'{"user_id": true, "item_id": 1, "action": "view", "timestamp_ms": 1}'), "schema"),
        (an_event(item="x" * 300), "schema"),
        (an_event(action="dance"), "unknown-action"),
        (an_event(at=-2_000_000_000), "schema"),  # a negative timestamp
        (an_event(at=-1_699_000_000), "timestamp"),  # seconds instead of milliseconds
        (ARecord(an_event(at=90_000).value), "timestamp"),  # a day and an hour after its record
        (an_event(value=-1), "schema"),
        (ARecord(an_event("u1").value, key=None), "key-mismatch"),
        (ARecord(an_event("u1").value, key=b"u2"), "key-mismatch"),
        (ARecord(b"x" * 5_000_000), "too-large"),
    ],
)
def test_a_bad_action_becomes_a_dead_letter_with_its_reason_and_offset(record: ARecord, reason: str):
    record.offset, record.partition = 17, 3
    pipeline = a_pipeline()
    good = an_event("u9", offset=18)
    (outgoing,) = pipeline.on_actions([record, good])
    (dead_letter,) = decoded([outgoing])
    assert outgoing.channel is Channel.DEAD_LETTERS
    assert (dead_letter["reason"], dead_letter["partition"], dead_letter["offset"]) == (reason, 3, 17)
    assert dead_letter["value_bytes"] == len(record.value or b"")
    assert pipeline.counters.rejected == {reason: 1}
    assert list(records_of(pipeline)) == [b"u9"]


def test_whatever_a_record_makes_a_decoder_raise_is_a_dead_letter_and_the_others_go_on(monkeypatch):
    def decode(self, record):
        raise ZeroDivisionError(f"of {record.offset}")

    pipeline = a_pipeline()
    monkeypatch.setattr(ActionDecoder, "__call__", decode)
    letters = decoded(pipeline.on_actions([an_event("u1", offset=3), an_event("u2", offset=4)]))
    assert [(letter["reason"], letter["offset"]) for letter in letters] == [("internal", 3), ("internal", 4)]
    assert "ZeroDivisionError: of 3" in letters[0]["message"]


def test_whoever_asked_is_told_in_a_line_and_the_letter_keeps_the_traceback(monkeypatch):
    def decode(record, now_ms):
        raise ZeroDivisionError("of r1")

    monkeypatch.setattr(pipeline_module, "decode_request", decode)
    value = b'{"request_id":"r1","user_id":"u1","candidates":[1]}'
    letter, feed = decoded(a_pipeline().on_requests([ARecord(value)]).answer())
    assert (letter["reason"], feed["error"]["reason"]) == ("internal", "internal")
    assert "Traceback" in letter["message"]
    assert feed["error"]["message"] == "the request could not be read: ZeroDivisionError: of r1"


def test_what_is_nested_no_deeper_than_any_python_reads_is_applied():
    nested = b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1)
    pipeline = a_pipeline()
    assert pipeline.on_actions([ARecord(an_event().value[:-1] + b',"x":' + nested + b"}")]) == []
    assert [unpack_state(state).total for state in records_of(pipeline).values()] == [1]


@pytest.mark.parametrize("depth", [998, 5_000])
def test_a_request_of_nested_brackets_is_a_dead_letter(depth):
    value = b'{"request_id":"r1","user_id":"u1","candidates":[1],"x":' + b"[" * depth
    (letter,) = decoded(a_pipeline().on_requests([ARecord(value)]).answer())
    assert letter["reason"] == "not-json"


def test_a_dead_letter_of_a_huge_record_still_fits_a_broker():
    (dead_letter,) = a_pipeline().on_actions([ARecord(b"x" * 5_000_000)])
    assert len(dead_letter.value) < 1_000_000


def test_of_what_cannot_be_read_a_dead_letter_keeps_a_little_and_of_the_rest_what_redriving_needs():
    padded = an_event("u1", x="x" * 60_000).value
    junk, misplaced = decoded(a_pipeline().on_actions([ARecord(b"x" * 60_000), ARecord(padded, b"u2")]))
    assert (junk["reason"], len(b64decode(junk["value_base64"])), junk["value_bytes"]) == ("not-json", 16_384, 60_000)
    assert (misplaced["reason"], b64decode(misplaced["value_base64"])) == ("key-mismatch", padded)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"candidates": list(range(10_000))}, "length <= 5000"),
        ({"candidates": []}, "length >= 1"),
        ({"candidates": [1], "limit": 3}, "either candidates or limit"),
        ({"candidates": [1, 2], "groups": [1]}, "1 groups for 2 candidates"),
        ({"candidates": [1], "max_per_group": 2}, "needs groups"),
        ({"limit": 0}, ">= 1"),
    ],
)
def test_a_bad_request_is_answered_with_its_id_and_becomes_a_dead_letter(fields: dict, words: str):
    dead_letter, feed = a_pipeline().on_requests([a_request("u1", **fields)]).answer()
    assert (dead_letter.channel, feed.channel) == (Channel.DEAD_LETTERS, Channel.FEEDS)
    answer = json.loads(feed.value)
    assert answer["request_id"] == "r1"
    assert words in answer["error"]["message"]


@pytest.mark.parametrize(
    ("timestamp_ms", "reason", "words"),
    [
        (1_700_000_000, "timestamp", "timestamp_ms 1700000000 is before 1973: seconds? multiply them by 1000"),
        (MORNING_MS + 90_000_000, "timestamp", "is 25.0 hours after the record's own time"),
        (MORNING_MS * 1_000, "schema", "timestamp_ms"),  # microseconds: no time that a state can hold
    ],
)
def test_a_request_of_a_time_that_cannot_be_meant_is_refused_as_an_action_is(
    timestamp_ms: int, reason: str, words: str
):
    dead_letter, feed = decoded(a_pipeline().on_requests([a_request("u1", timestamp_ms=timestamp_ms)]).answer())
    action = an_event("u1")
    action.value = json.dumps(json.loads(action.value or b"") | {"timestamp_ms": timestamp_ms}).encode()
    (rejected,) = decoded(a_pipeline().on_actions([action]))
    assert rejected["reason"] == dead_letter["reason"] == feed["error"]["reason"] == reason
    assert words in rejected["message"]
    assert words in feed["error"]["message"]


def test_a_request_within_a_day_of_its_record_is_ranked():
    (feed,) = decoded(a_pipeline().on_requests([a_request("u1", timestamp_ms=MORNING_MS + 80_000_000)]).answer())
    assert "error" not in feed


def test_a_request_and_an_action_in_records_without_a_time_take_the_workers_clock():
    pipeline = a_pipeline()
    pipeline.log_served = True
    action, request = an_event("u1"), a_request("u1")
    action.timestamp = request.timestamp = -1
    assert pipeline.on_actions([action]) == []
    feed, served = decoded(pipeline.on_requests([request]).answer())
    assert (feed["actions_used"], served["at_ms"]) == (1, MORNING_MS)


def test_an_action_a_day_after_the_workers_clock_is_rejected_where_its_record_has_no_time():
    action = an_event("u1", at=90_000)
    action.timestamp = -1
    (dead_letter,) = decoded(a_pipeline().on_actions([action]))
    assert dead_letter["reason"] == "timestamp"


@pytest.mark.parametrize(
    ("record_ms", "words"),
    [
        (0, "the record's own time 0 is before 1973: seconds? multiply them by 1000"),
        (1_700_000_000, "the record's own time 1700000000 is before 1973"),
        (MORNING_MS + 90_000_000, "is 25.0 hours after the worker's clock"),
    ],
)
def test_a_request_in_a_record_of_a_time_that_cannot_be_meant_is_refused(record_ms: int, words: str):
    request = a_request("u1")
    request.timestamp = record_ms
    dead_letter, feed = decoded(a_pipeline().on_requests([request]).answer())
    assert dead_letter["reason"] == feed["error"]["reason"] == "timestamp"
    assert words in feed["error"]["message"]


def test_a_request_far_after_the_workers_clock_is_refused_whatever_its_record_says():
    request = a_request("u1", timestamp_ms=MORNING_MS + 90_000_000)
    request.timestamp = MORNING_MS + 90_000_000
    _, feed = decoded(a_pipeline().on_requests([request]).answer())
    assert "is 25.0 hours after the worker's clock" in feed["error"]["message"]


@pytest.mark.parametrize("more", [{}, {"timestamp_ms": MORNING_MS}])
def test_actions_of_a_clock_that_is_minutes_ahead_are_used_as_the_newest_and_counted(more: dict):
    pipeline = a_pipeline(LiveRanker.without_bundle(VOCABULARY))
    ahead, right = an_event("u1", "b", at=300, offset=1), an_event("u1", "a", at=-60)
    ahead.timestamp = MORNING_MS
    assert pipeline.on_actions([right, ahead]) == []
    (feed,) = decoded(pipeline.on_requests([a_request("u1", candidates=[1, 2], **more)]).answer())
    assert (feed["actions_used"], feed["newest_action_age_ms"]) == (2, 0)
    assert (pipeline.counters.ahead, pipeline.counters.actions) == (1, 2)


def test_a_request_about_the_past_sees_nothing_that_came_after():
    pipeline = a_pipeline(LiveRanker.without_bundle(VOCABULARY))
    pipeline.on_actions([an_event("u1", "a", at=-700), an_event("u1", "b", at=-500, offset=1)])
    request = a_request("u1", candidates=[1, 2], timestamp_ms=MORNING_MS - 600_000)
    (feed,) = decoded(pipeline.on_requests([request]).answer())
    assert (feed["actions_used"], feed["newest_action_age_ms"]) == (1, 100_000)


def test_what_lies_on_another_partition_is_a_dead_letter_and_a_request_an_error_too():
    pipeline = a_pipeline()
    pipeline.wrong_partition = lambda keys: {key: f"{key!r} belongs elsewhere" for key in keys if key == b"u2"}
    events = [an_event("u1", offset=3), an_event("u2", offset=4), an_event("u1", "b", offset=5), ARecord(b"", b"u2", 6)]
    letters = decoded(pipeline.on_actions(events))
    assert {letter["offset"]: letter["reason"] for letter in letters} == {4: "wrong-partition", 6: "not-json"}
    assert [unpack_state(state).total for state in records_of(pipeline).values()] == [2]
    answers = decoded(pipeline.on_requests([a_request("u2"), a_request("u1", request_id="r2")]).answer())
    assert [answer.get("reason") or answer.get("error", {}).get("reason") for answer in answers] == [
        "wrong-partition",
        "wrong-partition",
        None,
    ]
    assert pipeline.counters.rejected == {"wrong-partition": 2, "not-json": 1}


@settings(max_examples=60)
@given(EVENTS, st.integers(1, 4), st.integers(1, 9))
def test_however_the_log_is_cut_what_lies_elsewhere_never_reaches_a_state(
    events: list[tuple], partitions: int, size: int
):
    """Where a key lies is looked at when its user is loaded, so users in memory must have passed."""
    log = [an_event(user, item, at, n, kind) for n, (user, item, at, kind) in enumerate(events)]
    right = [record for record in log if partition_of(record.key or b"", partitions) == 0]
    checked, filtered = a_pipeline(), a_pipeline()
    checked.wrong_partition = PartitionCheck(0, partitions)
    filtered.on_actions(right)
    letters = []
    for at in range(0, len(log), size):
        letters += decoded(checked.on_actions(log[at : at + size]))
        checked.users.commit(checked.users.take_changes(at))
    assert records_of(checked) == records_of(filtered)
    assert sorted(letter["offset"] for letter in letters) == [one.offset for one in log if one not in right]


def test_a_request_past_its_deadline_is_refused_not_ranked():
    (feed,) = decoded(a_pipeline().on_requests([a_request(deadline_ms=MORNING_MS - 5)]).answer())
    assert feed["error"]["reason"] == "deadline-passed"


@pytest.mark.parametrize("deadline_ms", [200, 1_700_000_000])
def test_a_deadline_in_seconds_or_from_now_is_a_mistake_and_has_not_passed(deadline_ms: int):
    dead_letter, feed = decoded(a_pipeline().on_requests([a_request(deadline_ms=deadline_ms)]).answer())
    assert dead_letter["reason"] == feed["error"]["reason"] == "timestamp"
    assert f"deadline_ms {deadline_ms} is before 1973: seconds?" in feed["error"]["message"]


def test_a_deadline_is_compared_with_the_workers_clock_not_with_the_time_to_rank_at():
    request = a_request(deadline_ms=MORNING_MS + 1_000, timestamp_ms=MORNING_MS + 5_000)
    (feed,) = decoded(a_pipeline().on_requests([request]).answer())
    assert "error" not in feed


@pytest.mark.parametrize("more", [{}, {"timestamp_ms": MORNING_MS - 9_000}, {"deadline_ms": MORNING_MS + 1_000}])
def test_what_was_served_comes_out_the_same_whatever_the_clock_shows(more: dict):
    request, served = a_request("u1", at=2, candidates=[3, 1, 2], **more), []
    for now_ms in (0, MORNING_MS):
        pipeline = a_pipeline(LiveRanker.without_bundle(VOCABULARY))
        pipeline.clock, pipeline.log_served = lambda now_ms=now_ms: now_ms, True
        pipeline.on_actions([an_event("u1", 5)])
        served.append(pipeline.on_requests([request]).answer()[-1])
    assert served[0] == served[1]
    assert served[0].channel is Channel.SERVED


def test_a_request_that_meets_a_bug_is_answered_and_the_others_go_on():
    pipeline = a_pipeline()
    pipeline.serving.current.rank = lambda *_: 1 / 0
    dead_letter, feed = decoded(pipeline.on_requests([a_request()]).answer())
    assert dead_letter["reason"] == feed["error"]["reason"] == "internal"
    assert "ZeroDivisionError" in dead_letter["message"]


@pytest.mark.parametrize("identifier", ["u1", 7, "7", "ключ", "a b/c"])
def test_ids_come_back_as_they_came(identifier: str | int):
    (feed,) = decoded(a_pipeline().on_requests([a_request(identifier, request_id=identifier)]).answer())
    assert (feed["user_id"], feed["request_id"]) == (identifier, identifier)
    assert type(feed["user_id"]) is type(identifier)


def test_a_log_stays_readable_years_later():
    """Whether a record is accepted depends on the record, not on the clock of who reads it."""
    pipeline = a_pipeline()
    pipeline.clock = lambda: 4_000_000_000_000
    assert pipeline.on_actions([an_event()]) == []


def test_a_new_bundle_brings_new_actions_without_a_restart():
    pipeline = a_pipeline()
    assert len(pipeline.on_actions([an_event(action="share")])) == 1
    pipeline.serving.vocabulary = Vocabulary((*VOCABULARY.actions, "share"), VOCABULARY.surfaces)
    assert pipeline.on_actions([an_event(action="share", offset=1)]) == []


def test_a_changed_user_is_stored_with_the_position():
    pipeline = a_pipeline()
    pipeline.on_actions([an_event("u1", offset=3)])
    pipeline.users.commit(pipeline.users.take_changes(4))
    assert pipeline.users.store.next_offset == 4
    assert unpack_state(dict(pipeline.users.store.items())[b"u1"]).offset == 3
