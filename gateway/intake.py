"""Bodies to records: the structs, limits and rules of the topics, so that nothing is sent that a worker can't read.

What only a worker knows is left to it: an action that is not in the bundle's vocabulary becomes a dead letter.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated
from uuid import uuid4

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType
from msgspec.structs import replace

from rankstream.content.filters import ItemFilters
from rankstream.events.action_event import (
    FORGET,
    MAX_ACTION_BYTES,
    TIMESTAMP,
    ActionEvent,
    ErasureEvent,
    Recorded,
    Rejected,
    TimeMs,
    WireId,
    check_time,
    decoded,
    not_valid,
)
from rankstream.events.impression_event import MAX_LIST_BYTES, ImpressionEvent, decode_impressions
from rankstream.features.decoding import UNREADABLE
from rankstream.features.ids import id_bytes
from rankstream.gateway.answers import RejectedItem
from rankstream.gateway.strictly import Strictly
from rankstream.ranking.request import RankingRequest
from rankstream.streams.codec import MAX_REQUEST_BYTES, decode_request

Keyed = tuple[bytes, bytes]  # key and value of a record
MAX_REJECTED = 1_000  # actions of a body; one of more is no list of actions, and is not looked at to its end


class AskedRequest(RankingRequest, frozen=True, omit_defaults=True, kw_only=True):
    """A ranking request as on the topic ranking-requests, but the gateway names one that has no request_id."""

    request_id: Annotated[WireId, Meta(description="made by the gateway if absent")] | UnsetType = UNSET  # type: ignore[assignment]


class AskedErasure(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who is to be forgotten, and what of what was done."""

    user_id: WireId
    timestamp_ms: Annotated[TimeMs, Meta(description="what was done up to then; now if absent, ms, UTC")] | None = None


@dataclass(frozen=True)
class Actions:
    """The actions of a body."""

    records: list[Keyed]
    indices: list[int]  # of each record, its position in the body
    rejected: list[RejectedItem]
    unread: set[str] = field(default_factory=set)  # names of fields that nothing reads


@dataclass(frozen=True)
class Asked:
    """A request that can be sent."""

    record: Keyed
    request: RankingRequest
    unread: tuple[str, ...] = ()  # names of fields that nothing reads


@dataclass(frozen=True)
class Shown:
    """A list of impressions that can be sent."""

    record: Keyed
    unread: tuple[str, ...] = ()


_encode = msgspec.json.Encoder().encode
_read_action = Strictly(ActionEvent, MAX_ACTION_BYTES, "an action")
_decode_erasure: Callable[[bytes], AskedErasure] = msgspec.json.Decoder(AskedErasure).decode
_read_asked = Strictly(AskedRequest, MAX_REQUEST_BYTES, "a ranking request", {"filters": ItemFilters})
_decode_list: Callable[[bytes], list[Raw]] = msgspec.json.Decoder(list[Raw]).decode
_read_impressions = Strictly(ImpressionEvent, MAX_LIST_BYTES, "a list of impressions")


def read_actions(body: bytes, now_ms: int) -> Actions:
    """Return the actions of a body, one object or a list of them. Raises ``Rejected`` where it is neither.

    Those that are valid are encoded anew: what is sent is what was checked.
    """
    records: list[Keyed] = []
    indices: list[int] = []
    rejected: list[RejectedItem] = []
    unread: set[str] = set()
    for index, raw in enumerate(_items(body)):
        try:
            read = _read_action(raw)
            event = read.value
            check_time("timestamp_ms", event.timestamp_ms, now_ms, "the gateway's clock")
            records.append((id_bytes(event.user_id), _encode(event)))
            indices.append(index)
            unread.update(read.unread)
        except Rejected as exc:
            rejected.append(RejectedItem(index, exc.reason, str(exc)))
            if len(rejected) > MAX_REJECTED:
                told = f"more than {MAX_REJECTED:,} of the actions are wrong, and none was sent; the first: "
                raise Rejected(rejected[0].reason, told + rejected[0].message) from None
    return Actions(records, indices, rejected, unread)


def _items(body: bytes) -> list[bytes]:
    if not body.lstrip().startswith(b"["):
        _must_be_json(body)
        return [body]
    try:
        return [bytes(item) for item in _decode_list(body)]
    except UNREADABLE as exc:
        raise not_valid(body, exc, "a list of actions") from None


def _must_be_json(body: bytes) -> None:
    try:
        msgspec.json.decode(body, type=Raw)
    except UNREADABLE as exc:
        raise not_valid(body, exc, "JSON") from None


def read_erasure(body: bytes, now_ms: int) -> Keyed:
    """Return the erasure of a body. Raises ``Rejected``, also for a time that is still to come."""
    asked = decoded(body, _decode_erasure, MAX_ACTION_BYTES, "an erasure")
    at_ms = now_ms if asked.timestamp_ms is None else asked.timestamp_ms
    if at_ms > now_ms:
        raise Rejected(TIMESTAMP, f"timestamp_ms {at_ms} is after {now_ms}: what is still to come can't be forgotten")
    check_time("timestamp_ms", at_ms, now_ms, "the gateway's clock")
    return id_bytes(asked.user_id), _encode(ErasureEvent(asked.user_id, FORGET, at_ms))


def read_request(body: bytes, now_ms: int) -> Asked:
    """Return the request of a body. Raises ``Rejected`` by the rules that a worker has."""
    read = _read_asked(body)
    asked = read.value
    if isinstance(asked.request_id, UnsetType):
        asked = replace(asked, request_id=uuid4().hex)
    record = (id_bytes(asked.user_id), _encode(asked))
    return Asked(record, decode_request(_recorded("ranking-requests", record, now_ms), now_ms), read.unread)


def read_impressions(body: bytes, now_ms: int) -> Shown:
    """Return the list of impressions of a body. Raises ``Rejected``."""
    read = _read_impressions(body)
    record = (id_bytes(read.value.user_id), _encode(read.value))
    decode_impressions(_recorded("impressions", record, now_ms), now_ms)
    return Shown(record, read.unread)


def _recorded(topic: str, record: Keyed, now_ms: int) -> Recorded:
    """Return a record as a worker would read it, produced now."""
    return Recorded(topic, 0, 0, now_ms, *record)
