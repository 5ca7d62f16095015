"""The last actions of a user, newest first, and the law of order, lateness and duplicates.

A history is a reorder buffer. What enters may be late or repeated; what leaves, the oldest when there is
no room, leaves in order and for good. So the same log, shuffled within the buffer's reach and with
repetitions, gives the same history and the same sequence of evicted actions, byte for byte::

    append(d, c', e)      [e d c b a] limit 4 -> history [e d c b], evicted [a]     (c' = c again: one action)
"""

from bisect import bisect_left
from collections.abc import Sequence

from msgspec import Struct

from rankstream.features.actions import ACTION_BYTES, IDENTITY_BYTES, ActionColumns, columns

DEFAULT_LIMIT = 100  # TransAct, section 3.2: the 100 most recent actions


class Appended(Struct, frozen=True, gc=False):
    """What a batch of actions did to a history."""

    history: "History"
    evicted: tuple[bytes, ...] = ()  # packed actions that left, oldest first
    late: int = 0  # inserted behind a newer one
    duplicates: int = 0  # of an action that is held already
    too_old: int = 0  # older than the oldest of a full history: no change

    def and_then(self, later: "Appended") -> "Appended":
        """Return what this batch and a later one did together."""
        return Appended(
            later.history,
            self.evicted + later.evicted,
            self.late + later.late,
            self.duplicates + later.duplicates,
            self.too_old + later.too_old,
        )


class History(Struct, frozen=True, gc=False):
    """At most ``limit`` packed actions, newest first."""

    packed: bytes = b""
    limit: int = DEFAULT_LIMIT

    def __len__(self) -> int:
        return len(self.packed) // ACTION_BYTES

    def columns(self) -> ActionColumns:
        """Return the actions as columns, newest first."""
        return columns(self.packed)

    def append(self, actions: Sequence[bytes]) -> Appended:
        """Apply packed actions in the order that they arrived; the same as one after the other."""
        if self._continues_with(actions):
            return self._append_newest(actions)
        return self._insert(actions)

    def _continues_with(self, actions: Sequence[bytes]) -> bool:
        """Return whether each action is strictly newer than the one before it."""
        newest = self.packed[:IDENTITY_BYTES]
        if len(actions) == 1:
            return actions[0][:IDENTITY_BYTES] > newest
        for action in actions:
            identity = action[:IDENTITY_BYTES]
            if identity <= newest:
                return False
            newest = identity
        return True

    def _append_newest(self, actions: Sequence[bytes]) -> Appended:
        """Put strictly newer actions in front: the common case, one join of bytes."""
        packed = (actions[0] if len(actions) == 1 else b"".join(reversed(actions))) + self.packed
        room = self.limit * ACTION_BYTES
        if len(packed) <= room:
            return Appended(History(packed, self.limit))
        leaving = packed[room:]
        evicted = (leaving,) if len(leaving) == ACTION_BYTES else tuple(reversed(split(leaving)))
        return Appended(History(packed[:room], self.limit), evicted)

    def _insert(self, actions: Sequence[bytes]) -> Appended:
        """Insert each action where it belongs, one after the other: the law itself."""
        held = split(self.packed)[::-1]  # oldest first
        evicted: list[bytes] = []
        late = duplicates = too_old = 0
        for action in actions:
            identity = action[:IDENTITY_BYTES]
            at = bisect_left(held, identity)
            if at < len(held) and held[at].startswith(identity):
                held[at] = max(held[at], action)
                duplicates += 1
            elif at == 0 and len(held) == self.limit:
                too_old += 1
            else:
                late += at < len(held)
                held.insert(at, action)
                if len(held) > self.limit:
                    evicted.append(held.pop(0))
        history = History(b"".join(reversed(held)), self.limit)
        return Appended(history, tuple(evicted), late, duplicates, too_old)


def split(packed: bytes) -> list[bytes]:
    """Cut packed actions into single ones."""
    return [packed[at : at + ACTION_BYTES] for at in range(0, len(packed), ACTION_BYTES)]
