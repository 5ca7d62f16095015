from typing import Any

import msgspec
import pytest

from rankstream.events.action_event import Rejected
from rankstream.features.user_state import UNKNOWN_USER
from rankstream.ranking.request import RankingRefusedError, RankingRequest, check_deadline, check_request
from rankstream.ranking.serving import LiveRanker
from rankstream.streams.codec import decode_request
from tests.builders.actions import MINUTE_MS, MORNING_MS, VOCABULARY, a_request


def a_request_by_hand(**fields: Any) -> RankingRequest:
    return RankingRequest(**{"request_id": "r1", "user_id": "u1"} | fields)


def test_a_deadline_is_met_until_the_clock_is_past_it():
    check_deadline(a_request_by_hand(deadline_ms=MORNING_MS), MORNING_MS)
    check_deadline(a_request_by_hand(), MORNING_MS)
    with pytest.raises(RankingRefusedError, match="20 ms after deadline_ms") as refused:
        check_deadline(a_request_by_hand(deadline_ms=MORNING_MS), MORNING_MS + 20)
    assert refused.value.reason == "deadline-passed"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, "no-candidates"),
        ({"candidates": (1,), "limit": 3}, "bad-limit"),
        ({"candidates": (1, 2), "groups": (1,)}, "bad-groups"),
        ({"limit": 2, "groups": (1,)}, "bad-groups"),
        ({"candidates": (1, 2), "max_per_group": 1}, "bad-groups"),
    ],
)
def test_a_rule_across_fields_is_one_sentence_on_the_wire_and_in_the_process(fields, reason):
    ranker = LiveRanker.without_bundle(VOCABULARY).current
    with pytest.raises(RankingRefusedError) as refused:
        ranker.rank(a_request_by_hand(**fields), UNKNOWN_USER, MORNING_MS)
    record = a_request()
    record.value = msgspec.json.encode(a_request_by_hand(**fields))
    with pytest.raises(Rejected) as rejected:
        decode_request(record)
    assert str(refused.value) == str(rejected.value)
    assert (refused.value.reason, rejected.value.reason) == (reason, "schema")


@pytest.mark.parametrize(
    "fields",
    [
        {"candidates": tuple(range(5_001))},
        {"limit": 0},
        {"limit": 5_001},
        {"limit": 3, "top_k": 0},
        {"candidates": (1,), "groups": (1,), "max_per_group": 0},
    ],
)
def test_a_size_that_the_schema_refuses_is_refused_by_hand_too(fields):
    with pytest.raises(RankingRefusedError):
        check_request(a_request_by_hand(**fields))
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode(a_request_by_hand(**fields)), type=RankingRequest)


def test_decoding_fills_in_the_time_of_the_record_where_the_request_has_none():
    assert decode_request(a_request(at=5)).timestamp_ms == MORNING_MS + 5_000
    assert decode_request(a_request(at=5, timestamp_ms=MORNING_MS)).timestamp_ms == MORNING_MS


def test_a_request_comes_out_of_its_bytes_as_it_went_in():
    request = a_request_by_hand(candidates=(1, "b", 3), groups=("x", "y", 7), max_per_group=1, timestamp_ms=MORNING_MS)
    record = a_request()
    record.value = msgspec.json.encode(request)
    assert decode_request(record) == request


@pytest.mark.parametrize(
    ("asked_as_of_ms", "seen_until_ms"),
    [
        (None, MORNING_MS + 24 * 60 * MINUTE_MS),
        (MORNING_MS + MINUTE_MS, MORNING_MS + MINUTE_MS + 24 * 60 * MINUTE_MS),
        (MORNING_MS - 5 * MINUTE_MS, MORNING_MS - 5 * MINUTE_MS + 24 * 60 * MINUTE_MS),
        (MORNING_MS - 6 * MINUTE_MS, MORNING_MS - 6 * MINUTE_MS),
    ],
)
def test_who_asks_as_of_now_sees_what_is_stamped_ahead_and_who_asks_about_the_past_sees_nothing_later(
    asked_as_of_ms: int | None, seen_until_ms: int
):
    request = RankingRequest("r1", "u1", limit=3, timestamp_ms=asked_as_of_ms)
    assert request.seen_until_ms(MORNING_MS) == seen_until_ms
