"""Buffers that are used again once nobody has them: pages that are new cost more to clear than to write.

Knows nothing of who took one: a buffer is free when no other reference to it is left.
"""

import sys
import threading

import numpy as np

from rankstream.streams.packed_states import Bytes

SPARE = 4  # a fourth more than was asked for, so that the next one that is a little larger fits
_PROBE = [object()]
IDLE = sys.getrefcount(_PROBE[0])  # of what a list alone holds


class Room:
    """Hands out buffers, and keeps up to so many bytes of them."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._held: list[Bytes] = []
        self._lock = threading.Lock()

    @property
    def held_bytes(self) -> int:
        """Return how many bytes are kept, in use or not."""
        return sum(map(len, self._held))

    def take(self, size: int) -> Bytes:
        """Return a buffer of that many bytes at least; what is in it is not said."""
        with self._lock:
            for row in range(len(self._held)):
                if len(self._held[row]) >= size and self._is_idle(row):
                    return self._held[row]
            self._held = [self._held[row] for row in range(len(self._held)) if not self._is_idle(row)]  # too small
            made = np.empty(size + size // SPARE, np.uint8)
            if self.held_bytes + len(made) <= self.most_bytes:
                self._held.append(made)
            return made

    def _is_idle(self, row: int) -> bool:
        """Return whether nobody else has a buffer."""
        return sys.getrefcount(self._held[row]) <= IDLE
