"""Keys -> rows of a table -> vectors: ``embeddings/key_search.py`` and ``EmbeddingTable.look_up``, key by key."""

import numpy as np
from numba import int32, int64, uint64

from rankstream.features.compiled.jit import (
    BIT_ROWS,
    FLOAT_ROWS,
    HALVES,
    INTS,
    KEYS,
    STARTS,
    WORD,
    inlined,
    kernel,
)

MISSING = -1
SIGN_AND_BITS = np.int32(0x8FFFE000 - (1 << 32))  # as in ``embeddings/float16.py``
SCALE = np.float32(2.0**112)


@inlined
def _row_of(key, keys, starts, shift):
    """Return the row of a key in a sorted column, by binary search in its entry of the radix index."""
    if len(keys) == 0 or key < keys[0]:
        return MISSING
    entry = int64(min((key - keys[0]) >> shift, uint64(len(starts) - 1)))
    low = int64(starts[entry])
    high = int64(starts[entry + 1]) if entry + 1 < len(starts) else len(keys)
    while low < high:
        middle = (low + high) >> 1
        if keys[middle] < key:
            low = middle + 1
        else:
            high = middle
    return low if low < len(keys) and keys[low] == key else MISSING


@kernel(KEYS, STARTS, WORD, KEYS, INTS)
def find_rows(keys, starts, shift, wanted, rows):
    """Set the row of each wanted key ``(n,)``, -1 for a missing one."""
    for k in range(len(wanted)):
        rows[k] = _row_of(wanted[k], keys, starts, shift)


@kernel(HALVES, INTS, BIT_ROWS, FLOAT_ROWS)
def widen_rows(halves, rows, bits, floats):
    """Set the first columns of ``floats`` to the vectors of ``rows``, widened from float16; 0 for none.

    ``bits`` is the same memory as ``floats``.
    """
    width = halves.shape[1]
    for to in range(len(rows)):
        row = rows[to]
        if row < 0:
            for at in range(width):
                floats[to, at] = np.float32(0.0)
            continue
        for at in range(width):
            half = int32(halves[row, at])
            signed = half - int32(65536) if half >= int32(32768) else half
            bits[to, at] = int32(signed << int32(13)) & SIGN_AND_BITS
        for at in range(width):
            floats[to, at] *= SCALE
