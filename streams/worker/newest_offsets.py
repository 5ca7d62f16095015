"""Which states a restore may write without asking a store that was empty at its start.

A changelog grows with the source, so a user's next state is newer than the last one, and nearly always newer than any
before. So it is enough to keep the highest offset of all users that share a slot::

    slot      0    1    2    3          u4, offset 9:   slot 1 has 7, so nothing newer of u4 is in the store: write
    highest   -    7    4    8          u5, offset 6:   slot 3 has 8, perhaps u5's own: look it up

Few slots cost a few more questions, never a wrong answer.
"""

from collections.abc import Mapping

import numpy as np

SLOTS = 1 << 20  # 8 MB, for all partitions that are restored side by side
NEVER = np.iinfo(np.int64).min


class NewestOffsets:
    """The highest offset written so far, by slots of users of one partition."""

    def __init__(self, slots: int = SLOTS) -> None:
        """Make room for a power of two of slots."""
        self._highest = np.full(1 << (slots.bit_length() - 1), NEVER, np.int64)

    def to_ask(self, offsets: Mapping[bytes, int]) -> list[bytes]:
        """Return the users of whom something newer may have been written, and note these offsets as written."""
        slots = np.fromiter(map(hash, offsets), np.int64, len(offsets)) & (len(self._highest) - 1)
        new = np.fromiter(offsets.values(), np.int64, len(offsets))
        older = new < self._highest[slots]
        np.maximum.at(self._highest, slots, new)
        return [key for key, asked in zip(offsets, older.tolist(), strict=True) if asked] if older.any() else []
