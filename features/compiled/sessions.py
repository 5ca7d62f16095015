"""The sessions that a user's recurrent state has not seen: ``sessions_now`` and ``means_of`` of the plain join."""

import numpy as np
from numba import float32

from rankstream.features.compiled.jit import FLOAT_ROWS, INT, INTS, LONGS, inlined, kernel
from rankstream.features.sessions import MAX_SESSION_ITEMS, SESSION_GAP_MS

LANES = 8  # sums that numpy adds side by side where a column has that many numbers (pairwise summation)


@inlined
def _rest_of_column(items, begin, end, d, lanes):
    """Return the sum of a column's rows, in the order of numpy's ``add.reduceat``."""
    total = float32(-0.0)
    if end - begin >= LANES:
        for lane in range(LANES):
            lanes[lane] = items[begin + lane, d]
        begin += LANES
        while end - begin >= LANES:
            for lane in range(LANES):
                lanes[lane] += items[begin + lane, d]
            begin += LANES
        first = (lanes[0] + lanes[1]) + (lanes[2] + lanes[3])
        total = first + ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]))
    for row in range(begin, end):
        total += items[row, d]
    return total


@kernel(LONGS, INT, FLOAT_ROWS, FLOAT_ROWS, INTS)
def pool_sessions(times_ms, now_ms, items, pooled, opened):
    """Cut actions ``(T,)``, oldest first, into sessions as of ``now_ms``; return how many are closed.

    ``items`` ``(T, I)`` are the actions' item vectors. Sets the mean of each closed session's newest items, and in
    ``opened`` where the items of the open one begin and end.
    """
    count, closed, begin, lanes = len(times_ms), 0, 0, np.empty(LANES, np.float32)
    opened[0] = opened[1] = count
    for at in range(1, count + 1):
        next_ms = now_ms if at == count else times_ms[at]
        if next_ms - times_ms[at - 1] > SESSION_GAP_MS:
            first = max(begin, at - MAX_SESSION_ITEMS)
            for d in range(items.shape[1]):
                total = items[first, d]
                if at - first > 1:
                    total += _rest_of_column(items, first + 1, at, d, lanes)
                pooled[closed, d] = total / (at - first)
            closed, begin = closed + 1, at
    if begin < count:
        opened[0] = max(begin, count - MAX_SESSION_ITEMS)
    return closed
