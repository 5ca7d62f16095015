"""Sums of weights by row, in the order in which they are added: what ``np.bincount`` gives, for few of many rows."""

import numpy as np

from rankstream.features.compiled.jit import inlined

FREE = np.int32(-1)
SPREAD = 0x9E3779B1  # odd: neighbouring rows go to slots far apart


@inlined
def room_for(entries):
    """Return held rows, their sums, and which slots are used: a hash table by open addressing, at most half full."""
    slots = 16
    while slots < 2 * entries:
        slots *= 2
    return np.full(slots, FREE, np.int32), np.empty(slots, np.float64), np.empty(entries, np.int32)


@inlined
def slot_of(row, held):
    """Return the slot that holds the row, or the free one where it belongs."""
    mask = len(held) - 1
    slot = ((row * SPREAD) >> 15) & mask
    while held[slot] != row and held[slot] != FREE:
        slot = (slot + 1) & mask
    return slot


@inlined
def add(row, weight, held, sums, used, count):
    """Add a weight to the sum of a row; return how many of ``used`` there are, ``count`` before."""
    slot = slot_of(row, held)
    if held[slot] == FREE:
        held[slot] = row
        sums[slot] = weight
        used[count] = slot
        return count + 1
    sums[slot] += weight
    return count


@inlined
def sum_of(row, held, sums):
    """Return the sum of a row as float32, 0 for one that nothing was added to."""
    if row < 0:
        return np.float32(0.0)
    slot = slot_of(row, held)
    return np.float32(sums[slot]) if held[slot] != FREE else np.float32(0.0)
