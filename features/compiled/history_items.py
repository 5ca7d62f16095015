"""The user's different items, newest first, and what was done to each: ``OWN_NAMES`` of ``matches/columns.py``."""

import numpy as np
from numba import int64, uint64

from rankstream.features.compiled.jit import (
    DOUBLES,
    FLOAT_ROWS,
    INT,
    INTS,
    KEYS,
    LONGS,
    SLOTS,
    inlined,
    kernel,
)
from rankstream.features.sessions import SESSION_GAP_MS

SPREAD = np.uint64(0x9E3779B97F4A7C15)
NOT_MET = -1
IN_SESSION, IN_HISTORY, STEPS, BY_TYPE = range(4)  # columns of what is counted; the types from the last one on


@inlined
def _item_of(key, keys, firsts, slots):
    """Return which of the different items a key is, ``NOT_MET`` for another one, and its slot."""
    mask = uint64(len(slots) - 1)
    slot = int64((key * SPREAD) >> uint64(32)) & int64(mask)
    while slots[slot] != 0:
        if keys[firsts[slots[slot] - 1]] == key:
            return slots[slot] - 1, slot
        slot = (slot + 1) & int64(mask)
    return NOT_MET, slot


@inlined
def _length_of_session(times_ms):
    for at in range(len(times_ms) - 1):
        if times_ms[at] - times_ms[at + 1] > SESSION_GAP_MS:
            return at + 1
    return len(times_ms)


@kernel(KEYS, LONGS, LONGS, INT, SLOTS, INTS, FLOAT_ROWS)
def count_items(keys, types, times_ms, num_types, slots, firsts, counted):
    """Find the different items of actions ``(T,)``, newest first, and count what was done to each.

    ``slots``, zeros, becomes a hash table of them, ``firsts`` ``(T,)`` where each stands first; ``counted`` is
    ``(T, 3 + num_types)``, zeros. Returns how many there are, of these in the session, and actions in the session.
    """
    count, of_session, in_session = 0, 0, _length_of_session(times_ms)
    for at in range(len(keys)):
        item, slot = _item_of(keys[at], keys, firsts, slots)
        if item == NOT_MET:
            item = count
            firsts[count] = at
            count += 1
            slots[slot] = count
        if at < in_session:
            counted[item, IN_SESSION] += np.float32(1.0)
            of_session = count
        counted[item, IN_HISTORY] += np.float32(1.0)
        if at + 1 < len(keys) and keys[at + 1] == keys[0]:  # the action before was on the newest item
            counted[item, STEPS] += np.float32(1.0)
        if types[at] <= num_types:
            counted[item, BY_TYPE + types[at] - 1] += np.float32(1.0)
    return count, of_session, in_session


@kernel(KEYS, KEYS, INTS, SLOTS, INT, FLOAT_ROWS, DOUBLES, INT, INT, FLOAT_ROWS)
def put_own(candidates, keys, firsts, slots, in_session, logs, log_hours, at, at_types, features):
    """Set the columns of candidates ``(N,)`` from ``at`` on, and those by type from ``at_types`` on.

    ``logs`` are the log1p of what was counted, ``log_hours`` those of the hours since the newest action on each item.
    """
    for n in range(len(candidates)):
        item, _ = _item_of(candidates[n], keys, firsts, slots)
        if item == NOT_MET:
            continue
        place = 1.0 / (item + 1)
        features[n, at] = logs[item, IN_SESSION]
        features[n, at + 1] = place if firsts[item] < in_session else 0.0
        features[n, at + 2] = logs[item, IN_HISTORY]
        features[n, at + 3] = place
        features[n, at + 4] = 1.0 / (1.0 + log_hours[item])
        features[n, at + 5] = np.float32(1.0) if item == 0 else np.float32(0.0)
        features[n, at + 6] = logs[item, STEPS]
        for kind in range(BY_TYPE, logs.shape[1]):
            features[n, at_types + kind - BY_TYPE] = logs[item, kind]
