"""Counters of a user's own: how often each type of action was ever done, exact under late and repeated records.

What leaves a history leaves in order and for good (``history.py``). So it is enough to count what left; what the
history holds is counted when it is read::

    departed           the history's actions               ever done
    view 7, save 1     save view view hide           =     view 9, save 2, hide 1

An action that is older than all of a full history changes nothing, here as there. What left is counted in one integer
of 32 bits a type, the first type's the lowest, so that counting an action is one addition.
"""

from collections.abc import Sequence
from math import log, log1p

import numpy as np

from rankstream.features.actions import MAX_ACTION_TYPES, action_type
from rankstream.features.schema import COUNTED_TYPES, Floats, Ints

COUNTER_BYTES = 4
ONE = tuple(
    1 << 8 * COUNTER_BYTES * (code - 1) if 1 <= code <= COUNTED_TYPES else 0 for code in range(MAX_ACTION_TYPES + 1)
)  # of each type, as it is added; 0 for a type without a counter
PRIOR_ACTIONS = 5.0  # as many count for "all types alike" in a user's shares


def count_departed(departed: int, evicted: Sequence[bytes]) -> int:
    """Return the counts with those of packed actions that left a history."""
    for action in evicted:
        departed += ONE[action_type(action)]
    return departed


def pack_counters(departed: int) -> bytes:
    """Return how many counters follow, 1 byte, and the counters up to the last one that is not 0."""
    count = -(-departed.bit_length() // (8 * COUNTER_BYTES))
    return bytes([count]) + departed.to_bytes(COUNTER_BYTES * count, "little")


def unpack_counters(packed: bytes) -> tuple[int, bytes]:
    """Return the counts that ``packed`` begins with, and what follows.

    Raises ``ValueError`` if it is too short, or has more counters than there are types that are counted.
    """
    end = 1 + COUNTER_BYTES * packed[0] if packed else 1
    if end > 1 + COUNTER_BYTES * COUNTED_TYPES:
        raise ValueError(f"{packed[0]} counters, wanted at most {COUNTED_TYPES}")
    if len(packed) < end:
        raise ValueError(f"counters of {len(packed)} bytes, wanted {end}")
    return int.from_bytes(packed[1:end], "little"), packed[end:]


def ever_done(departed: int, types: Ints, count: int) -> Ints:
    """Return how often each of the first ``count`` types was done, ``(count,)``; ``types`` are those of the history."""
    held = np.bincount(types, minlength=count + 1)[1 : count + 1]
    if not departed:
        return held
    width = COUNTER_BYTES * COUNTED_TYPES
    return held + np.frombuffer(departed.to_bytes(width, "little"), "<u4")[:count].astype(np.int64)


def counter_columns(counts: Ints) -> Floats:
    """Return what a ranker sees of counts ``(K,)``: log1p(all) / log(100), then each type's share, ``(1 + K,)``.

    A share is (count + 5 / K) / (all + 5): that of a user who did little is near 1 / K. Nothing for no counters.
    """
    if not len(counts):
        return np.zeros(0, np.float32)
    done = counts.tolist()
    total = sum(done)
    shares = [(count + PRIOR_ACTIONS / len(done)) / (total + PRIOR_ACTIONS) for count in done]
    return np.array([log1p(total) / log(100), *shares], np.float32)
