"""All that the stream keeps of one user, and its bytes.

::

    | format 1 | actions 1 | offset 8 | total 4 | history 16 an action, newest first | counters | session tail |

A user of 100 actions needs 1.6 KB. Counters (``counters.py``, 5 to 65 bytes) and the tail (up to ~700) come when the
101st action pushes the first one out.

Format 1, which had no counters, is read: what had left such a history before is not counted.

An erasure leaves a mark, the time up to which all that the user did is forgotten, so that what comes late, twice or
again does not bring him back. Such a state is of format 3, with the mark behind the total::

    a b c d, erased as of c   ->   mark c, history d        b once more   ->   the same
"""

import struct
from collections.abc import Iterator, Sequence
from itertools import groupby

from msgspec import Struct
from msgspec.structs import replace

from rankstream.features.actions import ACTION_BYTES, action_time_ms, has_erasure, is_erasure, pack_erasure
from rankstream.features.counters import count_departed, pack_counters, unpack_counters
from rankstream.features.history import DEFAULT_LIMIT, Appended, History, split
from rankstream.features.sessions import NOTHING_LEFT, SessionTail, unpack_tail

FORMAT = 2
WITHOUT_COUNTERS = 1
WITH_MARK = 3
FORMATS = (WITHOUT_COUNTERS, FORMAT, WITH_MARK)
HEAD = struct.Struct("<BBqI")
MARK = struct.Struct("<q")  # behind the head of a state that an erasure has marked
NEVER = 0
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
    forgotten_ms: int = NEVER  # what the user did up to then is forgotten, and stays so

    @property
    def newest_ms(self) -> int:
        """Return when the newest action known occurred; ``NEVER`` without one."""
        return action_time_ms(self.history.packed) if self.history.packed else NEVER

    def apply(self, actions: Sequence[bytes], last_offset: int, forget_after_ms: int = NEVER) -> "Applied":
        """Apply packed actions, and erasures, in order of arrival; ``last_offset`` is the last one's.

        Actions at offsets that are applied already must not be handed in again: compare with ``offset`` first. An
        action that comes more than ``forget_after_ms`` after the newest one known erases all up to that.
        """
        may_expire = forget_after_ms and _spans(self, actions) > forget_after_ms
        if self.forgotten_ms or may_expire or has_erasure(actions):
            return _apply_around_erasures(self, actions, last_offset, forget_after_ms)
        return self.append(actions, last_offset)

    def as_of(self, at_ms: int, forget_after_ms: int) -> "UserState":
        """Return what a request of a time knows: nothing, where the newest action is longer ago than that."""
        if not self.history.packed or at_ms - self.newest_ms <= forget_after_ms:
            return self
        return UserState(History(b"", self.history.limit), NOTHING_LEFT, self.offset, 0, 0, at_ms)

    def expired(self, at_ms: int, forget_after_ms: int) -> "UserState":
        """Return what is to be kept at a time: the mark alone, where the newest action is longer ago than that."""
        newest_ms = self.newest_ms
        return self.erased(newest_ms) if newest_ms and at_ms - newest_ms > forget_after_ms else self

    def append(self, actions: Sequence[bytes], last_offset: int) -> "Applied":
        """Apply packed actions that are all to be kept: ``apply`` without erasures."""
        appended = self.history.append(actions)
        total = min(MAX_TOTAL, self.total + len(actions) - appended.duplicates - appended.too_old)
        if not appended.evicted:
            kept = self.tail, last_offset, total, self.departed, self.forgotten_ms
            return Applied(UserState(appended.history, *kept), appended)
        tail, ended = self.tail.absorb(appended.evicted)
        departed = count_departed(self.departed, appended.evicted)
        state = UserState(appended.history, tail, last_offset, total, departed, self.forgotten_ms)
        return Applied(state, appended, tuple(ended))

    def erased(self, at_ms: int) -> "UserState":
        """Return what is left of the user: what was done after ``at_ms``, and the mark.

        What left the history is forgotten, whenever it was: an erasure that comes later than a whole history of actions
        after it takes of those what has left.
        """
        if at_ms <= self.forgotten_ms:
            return self
        kept = [action for action in split(self.history.packed) if action_time_ms(action) > at_ms]
        history = History(b"".join(kept), self.history.limit)
        return UserState(history, NOTHING_LEFT, self.offset, len(kept), 0, at_ms)

    def pack(self) -> bytes:
        """Return the record's bytes."""
        head = HEAD.pack(WITH_MARK if self.forgotten_ms else FORMAT, len(self.history), self.offset, self.total)
        if self.forgotten_ms:
            head += MARK.pack(self.forgotten_ms)
        tail = self.tail.pack()
        return head + self.history.packed + (pack_counters(self.departed) + tail if tail else b"")


class Applied(Struct, frozen=True, gc=False):
    """A state after a batch, and what the batch did."""

    state: UserState
    appended: Appended
    ended: tuple[bytes, ...] = ()  # sessions that left the history, oldest first: items for ``sessions.session_keys``
    erasures: int = 0
    forgotten: int = 0  # actions of before an erasure, which came after it: no change
    expired: int = 0  # times that an action came so long after the one before it that this was forgotten


def _spans(state: UserState, actions: Sequence[bytes]) -> int:
    """Return how long it is at most from an action to the next one, ms, those known included."""
    times = [action_time_ms(action) for action in actions]
    return max(times, default=0) - (state.newest_ms or min(times, default=0))


def _apply_around_erasures(
    state: UserState, actions: Sequence[bytes], last_offset: int, forget_after_ms: int
) -> Applied:
    """Apply actions and erasures one run after the other; sessions that ended before an erasure never were."""
    appended, ended, erasures, forgotten = Appended(state.history), tuple[bytes, ...](), 0, 0
    whole = list(_with_expiries(state, actions, forget_after_ms)) if forget_after_ms else actions
    expired = len(whole) - len(actions)
    for erasing, run in _runs(whole):
        if erasing:
            erased = state.erased(max(map(action_time_ms, run)))
            state, ended, erasures = erased, ended if erased is state else (), erasures + len(run)
            continue
        kept = [action for action in run if action_time_ms(action) > state.forgotten_ms]
        applied = state.append(kept, last_offset)
        state, ended, forgotten = applied.state, ended + applied.ended, forgotten + len(run) - len(kept)
        appended = appended.and_then(applied.appended)
    return Applied(replace(state, offset=last_offset), appended, ended, erasures - expired, forgotten, expired)


def _with_expiries(state: UserState, actions: Sequence[bytes], forget_after_ms: int) -> Iterator[bytes]:
    """Yield the actions, with an erasure of all before each one that comes so long after the newest."""
    newest_ms, forgotten_ms = state.newest_ms, state.forgotten_ms
    for action in actions:
        at_ms = action_time_ms(action)
        if is_erasure(action):
            forgotten_ms = max(forgotten_ms, at_ms)
            newest_ms = newest_ms if newest_ms > forgotten_ms else NEVER
        elif at_ms > forgotten_ms:
            if newest_ms and at_ms - newest_ms > forget_after_ms:
                yield pack_erasure(newest_ms)
                forgotten_ms = newest_ms
            newest_ms = max(newest_ms, at_ms)
        yield action


def _runs(actions: Sequence[bytes]) -> Iterator[tuple[bool, list[bytes]]]:
    """Yield the actions in runs of erasures and of others."""
    for erasing, run in groupby(actions, key=is_erasure):
        yield erasing, list(run)


UNKNOWN_USER = UserState()


def unpack_state(packed: bytes, limit: int = DEFAULT_LIMIT) -> UserState:
    """Return the state that ``pack`` packed. Raises ``CorruptStateError`` for anything else."""
    try:
        format_number, count, offset, total = HEAD.unpack_from(packed)
        begin = HEAD.size + (MARK.size if format_number == WITH_MARK else 0)
        forgotten_ms = MARK.unpack_from(packed, HEAD.size)[0] if begin > HEAD.size else NEVER
        end = begin + count * ACTION_BYTES
        if format_number not in FORMATS or len(packed) < end:
            raise ValueError(f"format {format_number}, {count} actions, {len(packed)} bytes")
        if format_number == WITH_MARK and forgotten_ms <= NEVER:
            raise ValueError(f"the mark of an erasure at {forgotten_ms}")
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
    return UserState(History(packed[begin:end], limit), tail, offset, total, departed, forgotten_ms)
