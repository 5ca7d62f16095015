"""Keys of users nearly in order, in a tenth of the time of sorting them: a store puts what comes in its own order.

::

    user-7  user-31  user-30     all begin with "user-"     7..  31.  30.  as numbers of eight bytes
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from numba import int64, uint64

from rankstream.streams.columns import Ints
from rankstream.streams.compiled.integers import big_endian
from rankstream.streams.compiled.jit import INTS, READ_ONLY, WORDS, inlined, kernel

WORD_BYTES = 8


@inlined
def _common_bytes(keys, key_ends):
    """Return with how many bytes all keys begin."""
    common = key_ends[0]
    for row in range(1, len(key_ends)):
        begin = key_ends[row - 1]
        common = min(common, key_ends[row] - begin)
        for k in range(common):
            if keys[k] != keys[begin + k]:
                common = int64(k)
                break
    return common


@kernel(READ_ONLY, INTS, WORDS)
def key_words(keys, key_ends, words):
    """Set of each key a number that orders it among the others: eight bytes behind those that all begin with."""
    common, begin = _common_bytes(keys, key_ends), int64(0)
    for row in range(len(key_ends)):
        at, end = begin + common, key_ends[row]
        size = min(end - at, WORD_BYTES)
        words[row] = big_endian(keys, at, size) << uint64(8 * (WORD_BYTES - size)) if size > 0 else uint64(0)
        begin = end


def order_of(keys: Sequence[bytes]) -> npt.NDArray[np.intp]:
    """Return the rows ``(n,)`` of keys in order of eight bytes of them, behind those that they have in common."""
    words = np.zeros(len(keys), np.uint64)
    if keys:
        key_words(np.frombuffer(b"".join(keys), np.uint8), ends_of(keys), words)
    return words.argsort()


def ends_of(keys: Sequence[bytes]) -> Ints:
    """Return where each key ends, one after the other."""
    return np.cumsum(np.fromiter(map(len, keys), np.int64, len(keys)))
