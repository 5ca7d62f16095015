"""Slots of the arena <-> the records of users, byte for byte as ``UserState.pack`` writes them."""

from numba import int64, uint8, uint32, uint64

from rankstream.features.actions import ACTION_BYTES
from rankstream.features.counters import COUNTER_BYTES
from rankstream.features.schema import COUNTED_TYPES
from rankstream.features.sessions import MAX_SESSION_ITEMS
from rankstream.features.user_state import FORMAT, NEVER, NO_OFFSET, WITH_MARK, WITHOUT_COUNTERS
from rankstream.streams.compiled.integers import big_endian, little_endian, put_big_endian, put_little_endian
from rankstream.streams.compiled.jit import (
    BYTE_ROWS,
    BYTES,
    COUNTERS,
    INT,
    INT_ROWS,
    INTS,
    READ_ONLY,
    RINGS,
    SLOTS,
    WORD_ROWS,
    inlined,
    kernel,
)
from rankstream.streams.compiled.layout import (
    COUNT,
    FORGOTTEN_MS,
    HEAD_BYTES,
    ITEMS,
    LAST_MS,
    MARK_BYTES,
    NEWEST,
    OFFSET,
    STATE_BYTES,
    TAG,
    TAIL_BYTES,
    TOTAL,
)

REFUSED = -1  # instead of the bytes of a recurrent state: the record is not for the arena


@inlined
def recurrent_bytes(data, at, end, limit):
    """Return the bytes of a record's recurrent state; ``REFUSED`` for what a slot can't hold, or is no record."""
    if end - at < HEAD_BYTES + MARK_BYTES * (data[at] == WITH_MARK):
        return REFUSED
    if data[at] != FORMAT and data[at] != WITHOUT_COUNTERS and data[at] != WITH_MARK:
        return REFUSED
    rest = at + HEAD_BYTES + ACTION_BYTES * int64(data[at + 1])
    if data[at] == WITH_MARK:
        if int64(little_endian(data, at + HEAD_BYTES, MARK_BYTES)) <= NEVER:
            return REFUSED
        rest += MARK_BYTES
    if data[at + 1] > limit or rest > end:
        return REFUSED
    if rest == end:
        return 0
    if data[at] != WITHOUT_COUNTERS:
        if data[rest] > COUNTED_TYPES:
            return REFUSED
        rest += 1 + COUNTER_BYTES * int64(data[rest])
    if rest + TAIL_BYTES > end or data[rest] < 1 or data[rest] > MAX_SESSION_ITEMS:
        return REFUSED
    size = int64(little_endian(data, rest + 1, 2))
    return size if rest + TAIL_BYTES + 8 * int64(data[rest]) + size == end else REFUSED


@kernel(READ_ONLY, INT_ROWS, INT, INTS)
def look_at_records(data, spans, limit, state_bytes):
    """Set of each record ``(n,)`` how large its recurrent state is, or ``REFUSED``; no record at all has none."""
    for k in range(len(spans)):
        state_bytes[k] = 0 if spans[k, 0] < 0 else recurrent_bytes(data, spans[k, 0], spans[k, 1], limit)


@inlined
def _clear(head, counters):
    """Make a slot that of an unknown user; its key and what was noted of it in this chunk stay."""
    head[NEWEST] = head[COUNT] = head[TOTAL] = head[ITEMS] = head[LAST_MS] = head[TAG] = head[STATE_BYTES] = 0
    head[OFFSET], head[FORGOTTEN_MS] = NO_OFFSET, NEVER
    for k in range(COUNTED_TYPES):
        counters[k] = uint32(0)


@inlined
def _unpack_one(data, at, end, head, ring, items, counters, states):
    head[COUNT] = int64(data[at + 1])
    head[OFFSET], head[TOTAL] = int64(little_endian(data, at + 2, 8)), int64(little_endian(data, at + 10, 4))
    has_counters, has_mark = data[at] != WITHOUT_COUNTERS, data[at] == WITH_MARK
    at += HEAD_BYTES
    if has_mark:
        head[FORGOTTEN_MS] = int64(little_endian(data, at, MARK_BYTES))
        at += MARK_BYTES
    for k in range(head[COUNT]):
        ring[k, 0], ring[k, 1] = big_endian(data, at, 8), big_endian(data, at + 8, 8)
        at += ACTION_BYTES
    if at == end:
        return
    if has_counters:
        for k in range(data[at]):
            counters[k] = uint32(little_endian(data, at + 1 + COUNTER_BYTES * k, COUNTER_BYTES))
        at += 1 + COUNTER_BYTES * int64(data[at])
    head[ITEMS], head[STATE_BYTES] = int64(data[at]), int64(little_endian(data, at + 1, 2))
    head[TAG], head[LAST_MS] = int64(little_endian(data, at + 3, 8)), int64(little_endian(data, at + 11, 8))
    at += TAIL_BYTES
    for k in range(head[ITEMS]):
        items[k] = big_endian(data, at, 8)
        at += 8
    for k in range(head[STATE_BYTES]):
        states[k] = data[at + k]


@kernel(READ_ONLY, INT_ROWS, SLOTS, INT_ROWS, RINGS, WORD_ROWS, COUNTERS, BYTE_ROWS)
def unpack_records(data, spans, slots, heads, rings, items, counters, states):
    """Fill slots ``(n,)`` from their records, which were looked at before; a span from -1 on is an unknown user's."""
    for k in range(len(slots)):
        slot = slots[k]
        _clear(heads[slot], counters[slot])
        if spans[k, 0] >= 0:
            parts = heads[slot], rings[slot], items[slot], counters[slot], states[slot]
            _unpack_one(data, spans[k, 0], spans[k, 1], *parts)


@inlined
def _put_tail(out, at, head, items, counters, states):
    """Write counters and session tail; return where they end."""
    count = COUNTED_TYPES
    while count > 0 and counters[count - 1] == uint32(0):
        count -= 1
    out[at] = count
    for k in range(count):
        put_little_endian(out, at + 1 + COUNTER_BYTES * k, uint64(counters[k]), COUNTER_BYTES)
    at += 1 + COUNTER_BYTES * count
    out[at] = uint8(head[ITEMS])
    put_little_endian(out, at + 1, uint64(head[STATE_BYTES]), 2)
    put_little_endian(out, at + 3, uint64(head[TAG]), 8)
    put_little_endian(out, at + 11, uint64(head[LAST_MS]), 8)
    at += TAIL_BYTES
    for k in range(head[ITEMS]):
        put_big_endian(out, at, items[k], 8)
        at += 8
    for k in range(head[STATE_BYTES]):
        out[at + k] = states[k]
    return at + head[STATE_BYTES]


@inlined
def _put_actions(out, at, ring, begin, count):
    """Write the actions of some rows; return where they end."""
    rows = ring[begin : begin + count]
    for k in range(len(rows)):
        put_big_endian(out, at, rows[k, 0], 8)
        put_big_endian(out, at + 8, rows[k, 1], 8)
        at += ACTION_BYTES
    return at


@kernel(SLOTS, INT_ROWS, RINGS, WORD_ROWS, COUNTERS, BYTE_ROWS, BYTES, INTS)
def pack_slots(slots, heads, rings, items, counters, states, out, ends):
    """Write the records of slots ``(n,)`` one after the other, and where each ends; return where all do."""
    at = 0
    for k in range(len(slots)):
        slot = slots[k]
        head, ring = heads[slot], rings[slot]
        has_mark = head[FORGOTTEN_MS] != NEVER
        out[at], out[at + 1] = WITH_MARK if has_mark else FORMAT, uint8(head[COUNT])
        put_little_endian(out, at + 2, uint64(head[OFFSET]), 8)
        put_little_endian(out, at + 10, uint64(head[TOTAL]), 4)
        at += HEAD_BYTES
        if has_mark:
            put_little_endian(out, at, uint64(head[FORGOTTEN_MS]), MARK_BYTES)
            at += MARK_BYTES
        first = min(head[COUNT], len(ring) - head[NEWEST])  # up to the ring's end; the others stand at its begin
        at = _put_actions(out, at, ring, head[NEWEST], first)
        at = _put_actions(out, at, ring, 0, head[COUNT] - first)
        if head[ITEMS] > 0:
            at = _put_tail(out, at, head, items[slot], counters[slot], states[slot])
        ends[k] = at
    return at
