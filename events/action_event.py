"""JSON events of user-actions, an action or the erasure of a user: fields, limits, bytes, and why one is rejected.

::

    {"user_id": "u1", "item_id": "a7", "action": "save", "timestamp_ms": 1700000000000}
    {"user_id": "u1", "action": "forget", "timestamp_ms": 1700000900000}     all that u1 did up to then is forgotten
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Literal, Protocol, TypeVar
from zlib import crc32

import msgspec
from msgspec import Meta, Struct

from rankstream.features.actions import MAX_TIME_MS, Vocabulary, pack_action, pack_erasure, value_code
from rankstream.features.decoding import MAX_DEPTH, TOO_DEEP, UNREADABLE, is_too_deep
from rankstream.features.ids import MAX_ID_BYTES, Id, id_bytes, id_key

MAX_ACTION_BYTES = 64 * 1024
MIN_TIME_MS = 10**11  # March 1973; anything below is a time in seconds
MAX_AHEAD_MS = 24 * 3_600_000  # an event may be this much later than its record: clocks differ

T = TypeVar("T")

RECORDS_TIME = "the record's own time"
TOO_LARGE = "too-large"
NOT_JSON = "not-json"
DAMAGED_BATCH = "damaged-batch"
NO_JSON = b"\0"  # begins what serializers of a schema registry write
FRAMED = "; it begins as values of a schema registry do, for which there are value_format and schema_registry"
WHOLE_MS = "; write whole ms since 1970, as 1700000000000"
FORGET: Final = "forget"  # stands for the name of an action, without an item
NO_EPOCH = -1  # of a leader: not known
TIMESTAMP = "timestamp"  # the reason of what has a time that can't be meant

WireId = Annotated[str, Meta(min_length=1, max_length=MAX_ID_BYTES)] | int
# By the schema a time in seconds is invalid; decoders let it through to `check_time`, whose sentence says more. What
# is generated wins over what is extra, so the bound has another keyword than `ge`.
TimeMs = Annotated[
    int,
    Meta(
        ge=0,
        le=MAX_TIME_MS,
        description="milliseconds since 1970, UTC",
        extra_json_schema={"exclusiveMinimum": MIN_TIME_MS - 1},
    ),
]
Name = Annotated[str, Meta(min_length=1, max_length=64)]


class Record(Protocol):
    """One Kafka record; aiokafka's and kafka-python's ``ConsumerRecord`` are such, and ``Recorded``."""

    @property
    def topic(self) -> str:
        """Topic that it came from."""
        ...

    @property
    def partition(self) -> int:
        """Partition that it came from."""
        ...

    @property
    def offset(self) -> int:
        """Its offset there."""
        ...

    @property
    def timestamp(self) -> int:
        """When it was produced, ms, UTC; -1 if its producer gave no time."""
        ...

    @property
    def key(self) -> bytes | None:
        """Its key."""
        ...

    @property
    def value(self) -> bytes | None:
        """Its value."""
        ...


@dataclass(frozen=True, slots=True)
class Recorded:
    """One record as a consumer would hand it on; see ``Record``."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Unframed(Recorded):
    """A record whose value was made into JSON; what its producer sent stands beside it."""

    framed: bytes
    headers: Sequence[tuple[str, bytes | None]] = ()
    leader_epoch: int = NO_EPOCH


def sent_value(record: Record) -> bytes | None:
    """Return a record's value as its producer sent it."""
    return record.framed if isinstance(record, Unframed) else record.value


def checksum_of(record: Record) -> int:
    """Return the CRC-32 of a record's key, value and time, as its producer sent them."""
    time = record.timestamp.to_bytes(8, "little", signed=True)
    return crc32(time, crc32(sent_value(record) or b"", crc32(record.key or b"")))


def epoch_of(record: Record) -> int:
    """Return the epoch of the leader that wrote a record; ``NO_EPOCH`` where it does not say."""
    return int(getattr(record, "leader_epoch", NO_EPOCH))


class Unread(bytes):
    """What stands for the value of a record that was not read: empty, with the reason, and why, for people."""

    why = ""
    reason = ""


def unread(why: str, reason: str = TOO_LARGE) -> Unread:
    """Return what stands for a value that was not read."""
    value = Unread()
    value.why, value.reason = why, reason
    return value


class Rejected(Exception):
    """A record that can't be understood: ``reason`` is a short constant, the message what came, what was wanted.

    ``kind`` is what of the reason, where a reader tells several apart; a constant, too.
    """

    def __init__(self, reason: str, message: str, kind: str = "") -> None:
        super().__init__(message)
        self.reason, self.kind = reason, kind


class ActionEvent(Struct, gc=False, frozen=True, omit_defaults=True):
    """One thing a user did to one item. Topic user-actions, keyed by the text of user_id in UTF-8."""

    user_id: WireId
    item_id: WireId
    action: Annotated[Name, Meta(description="a name of the bundle's vocabulary")]
    timestamp_ms: TimeMs
    surface: Annotated[Name, Meta(description="where it happened; unknown names count as none")] | None = None
    value: Annotated[float, Meta(ge=0, description="seconds watched, a price, ...")] | None = None
    list_id: Annotated[WireId, Meta(description="of the list that it answers: a feed's request_id")] | None = None
    collection_id: (
        Annotated[WireId, Meta(description="of the board, playlist or basket that it put the item into")] | None
    ) = None


class ErasureEvent(Struct, gc=False, frozen=True, omit_defaults=True):
    """All that a user did up to a time is to be forgotten. Topic user-actions, keyed like the user's actions.

    It has its own time, as an action has, and not that of its record: so it means the same wherever it is sent again.
    """

    user_id: WireId
    action: Literal["forget"]
    timestamp_ms: Annotated[TimeMs, Meta(description="what was done up to then is forgotten, ms, UTC")]
    item_id: Annotated[None, Meta(description="an erasure has none")] = None


_decode_action: Callable[[bytes], ActionEvent] = msgspec.json.Decoder(ActionEvent).decode
decode_erasure: Callable[[bytes], ErasureEvent] = msgspec.json.Decoder(ErasureEvent).decode


class ActionDecoder:
    """Record -> packed action or erasure (``features.actions``), by the codes of one vocabulary."""

    def __init__(self, vocabulary: Vocabulary, clock: Callable[[], int] | None = None) -> None:
        """``clock`` (ms, UTC) stands for the time of records that have none; without it they are taken as they come."""
        self.ahead = 0  # actions accepted whose time is after their record's: clocks differ
        self._clock = clock
        self._actions = vocabulary.action_codes
        self._surfaces = vocabulary.surface_codes

    def __call__(self, record: Record) -> bytes:
        """Return the 16 bytes of the record's action, or erasure. Raises ``Rejected``."""
        value = record.value
        if value is None or len(value) > MAX_ACTION_BYTES:
            raise bad_size(value, MAX_ACTION_BYTES)
        try:
            event = _decode_action(value)
        except UNREADABLE as exc:
            return self._erasure(record, value, exc)
        if len(value) > 2 * MAX_DEPTH:  # nearly never: no call for each action of a stream
            check_depth(value)
        user_id, item_id, at_ms = event.user_id, event.item_id, event.timestamp_ms
        if record.key != (user_id.encode() if type(user_id) is str else id_bytes(user_id)):
            raise wrong_key(record, user_id)
        code = self._actions.get(event.action)
        if code is None:
            raise self._unknown_action(event.action)
        if not MIN_TIME_MS <= at_ms <= record.timestamp:
            self._check_time(at_ms, produced_ms(record, None if self._clock is None else self._clock()))
        surface = self._surfaces.get(event.surface, 0) if event.surface else 0
        amount = 0 if event.value is None else value_code(event.value)
        return pack_action(at_ms, code, id_key(item_id), surface, amount)

    def _erasure(self, record: Record, value: bytes, why: Exception) -> bytes:
        """Return the 16 bytes of an erasure. Raises ``Rejected`` for what is none, by why it is no action."""
        try:
            event = decode_erasure(value)
        except UNREADABLE:
            raise not_valid(value, why, "an action") from None
        check_depth(value)
        if record.key != id_bytes(event.user_id):
            raise wrong_key(record, event.user_id)
        self._check_time(event.timestamp_ms, produced_ms(record, None if self._clock is None else self._clock()))
        return pack_erasure(event.timestamp_ms)

    def _check_time(self, at_ms: int, record_ms: int | None) -> None:
        check_time("timestamp_ms", at_ms, record_ms)
        self.ahead += record_ms is not None and at_ms > record_ms

    def _unknown_action(self, name: str) -> Rejected:
        known = ", ".join(self._actions)
        return Rejected("unknown-action", f"action {name!r} is not in the bundle's vocabulary ({known})")


def not_valid(value: bytes, exc: Exception, what: str) -> Rejected:
    """Return the rejection of a value that is not JSON, not of the schema, or was not read at all."""
    if isinstance(value, Unread):
        return Rejected(value.reason, value.why)
    if isinstance(exc, msgspec.ValidationError):
        return Rejected("schema", f"not {what}: {exc}{WHOLE_MS if str(exc).endswith('_ms`') else ''}")
    if not value.strip():
        return Rejected(NOT_JSON, "not JSON: it is empty; send a JSON object")
    if isinstance(exc, RecursionError):
        return Rejected(NOT_JSON, TOO_DEEP)
    return Rejected(NOT_JSON, f"not JSON: {exc}{FRAMED if value[:1] == NO_JSON else ''}")


def check_depth(value: bytes) -> None:
    """Raise ``Rejected`` for JSON whose brackets are nested deeper than all read alike."""
    if is_too_deep(value):
        raise Rejected(NOT_JSON, TOO_DEEP)


def bad_size(value: bytes | None, limit: int) -> Rejected:
    """Return the rejection of an empty value or one over ``limit`` bytes."""
    if value is None:
        return Rejected("empty", "the record has no value; send a JSON object")
    return Rejected(TOO_LARGE, f"{len(value):,} bytes; at most {limit:,} are read")


def decoded(value: bytes | None, decode: Callable[[bytes], T], limit: int, what: str) -> T:
    """Return what a record's value of at most ``limit`` bytes says. Raises ``Rejected``.

    ``ActionDecoder`` does the same in line, as it is called for each action of a stream.
    """
    if value is None or len(value) > limit:
        raise bad_size(value, limit)
    try:
        found = decode(value)
    except UNREADABLE as exc:
        raise not_valid(value, exc, what) from None
    check_depth(value)
    return found


def wrong_key(record: Record, user_id: Id) -> Rejected:
    """Return the rejection of a record whose key is not its user."""
    key = None if record.key is None else record.key[:64]
    return Rejected(
        "key-mismatch",
        f"the record's key is {key!r}, but must be the user_id's text {str(user_id)[:64]!r} in UTF-8: "
        "it decides the partition, and with it the worker that knows the user",
    )


def produced_ms(record: Record, now_ms: int | None) -> int | None:
    """Return when a record was produced, ms: ``now_ms`` where it does not say."""
    return record.timestamp if record.timestamp >= 0 else now_ms


def check_time(name: str, at_ms: int, record_ms: int | None, whose: str = RECORDS_TIME) -> None:
    """Raise ``Rejected`` for a time that can't be meant: in seconds, or far after the record (None: not known when)."""
    if at_ms < MIN_TIME_MS:
        raise Rejected(TIMESTAMP, f"{name} {at_ms} is before 1973: seconds? multiply them by 1000")
    if record_ms is not None and at_ms > record_ms + MAX_AHEAD_MS:
        ahead = (at_ms - record_ms) / 3_600_000
        raise Rejected(TIMESTAMP, f"{name} {at_ms} is {ahead:,.1f} hours after {whose} {record_ms}")
