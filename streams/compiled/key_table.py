"""Whose an action is: keys of users -> slots of the arena, by open addressing over whole keys of any length.

::

    row of the table:   size 32 bits | slot + 1    hash    key, up to 16 bytes, or where a longer one lies

A key of up to 16 bytes is in its row, so that finding its user takes one look into memory; longer ones lie in bytes of
their own. A row of zeros is free.
"""

import numpy as np
from numba import int32, int64, uint64

from rankstream.streams.compiled.integers import folded_product, little_endian
from rankstream.streams.compiled.jit import BYTES, INT, INT_ROWS, READ_ONLY, SLOTS, WORD_ROWS, inlined, kernel
from rankstream.streams.compiled.layout import OK

SEED, WHOLE, REST = np.uint64(0x9E3779B185EBCA87), np.uint64(0xC2B2AE3D27D4EB4F), np.uint64(0x165667B19E3779F9)
UNKNOWN = -1  # instead of a slot
WORDS_A_ROW = 4
ABOUT, HASH, FIRST, SECOND = range(WORDS_A_ROW)  # the words of a row
SHORT = 16  # bytes of a key that a row holds


@inlined
def _hash(data, at, size):
    h = (uint64(size) + uint64(1)) * SEED
    done = 0
    while size - done >= 8:
        h = folded_product(h ^ little_endian(data, at + done, 8), WHOLE) + SEED
        done += 8
    if done < size:
        h = folded_product(h ^ little_endian(data, at + done, size - done), REST) + SEED
    return h ^ (h >> uint64(32))


@inlined
def _first(data, at, size):
    return little_endian(data, at, min(size, 8))


@inlined
def _second(data, at, size):
    return little_endian(data, at + 8, min(size - 8, 8)) if size > 8 else uint64(0)


@inlined
def _is_long_key(data, at, size, row, long_keys):
    begin = int64(row[FIRST])
    for k in range(size):
        if long_keys[begin + k] != data[at + k]:
            return False
    return True


@inlined
def _slot_of(data, at, size, table, long_keys):
    mask, h = uint64(len(table) - 1), _hash(data, at, size)
    place = h & mask
    first, second = _first(data, at, size), _second(data, at, size)
    while table[place, ABOUT] != uint64(0):
        row = table[place]
        if row[HASH] == h and int64(row[ABOUT] >> uint64(32)) == size:
            if size <= SHORT:
                same = row[FIRST] == first and row[SECOND] == second
            else:
                same = _is_long_key(data, at, size, row, long_keys)
            if same:
                return int64(row[ABOUT] & uint64(0xFFFFFFFF)) - 1
        place = (place + uint64(1)) & mask
    return UNKNOWN


@kernel(READ_ONLY, INT_ROWS, BYTES, WORD_ROWS, BYTES, SLOTS)
def find_slots(data, spans, status, table, long_keys, slots):
    """Set the slot of each record ``(n,)`` that is to be applied and has none yet; return how many are left."""
    unknown = 0
    for k in range(len(spans)):
        if slots[k] == UNKNOWN and status[k] == OK:
            at = spans[k, 0]
            slots[k] = int32(_slot_of(data, at, spans[k, 1] - at, table, long_keys))
            unknown += slots[k] == UNKNOWN
    return unknown


@inlined
def _free_row(table, h):
    mask = uint64(len(table) - 1)
    place = h & mask
    while table[place, ABOUT] != uint64(0):
        place = (place + uint64(1)) & mask
    return table[place]


@kernel(READ_ONLY, INT_ROWS, SLOTS, WORD_ROWS, BYTES, INT)
def enter_keys(data, spans, slots, table, long_keys, long_end):
    """Enter keys ``(n,)`` that are not in the table, for slots ``(n,)``; return where long keys end."""
    for k in range(len(spans)):
        at = spans[k, 0]
        size = spans[k, 1] - at
        h = _hash(data, at, size)
        row = _free_row(table, h)
        row[ABOUT] = (uint64(size) << uint64(32)) | uint64(int64(slots[k]) + 1)
        row[HASH] = h
        if size <= SHORT:
            row[FIRST], row[SECOND] = _first(data, at, size), _second(data, at, size)
        else:
            row[FIRST] = uint64(long_end)
            for j in range(size):
                long_keys[long_end + j] = data[at + j]
            long_end += size
    return long_end


@kernel(BYTES, WORD_ROWS, BYTES, WORD_ROWS, BYTES)
def move_rows(is_kept, table, long_keys, to, to_long_keys):
    """Enter the keys of the slots that are kept into an empty table of any size; return where its long keys end."""
    long_end = int64(0)
    for k in range(len(table)):
        about = table[k, ABOUT]
        if about == uint64(0) or not is_kept[int64(about & uint64(0xFFFFFFFF)) - 1]:
            continue
        row, size = _free_row(to, table[k, HASH]), int64(about >> uint64(32))
        for word in range(WORDS_A_ROW):
            row[word] = table[k, word]
        if size > SHORT:
            begin = int64(table[k, FIRST])
            row[FIRST] = uint64(long_end)
            for j in range(size):
                to_long_keys[long_end + j] = long_keys[begin + j]
            long_end += size
    return long_end
