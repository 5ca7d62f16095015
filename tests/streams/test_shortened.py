import json
from base64 import b64decode
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankstream.ranking.request import FeedItem, Ranking, RankingRequest, Variant
from rankstream.streams.codec import encode_dead_letter, encode_error, encode_feed
from rankstream.streams.records import Channel, Outgoing
from rankstream.streams.shortened import sent_bytes, shortened
from rankstream.streams.tracing import RequestTrace
from tests.builders.actions import MORNING_MS, ARecord

MB = 1_048_588  # a broker's own limit


def a_feed(count: int, key: bytes = b"u1", variant: Variant | None = None) -> Outgoing:
    items = tuple(FeedItem(f"sku-{n:06d}-" + "x" * 60, 0.5, {"save": 0.25, "click": 0.5}) for n in range(count))
    ranking = Ranking(items, ("save", "click"), "m1", 3, 5, True, 0, variant=variant)
    value = encode_feed(RankingRequest("r1", "u1", candidates=("a",)), ranking, MORNING_MS)
    return Outgoing(Channel.FEEDS, key, value)


def a_dead_letter(record: ARecord) -> Outgoing:
    return Outgoing(Channel.DEAD_LETTERS, record.key, encode_dead_letter(record, "key-mismatch", "not its user's"))


class ATrace(RequestTrace):
    headers = (("traceparent", b"t" * 55), ("baggage", b"b" * 400))


@pytest.mark.parametrize("make", [lambda: a_feed(90), lambda: a_dead_letter(ARecord(b"v" * 9_000, b"u1"))])
def test_a_record_of_a_trace_keeps_its_headers_and_they_count(make):
    traced = replace(make(), trace=ATrace())
    assert sent_bytes(traced) >= sent_bytes(make()) + 55 + 400
    short = shortened(traced, 2_000)
    assert short is not None
    assert short.trace is traced.trace
    assert sent_bytes(short) <= 2_000


def test_a_feed_that_is_too_large_becomes_an_error_of_the_same_request():
    feed = a_feed(7_000)
    short = shortened(feed, MB)
    assert short is not None
    told = json.loads(short.value)
    assert (told["request_id"], told["user_id"], told["ranked_at_ms"]) == ("r1", "u1", MORNING_MS)
    assert told["error"]["reason"] == "too-large"
    assert told["error"]["message"] == (
        f"the feed of 7,000 items takes {sent_bytes(feed):,} bytes, but the topic ranked-feeds takes 1,048,588 a "
        "record: ask for fewer with top_k, or raise the topic's max.message.bytes"
    )


def test_a_feed_of_an_experiment_is_of_its_variant_however_large():
    short = shortened(a_feed(7_000, variant=Variant("treatment", 0.1, "autumn")), MB)
    assert short is not None
    told = json.loads(short.value)
    assert ("error" in told, told["variant"], told["variant_share"]) == (True, "treatment", 0.1)


def test_an_error_feed_under_a_key_that_is_too_large_is_keyed_by_its_user():
    value = encode_error("r1", "u1", "key-mismatch", "the record's key is ...", MORNING_MS)
    short = shortened(Outgoing(Channel.FEEDS, b"k" * 3_000_000, value), MB)
    assert short == Outgoing(Channel.FEEDS, b"u1", value)


def test_a_dead_letter_keeps_as_much_of_the_value_as_fits():
    record = ARecord(b"v" * 500_000, b"u1")
    short = shortened(a_dead_letter(record), 100_000)
    assert short is not None
    letter = json.loads(short.value)
    kept = b64decode(letter["value_base64"])
    assert record.value is not None
    assert record.value.startswith(kept)
    assert 70_000 < len(kept) < letter["value_bytes"] == 500_000
    assert (short.key, b64decode(letter["key_base64"])) == (b"u1", b"u1")
    assert "key_bytes" not in letter, "the key is whole"


def test_a_dead_letter_of_a_key_of_3_mb_keeps_a_part_of_it_and_its_size():
    short = shortened(a_dead_letter(ARecord(b"{}", b"k" * 3_300_000)), MB)
    assert short is not None
    letter = json.loads(short.value)
    assert letter["key_bytes"] == 3_300_000
    assert short.key == b64decode(letter["key_base64"])
    assert b64decode(letter["value_base64"]) == b"{}"


def test_nothing_stands_for_what_was_served():
    assert shortened(Outgoing(Channel.SERVED, b"u1", b"{}" * 1_000), 100) is None


def test_where_not_even_the_bare_letter_fits_there_is_none():
    assert shortened(a_dead_letter(ARecord(b"v" * 500)), 120) is None


@given(
    st.binary(max_size=3_000) | st.none(),
    st.binary(max_size=3_000) | st.none(),
    st.integers(min_value=500, max_value=4_000),
)
def test_whatever_was_rejected_its_dead_letter_fits_and_can_be_read(key, value, limit):
    letter = a_dead_letter(ARecord(value, key))
    short = shortened(letter, limit)
    assert short is not None
    assert sent_bytes(short) <= limit
    told = json.loads(short.value)
    assert (value or b"").startswith(b64decode(told["value_base64"] or ""))
    assert (key or b"").startswith(b64decode(told["key_base64"] or ""))
    assert ("key_bytes" in told) == (len(short.key or b"") < len(key or b""))


@pytest.mark.parametrize("channel", [Channel.FEEDS, Channel.DEAD_LETTERS])
def test_what_is_sent_instead_is_never_larger_than_the_limit(channel):
    one = a_feed(100) if channel is Channel.FEEDS else a_dead_letter(ARecord(b"v" * 9_000))
    for limit in range(50, 5_000, 50):
        short = shortened(one, limit)
        assert short is None or sent_bytes(short) <= limit
