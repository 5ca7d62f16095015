"""States as the changelog holds them: whether a record is one, and up to which action of the source it goes."""

import logging

from rankstream.events.action_event import Record
from rankstream.features.actions import ACTION_BYTES
from rankstream.features.counters import COUNTER_BYTES
from rankstream.features.schema import COUNTED_TYPES
from rankstream.features.sessions import TAIL
from rankstream.features.user_state import (
    FORMAT,
    FORMATS,
    HEAD,
    MARK,
    NEVER,
    WITH_MARK,
    CorruptStateError,
    unpack_state,
)

LATER_FORMATS = 0x20  # first bytes below it are formats of states, of this version or a later one; above it is text

log = logging.getLogger(__name__)


class RestoreError(RuntimeError):
    """A partition's users could not be restored; the message is one sentence and says what to do."""


def where_of(record: Record) -> str:
    """Name a record of the changelog."""
    return f"{record.topic} {record.partition}, offset {record.offset}, key {(record.key or b'')[:64]!r}"


def offset_in(record: Record, value: bytes) -> int | None:
    """Return the offset in a record's state; None, with a word in the log, where the record is no state at all.

    What something else wrote into the topic must not end this worker and each of its heirs. Raises ``RestoreError``
    for a state of a later version: without it users would lose what they did.
    """
    offset = offset_of_sound(value)
    if offset is not None:
        return offset
    try:
        return unpack_state(value).offset  # all of it: what can't be read would end whoever has the user act next
    except CorruptStateError as exc:
        where = where_of(record)
        if value[:1] and max(FORMATS) < value[0] < LATER_FORMATS:
            raise RestoreError(f"{where}: {exc}; a later version of rankstream wrote it: serve with that one") from exc
        log.error("%s: %s; something else wrote it, and it is skipped", where, exc)
        return None


def offset_of_sound(packed: bytes) -> int | None:
    """Return the offset in a state whose parts fill its bytes; None for any other: ``unpack_state`` says what that is.

    In a third of its time, as nothing is made of the parts.
    """
    if len(packed) < HEAD.size or packed[0] not in (FORMAT, WITH_MARK):
        return None
    form, count, offset, _ = HEAD.unpack_from(packed)
    end: int = HEAD.size + count * ACTION_BYTES
    if form == WITH_MARK:
        if len(packed) < end + MARK.size or MARK.unpack_from(packed, HEAD.size)[0] <= NEVER:
            return None
        end += MARK.size
    if end < len(packed):
        counters = packed[end]
        end += 1 + COUNTER_BYTES * counters
        if counters > COUNTED_TYPES or len(packed) < end + TAIL.size:
            return None
        items, state_bytes, _, _ = TAIL.unpack_from(packed, end)
        end += TAIL.size + 8 * items + state_bytes
        if not items:
            return None
    return int(offset) if end == len(packed) else None


def offset_of(packed: bytes) -> int:
    """Return the source offset in a packed ``UserState`` without unpacking it."""
    if len(packed) < HEAD.size or packed[0] not in FORMATS:
        raise CorruptStateError(f"a user record of {len(packed)} bytes is of none of the formats {FORMATS}")
    offset: int = HEAD.unpack_from(packed)[2]
    return offset
