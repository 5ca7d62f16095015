"""All that the stream keeps of one user, and its bytes.

::

    | format 1 | actions 1 | offset 8 | total 4 | history 16 an action, newest first | counters | session tail |

A user of 100 actions needs 1.6 KB. Counters (``counters.py``, 5 to 65 bytes) and the tail (up to ~700) come when the
101st action pushes the first one out.

Format 1, which had no counters, is read: what had left such a history before is not counted.
"""

import struct
from collections.abc import Sequence

from msgspec import Struct

from rankstream.features.actions import ACTION_BYTES
from rankstream.features.counters import count_departed, pack_counters, unpack_counters
from rankstream.features.history import DEFAULT_LIMIT, Appended, History
from rankstream.features.sessions import NOTHING_LEFT, SessionTail, unpack_tail

FORMAT = 2
WITHOUT_COUNTERS = 1
FORMATS = (WITHOUT_COUNTERS, FORMAT)
HEAD = struct.Struct("<BBqI")
NO_OFFSET = -1
MAX_TOTAL = (1 << 32) - 1  # of the actions ever applied, which take 4 bytes; further ones are not counted
NO_HISTORY = History()


class CorruptStateError(ValueError):
    """A stored record is not one that ``UserState.pack`` wrote."""


class UserState(Struct, frozen=True, gc=False):
    """A user at one offset of the source: the value that stores keep and the changelog carries."""

    history: History = NO_HISTORY
    tail: SessionTail = NOTHING_LEFT
    offset: int = NO_OFFSET  # of the last action applied, in the user's source partition
    total: int = 0  # actions ever applied, duplicates and too old ones not counted
    departed: int = 0  # of these, what left the history, by type: see ``counters.py``

    def apply(self, actions: Sequence[bytes], last_offset: int) -> "Applied":
        """Apply packed actions in order of arrival; ``last_offset`` is the last one's.

        Actions at offsets that are applied already must not be handed in again: compare with ``offset`` first.
        """
        appended = self.history.append(actions)
        total = min(MAX_TOTAL, self.total + len(actions) - appended.duplicates - appended.too_old)
        if not appended.evicted:
            return Applied(UserState(appended.history, self.tail, last_offset, total, self.departed), appended)
        tail, ended = self.tail.absorb(appended.evicted)
        departed = count_departed(self.departed, appended.evicted)
        state = UserState(appended.history, tail, last_offset, total, departed)
        return Applied(state, appended, tuple(ended))

    def pack(self) -> bytes:
        """Return the record's bytes."""
        head = HEAD.pack(FORMAT, len(self.history), self.offset, self.total)
        tail = self.tail.pack()
        return head + self.history.packed + (pack_counters(self.departed) + tail if tail else b"")


class Applied(Struct, frozen=True, gc=False):
    """A state after a batch, and what the batch did."""

    state: UserState
    appended: Appended
    ended: tuple[bytes, ...] = ()  # sessions that left the history, oldest first: items for ``sessions.session_keys``


UNKNOWN_USER = UserState()


def unpack_state(packed: bytes, limit: int = DEFAULT_LIMIT) -> UserState:
    """Return the state that ``pack`` packed. Raises ``CorruptStateError`` for anything else."""
    try:
        format_number, count, offset, total = HEAD.unpack_from(packed)
        end = HEAD.size + count * ACTION_BYTES
        if format_number not in FORMATS or len(packed) < end:
            raise ValueError(f"format {format_number}, {count} actions, {len(packed)} bytes")
        departed, rest = 0, packed[end:]
        if rest and format_number != WITHOUT_COUNTERS:
            departed, rest = unpack_counters(rest)
        tail = unpack_tail(rest)
        if departed and not tail.items:
            raise ValueError("counters of what left a history, and no session that it was of")
    except (struct.error, ValueError) as exc:
        raise CorruptStateError(
            f"a stored user record of {len(packed)} bytes is of none of the formats {FORMATS} ({exc}); "
            "if another version of rankstream wrote it, start with an empty state folder, which the changelog refills"
        ) from exc
    return UserState(History(packed[HEAD.size : end], limit), tail, offset, total, departed)
