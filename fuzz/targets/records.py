"""Records of the topics, decoded as workers and clients do."""

import json
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any
from zlib import crc32

import msgspec
from msgspec.structs import replace

from fuzz.law import Target, same
from rankstream.cli.commands.dead_letters import resent
from rankstream.content.items import decode_update
from rankstream.evaluation.audit.verify import VerifyError, read_served
from rankstream.events.action_event import ActionDecoder, Recorded, Rejected
from rankstream.events.dumps import DumpError, record_of
from rankstream.events.impression_event import decode_impressions
from rankstream.events.readers.shown_lists import NothingShown, list_of_feed
from rankstream.features.actions import action_time_ms, is_erasure, unpack_action
from rankstream.features.user_state import UNKNOWN_USER
from rankstream.streams.clients.connect import ClientError
from rankstream.streams.clients.readers import dead_letter_of, feed_of
from rankstream.streams.codec import decode_request, encode_dead_letter
from rankstream.streams.pipeline import INTERNAL
from rankstream.streams.records import Channel, Outgoing
from rankstream.streams.shortened import sent_bytes, shortened
from tests.builders.actions import MORNING_MS, VOCABULARY, a_pipeline

ACTIONS = (
    {"user_id": "u1", "item_id": "a", "action": "view", "timestamp_ms": MORNING_MS},
    {"user_id": 7, "item_id": 9, "action": "save", "timestamp_ms": MORNING_MS, "surface": "home", "value": 3.5,
     "list_id": "r1"},
    {"user_id": "u1", "action": "forget", "timestamp_ms": MORNING_MS},
)  # fmt: skip
REQUESTS = (
    {"request_id": "r1", "user_id": "u1", "limit": 3},
    {"request_id": 5, "user_id": 7, "candidates": ["a", 9], "groups": ["x", "y"], "max_per_group": 1, "top_k": 2,
     "timestamp_ms": MORNING_MS, "deadline_ms": MORNING_MS + 9, "surface": "home"},
)  # fmt: skip
SHOWN = ({"list_id": "r1", "user_id": "u1", "item_ids": ["a", 9], "timestamp_ms": MORNING_MS, "surface": "home"},)
ITEMS = (
    {"id": "a", "title": "Boot", "text": "warm", "category": ["Shoes", "Winter"], "price": 9.5, "currency": "EUR",
     "picture": "a.png", "group": "b", "collections": ["sale", 7], "created_at_ms": MORNING_MS},
    {"id": 7, "gone": True},
)  # fmt: skip
ITEM = {"item_id": "a", "score": 1.5, "probabilities": {"save": 0.5}, "propensity": 0.25}
FEEDS = (
    {"request_id": "r1", "user_id": "u1", "ranked_at_ms": MORNING_MS, "items": [ITEM, ITEM | {"item_id": 9}],
     "model_version": "m", "actions_used": 3, "newest_action_age_ms": None, "user_vector_found": True,
     "unknown_items": 0, "timings_ms": {"total": 1.5}, "calibrated": ["save"]},
    {"request_id": 5, "user_id": 7, "ranked_at_ms": MORNING_MS, "error": {"reason": "schema", "message": "m"}},
)  # fmt: skip
SERVED = (
    {"request_id": "r1", "user_id": "u1", "at_ms": MORNING_MS, "state_offset": 5, "state_actions": 6, "partition": 0,
     "offset": 9, "features": "ab", "model_version": "m", "user_vectors": None, "items": [ITEM], "item_counts": None},
)  # fmt: skip
LETTERS = (
    {"reason": "schema", "message": "m", "topic": "user-actions", "partition": 0, "offset": 9, "timestamp_ms": 5,
     "key_base64": "dTE=", "value_base64": "e30=", "value_bytes": 2},
    {"reason": "key-mismatch", "message": "m", "topic": "user-actions", "partition": 0, "offset": 8,
     "timestamp_ms": 5, "key_base64": None, "value_base64": "eyJ1c2VyX2lkIjogN30=", "value_bytes": 14, "key_bytes": 9},
)  # fmt: skip
DUMPED = (
    {"partition": 3, "offset": 17, "timestamp_ms": MORNING_MS, "key": "u1", "value": ACTIONS[0]},
    {"partition": 3, "offset": 18, "timestamp_ms": -1, "key_base64": "/w==", "value_base64": "/w=="},
)


def lines_of(documents: Iterable[Any]) -> list[bytes]:
    """Return documents as JSON, one a line."""
    return [json.dumps(one).encode() for one in documents]


def a_record(data: bytes, topic: str = "user-actions", keyed_by: str = "user_id") -> Recorded:
    """Return the record of a value: mostly with the key that it must have, so that decoding goes on behind it."""
    turn = crc32(data)
    timestamp = (MORNING_MS, MORNING_MS, -1, 0, 1 << 62)[turn % 5]
    return Recorded(topic, 0, turn % 1000, timestamp, b"u1" if turn % 7 == 0 else _key_of(data, keyed_by), data or None)


def _key_of(data: bytes, name: str) -> bytes:
    try:
        return str(json.loads(data)[name]).encode()
    except (ValueError, KeyError, TypeError, RecursionError):
        return b"u1"


def _action(data: bytes) -> None:
    packed = ActionDecoder(VOCABULARY, lambda: MORNING_MS)(a_record(data))
    same(unpack_action(packed).pack(), packed)
    state = UNKNOWN_USER.apply([packed], 0).state
    if is_erasure(packed):
        same(state, replace(UNKNOWN_USER.erased(action_time_ms(packed)), offset=0))
    else:
        same(state.history.packed, packed)


def _request(data: bytes) -> None:
    record = a_record(data, "ranking-requests")
    request = decode_request(record, MORNING_MS)
    key = record.key if record.key == b"" else str(request.user_id).encode()
    written = msgspec.json.encode(request)
    same(decode_request(Recorded("", 0, 0, record.timestamp, key, written), MORNING_MS), request)


def _impressions(data: bytes) -> None:
    shown = decode_impressions(a_record(data, "impressions"), MORNING_MS)
    same(decode_impressions(a_record(msgspec.json.encode(shown)), None), shown)


def _item(data: bytes) -> None:
    update = decode_update(a_record(data, "item-updates", "id"), MORNING_MS)
    if update.item is not None:
        written = msgspec.json.encode(update.item)
        same(decode_update(a_record(written, keyed_by="id"), None), update)


def _shown_feed(data: bytes) -> None:
    list_of_feed(a_record(data, "ranked-feeds"), MORNING_MS)


def _feed(data: bytes) -> None:
    feed = feed_of(a_record(data, "ranked-feeds"))
    same(feed_of(a_record(msgspec.json.encode(feed))), feed)


def _served(data: bytes) -> None:
    served = read_served(a_record(data, "served-features"))
    same(read_served(a_record(msgspec.json.encode(served))), served)


def _letter(data: bytes) -> None:
    letter = dead_letter_of(a_record(data, "dead-letters"))
    same(dead_letter_of(a_record(msgspec.json.encode(letter))), letter)


def _redriven(data: bytes) -> None:
    letters = [dead_letter_of(a_record(line, "dead-letters")) for line in data.splitlines()]
    for topic, key, value in resent(letters, None, True, Counter()):
        same((type(topic), type(key or b""), type(value)), (str, bytes, bytes))


def _lettered(data: bytes) -> None:
    """Any record has a dead letter, of any size, which can be read."""
    record = a_record(data)
    letter = encode_dead_letter(record, "schema", "m" * (len(data) % 300))
    dead_letter_of(Recorded("", 0, 0, 0, None, letter))
    limit = 1_000 + crc32(data) % 5_000
    short = shortened(Outgoing(Channel.DEAD_LETTERS, record.key, letter), limit)
    if short is not None:
        same(sent_bytes(short) <= limit, True)
        dead_letter_of(Recorded("", 0, 0, 0, None, short.value))


def _dumped(data: bytes) -> None:
    record_of(data, "user-actions")


def _pipeline(data: bytes) -> None:
    """No record of actions or requests finds a bug: that would be a letter ``internal``."""
    pipeline = a_pipeline()
    records = [a_record(line) for line in data.splitlines()]
    outgoing = pipeline.on_actions(records) + pipeline.on_requests(records).answer()
    for one in outgoing:
        if one.channel is Channel.DEAD_LETTERS:
            letter = dead_letter_of(Recorded("", 0, 0, 0, None, one.value))
            if letter.reason == INTERNAL:
                raise AssertionError(" ".join(letter.message[-300:].split()))
        else:
            feed_of(Recorded("", 0, 0, 0, None, one.value))


def targets() -> list[Target]:
    """Return the targets."""

    def one(name: str, corpus: Iterable[Any], decode: Callable[[bytes], None], *declared: type[Exception]) -> Target:
        return Target(name, lines_of(corpus), decode, declared)

    return [
        one("action", ACTIONS, _action, Rejected),
        one("request", REQUESTS, _request, Rejected),
        one("impressions", SHOWN, _impressions, Rejected),
        one("item", ITEMS, _item, Rejected),
        one("shown-feed", FEEDS, _shown_feed, Rejected, NothingShown),
        one("feed", FEEDS, _feed, ClientError),
        one("served-features", SERVED, _served, VerifyError),
        one("dead-letter", LETTERS, _letter, ClientError),
        one("redriven", LETTERS, _redriven, ClientError),
        one("lettered", ACTIONS, _lettered),
        one("dumped", DUMPED, _dumped, DumpError),
        Target("pipeline", [b"\n".join(lines_of([*ACTIONS, *REQUESTS]))], _pipeline, ()),
    ]
