"""What of a body is sent, and why the rest is not: the rules are those of the topics."""

import json

import msgspec
import pytest

from rankstream.events.action_event import ActionEvent, Rejected
from rankstream.gateway.intake import AskedRequest, read_actions, read_impressions, read_request
from rankstream.streams.codec import decode_request
from tests.builders.actions import MORNING_MS, ARecord

CLICK = {"user_id": "u1", "item_id": "a", "action": "click", "timestamp_ms": MORNING_MS}


def read(value):
    return read_actions(json.dumps(value).encode(), MORNING_MS)


def test_one_action_is_a_record_with_the_key_of_its_user():
    ((key, value),) = read(CLICK | {"user_id": 7}).records
    assert key == b"7"
    assert msgspec.json.decode(value, type=ActionEvent).user_id == 7


def test_of_many_each_that_is_wrong_is_named_with_its_place():
    nobody, no_item, in_seconds = CLICK | {"user_id": ""}, {"user_id": 1}, CLICK | {"timestamp_ms": MORNING_MS // 1000}
    read_ones = read([CLICK, nobody, CLICK, no_item, in_seconds])
    assert read_ones.indices == [0, 2]
    assert [(one.index, one.reason) for one in read_ones.rejected] == [(1, "schema"), (3, "schema"), (4, "timestamp")]
    assert "multiply them by 1000" in read_ones.rejected[2].message


def test_an_action_of_tomorrow_is_rejected():
    assert [one.reason for one in read(CLICK | {"timestamp_ms": MORNING_MS + 90_000_000}).rejected] == ["timestamp"]


def test_an_action_over_the_limit_of_the_topic_is_rejected():
    assert [one.reason for one in read([CLICK, CLICK | {"more": "x" * 70_000}]).rejected] == ["too-large"]


@pytest.mark.parametrize("body", [b"", b"{", b'{"a"}', b"\xff", b'{"a":' * 100_000, b"nan"])
def test_what_is_no_json_is_rejected_as_a_whole(body):
    for read_body in (read_actions, read_request, read_impressions):
        with pytest.raises(Rejected) as rejected:
            read_body(body, MORNING_MS)
        assert rejected.value.reason == "not-json"


@pytest.mark.parametrize("body", [b"[", b"[{}", b"[1,]", b"[" * 100_000])
def test_a_list_that_is_cut_short_is_rejected_as_a_whole(body):
    with pytest.raises(Rejected) as rejected:
        read_actions(body, MORNING_MS)
    assert rejected.value.reason == "not-json"


@pytest.mark.parametrize("value", [1, None, "text", [[CLICK]]])
def test_json_that_is_no_action_is_named(value):
    assert [one.reason for one in read(value).rejected] == ["schema"]


def test_a_request_is_what_a_worker_would_read():
    asked = read_request(b'{"request_id":"r","user_id":7,"limit":3}', MORNING_MS)
    key, value = asked.record
    assert decode_request(ARecord(value, key), MORNING_MS) == asked.request
    assert b"timestamp_ms" not in value  # it stays the record's


def test_a_request_without_an_id_is_given_one_of_its_own():
    first, second = (read_request(b'{"user_id":7,"limit":3}', MORNING_MS) for _ in range(2))
    assert first.request.request_id != second.request.request_id
    assert str(first.request.request_id).encode() in first.record[1]


@pytest.mark.parametrize("more", [{}, {"limit": 3, "candidates": [1]}, {"limit": 0}, {"candidates": [1], "groups": []}])
def test_a_request_that_no_worker_could_answer_is_not_sent(more):
    with pytest.raises(Rejected) as rejected:
        read_request(json.dumps({"user_id": 7} | more).encode(), MORNING_MS)
    assert rejected.value.reason == "schema"


def test_impressions_have_the_key_of_their_user():
    shown = {"list_id": "l", "user_id": 7, "item_ids": [1, 2], "timestamp_ms": MORNING_MS}
    assert read_impressions(json.dumps(shown).encode(), MORNING_MS).record[0] == b"7"
    with pytest.raises(Rejected, match="before 1973"):
        read_impressions(json.dumps(shown | {"timestamp_ms": 1}).encode(), MORNING_MS)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"topk": 5}, "there is no field 'topk': did you mean 'top_k'?"),
        ({"filters": {"max_price": 5}}, "there is no field 'filters.max_price': did you mean 'filters.price_max'?"),
    ],
)
def test_a_request_with_a_misspelt_field_is_refused_with_the_one_that_was_meant(more, told):
    """It would be answered as if the field were not there: with all items, or with those that were to be left out."""
    with pytest.raises(Rejected) as rejected:
        read_request(json.dumps({"user_id": "u1", "limit": 3} | more).encode(), MORNING_MS)
    assert (rejected.value.reason, str(rejected.value)) == ("unknown-field", told)


def test_fields_of_a_callers_own_are_let_pass_not_sent_and_named():
    body = {"user_id": "u1", "limit": 3, "page": 1, "filters": {"price_min": 2, "color": "red"}}
    asked = read_request(json.dumps(body).encode(), MORNING_MS)
    assert asked.unread == ("page", "filters.color")
    sent = msgspec.json.decode(asked.record[1])
    assert (sent["filters"], "page" in sent) == ({"price_min": 2.0}, False)


def test_a_misspelt_field_of_an_action_rejects_that_action_alone():
    read_ones = read([CLICK, CLICK | {"surfaces": "home"}, CLICK | {"url": "/"}])
    assert [(one.index, one.reason) for one in read_ones.rejected] == [(1, "unknown-field")]
    assert (read_ones.indices, read_ones.unread) == ([0, 2], {"url"})


def test_what_is_sent_is_to_the_byte_what_a_topics_own_struct_makes():
    value = read_request(b'{"user_id":1,"limit":3,"filters":{"price_min":3}}', MORNING_MS).record[1]
    assert value == msgspec.json.encode(msgspec.json.decode(value, type=AskedRequest))
    ((_, value),) = read(CLICK | {"surface": "home"}).records
    assert value == msgspec.json.encode(msgspec.json.decode(value, type=ActionEvent))
