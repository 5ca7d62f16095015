"""Actions put into the rings of their users: the law of ``features/history.py``, and what leaves a history.

A ring holds a history newest first, from row ``NEWEST`` on and round its end, so that a newer action moves nothing.
What falls out goes to the session tail (``SessionTail.absorb``) and the counters (``counters.count_departed``) at once.
An erasure is met in its place among the actions (``UserState.erased``).
"""

import numpy as np
from numba import int64, uint32, uint64

from rankstream.features.actions import ERASURE
from rankstream.features.schema import COUNTED_TYPES
from rankstream.features.sessions import MAX_SESSION_ITEMS, SESSION_GAP_MS
from rankstream.features.user_state import MAX_TOTAL, NEVER
from rankstream.streams.compiled.jit import (
    BYTES,
    COUNTERS,
    INT,
    INT_ROWS,
    INTS,
    RINGS,
    SLOTS,
    WORD_ROWS,
    WORDS,
    inlined,
    kernel,
)
from rankstream.streams.compiled.layout import (
    CHANGED,
    COUNT,
    FORGOTTEN_MS,
    ITEMS,
    LAST_MS,
    NEWEST,
    OFFSET,
    OK,
    STATE_BYTES,
    TAG,
    TOTAL,
    TURN,
)

ACTIONS, LATE, DUPLICATES, TOO_OLD, REDELIVERED, ERASURES, FORGOTTEN, EXPIRED = range(8)  # of ``counts``
NUM_COUNTS = 8
NOT_YET, IN_THIS_CHUNK, LISTED = 0, 1, 2  # of ``CHANGED``
TYPE_MASK = 63
TOUCHED_AT_ONCE = 64  # actions


@inlined
def _is_newer(high, low, other_high, other_low):
    """Return whether the identity of an action is greater: all but its last two bytes."""
    return high > other_high or (high == other_high and (low >> uint64(16)) > (other_low >> uint64(16)))


@inlined
def _row_of(rank, newest, limit):
    """Return where in the ring the action of a rank is, from 0 for the newest."""
    row = newest + rank
    return row if row < limit else row - limit


@inlined
def _rank_of(high, low, ring, newest, count):
    """Return how many actions of the ring are newer."""
    rank = 0
    while rank < count:
        row = _row_of(rank, newest, len(ring))
        if not _is_newer(ring[row, 0], ring[row, 1], high, low):
            break
        rank += 1
    return rank


@inlined
def _count_departed(counters, kind):
    """Count one action of a type; as one large number, so that a counter that is full carries into the next."""
    column = kind - 1
    while 0 <= column < COUNTED_TYPES:
        counters[column] += uint32(1)
        if counters[column] != uint32(0):
            return
        column += 1


@inlined
def _depart(high, low, slot, head, items, counters, ended, num_ended):
    """Put what fell out of a ring into tail and counters; return how many sessions have ended so far."""
    at_ms, count = int64(high >> uint64(22)), head[ITEMS]
    if count > 0 and at_ms - head[LAST_MS] > SESSION_GAP_MS:
        ended[num_ended, 0], ended[num_ended, 1] = slot, count
        for k in range(count):
            ended[num_ended, 2 + k] = int64(items[k])
        num_ended += 1
        count = 0
    if count == MAX_SESSION_ITEMS:
        for k in range(count - 1):
            items[k] = items[k + 1]
        count -= 1
    items[count] = (high << uint64(48)) | (low >> uint64(16))
    head[ITEMS], head[LAST_MS] = count + 1, at_ms
    _count_departed(counters, int64((high >> uint64(16)) & uint64(TYPE_MASK)))
    return num_ended


@inlined
def _forget_departed(head, counters):
    """Forget what left the history."""
    head[ITEMS] = head[LAST_MS] = head[TAG] = head[STATE_BYTES] = 0
    for k in range(COUNTED_TYPES):
        counters[k] = uint32(0)


@inlined
def _erase(at_ms, slot, head, ring, counters, ended, num_ended):
    """Forget what a user did up to a time; sessions that ended in this chunk before it have no items any more."""
    if at_ms <= head[FORGOTTEN_MS]:
        return
    head[FORGOTTEN_MS] = at_ms
    kept = 0
    while kept < head[COUNT] and int64(ring[_row_of(kept, head[NEWEST], len(ring)), 0] >> uint64(22)) > at_ms:
        kept += 1
    head[COUNT] = head[TOTAL] = kept
    _forget_departed(head, counters)
    for k in range(num_ended):
        if ended[k, 0] == slot:
            ended[k, 1] = 0


@inlined
def _insert(high, low, slot, head, ring, items, counters, counts, ended, num_ended):
    """Apply one action to a user; return how many sessions have ended so far."""
    limit, newest, count = len(ring), head[NEWEST], head[COUNT]
    rank = _rank_of(high, low, ring, newest, count)
    row = _row_of(rank, newest, limit)
    if rank < count and not _is_newer(high, low, ring[row, 0], ring[row, 1]):
        ring[row, 1] = max(ring[row, 1], low)
        counts[DUPLICATES] += 1
        return num_ended
    if rank == limit:
        counts[TOO_OLD] += 1
        return num_ended
    newest = newest - 1 if newest > 0 else limit - 1
    if count == limit:
        num_ended = _depart(ring[newest, 0], ring[newest, 1], slot, head, items, counters, ended, num_ended)
    else:
        head[COUNT] = count + 1
    to = newest
    for _ in range(rank):  # the newer ones move one row on
        source = to + 1 if to + 1 < limit else 0
        ring[to, 0], ring[to, 1] = ring[source, 0], ring[source, 1]
        to = source
    ring[to, 0], ring[to, 1] = high, low
    head[NEWEST], head[TOTAL] = newest, min(head[TOTAL] + 1, MAX_TOTAL)
    counts[ACTIONS] += 1
    counts[LATE] += rank > 0
    return num_ended


@inlined
def _apply_one(high, low, slot, head, ring, items, counters, counts, ended, num_ended, forget_after_ms):
    """Apply one action or erasure to a user; return how many sessions have ended so far."""
    at_ms = int64(high >> uint64(22))
    if int64((high >> uint64(16)) & uint64(TYPE_MASK)) == ERASURE:
        counts[ERASURES] += 1
        _erase(at_ms, slot, head, ring, counters, ended, num_ended)
        return num_ended
    if head[FORGOTTEN_MS] != NEVER and at_ms <= head[FORGOTTEN_MS]:
        counts[FORGOTTEN] += 1
        return num_ended
    if forget_after_ms != NEVER and head[COUNT] > 0:
        newest_ms = int64(ring[head[NEWEST], 0] >> uint64(22))
        if at_ms - newest_ms > forget_after_ms:
            counts[EXPIRED] += 1
            _erase(newest_ms, slot, head, ring, counters, ended, num_ended)
    return _insert(high, low, slot, head, ring, items, counters, counts, ended, num_ended)


@inlined
def _touch(first, last, slots, heads, rings, rows):
    """Read what applying some actions will read of their users: memory answers many loads in the time of one."""
    seen, limit = uint64(0), rings.shape[1]
    for k in range(first, last):
        slot = slots[k]
        if slot >= 0:
            rows[k - first] = heads[slot, NEWEST]
            seen ^= uint64(heads[slot, FORGOTTEN_MS])
    for k in range(first, last):
        slot, row = slots[k], rows[k - first]
        if slot >= 0:  # others are nowhere, and what is in a slot that nobody has is not said
            seen ^= rings[slot, row, 0] ^ rings[slot, row - 1 if row > 0 else limit - 1, 0]
    rows[0] = int64(seen)  # so that nothing of it is left out as useless


@kernel(
    BYTES, SLOTS, INTS, WORDS, WORDS, INT, INT, INT_ROWS, RINGS, WORD_ROWS, COUNTERS, SLOTS, INT, SLOTS, INTS, INT_ROWS
)
def apply_actions(
    status,
    slots,
    offsets,
    high,
    low,
    turn,
    forget_after_ms,
    heads,
    rings,
    items,
    counters,
    changed,
    num_changed,
    touched,
    counts,
    ended,
):
    """Apply actions ``(n,)`` in ascending order of offset; return how many users are changed, and sessions ended.

    ``turn`` numbers the chunk; what is known of a user is forgotten where an action comes ``forget_after_ms`` after it,
    or later (``NEVER``: it is not). Users are listed as changed in the order in which they came in the chunk.
    """
    num_touched, num_ended = 0, int64(0)  # a literal's type is its own: what it is given to would be compiled twice
    rows = np.empty(TOUCHED_AT_ONCE, np.int64)
    for k in range(len(slots)):
        if k % TOUCHED_AT_ONCE == 0:
            _touch(k, min(k + TOUCHED_AT_ONCE, len(slots)), slots, heads, rings, rows)
        slot = slots[k]
        if status[k] != OK or slot < 0:
            continue
        head = heads[slot]
        if head[TURN] != turn:
            head[TURN] = turn
            touched[num_touched] = slot
            num_touched += 1
        if offsets[k] <= head[OFFSET]:
            counts[REDELIVERED] += 1
            continue
        head[OFFSET] = offsets[k]
        if head[CHANGED] == NOT_YET:
            head[CHANGED] = IN_THIS_CHUNK
        num_ended = _apply_one(
            high[k],
            low[k],
            slot,
            head,
            rings[slot],
            items[slot],
            counters[slot],
            counts,
            ended,
            num_ended,
            forget_after_ms,
        )
    for k in range(num_touched):
        slot = touched[k]
        if heads[slot, CHANGED] == IN_THIS_CHUNK:
            heads[slot, CHANGED] = LISTED
            changed[num_changed] = slot
            num_changed += 1
    return num_changed, num_ended
