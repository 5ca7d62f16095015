r"""Sessions as HierTCN sees a user: closed ones in a recurrent state, the open one item by item.

A gap of 30 minutes without an action ends a session. At its end the recurrent state takes one step on the
mean of the session's items; within it the items so far are the low level's input (WWW'19, section 3).

Where the steps are taken is our choice. A history (``history.py``) evicts in order and for good, so the state folds
over what *left* the history: each session once, complete, whatever the order of arrival. What the history still
holds is folded when it is read, from the actions themselves. Hence a late action is never too late for its
session, and when a new model comes, the sessions of the last 100 actions are simply read with it::

    evicted for good          the history's 100 actions
    s1 s2 s3 s4 | departing...s5 | s6 | s7 (open)
    \_ state __/ \____ folded at each read ____/
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from rankstream.features.actions import ITEM, ActionColumns, action_time_ms
from rankstream.features.ids import Keys

SESSION_GAP_MS = 30 * 60 * 1000
MAX_SESSION_ITEMS = 20  # newest items of a session that count; the official code's limit
ITEMS_BYTES = 8 * MAX_SESSION_ITEMS
TAIL = struct.Struct("<BHQq")  # items, bytes of the state, tag, last_ms; then the items and the state

Floats = npt.NDArray[np.float32]
Lengths = npt.NDArray[np.int64]


class SessionEncoder(Protocol):
    """HierTCN as serving uses it; ``tag`` names the weights, so that states of other weights are recognised."""

    @property
    def tag(self) -> int:
        """64 bits that name the weights."""
        ...

    @property
    def state_size(self) -> int:
        """H: width of the recurrent state."""
        ...

    @property
    def dim(self) -> int:
        """S: width of the session vector."""
        ...

    def fold(self, states: Floats, pooled: Floats) -> Floats:
        """Step ``(n, H)`` states over a closed session each, ``(n, I)``; no row depends on another, to the bit."""
        ...

    def encode(self, state: Floats, closed: Floats, opened: Floats) -> Floats:
        """Return ``(S,)`` of a state ``(H,)``, closed sessions ``(k, I)`` and the items ``(t, I)`` of the open one."""
        ...


@dataclass(frozen=True)
class NoSessions:
    """The encoder of a bundle without a session model."""

    dim: int
    tag: int = 0
    state_size: int = 0

    def fold(self, states: Floats, pooled: Floats) -> Floats:
        """Leave the empty states as they are."""
        return states

    def encode(self, state: Floats, closed: Floats, opened: Floats) -> Floats:
        """Return zeros."""
        return np.zeros(self.dim, np.float32)


class SessionTail(Struct, frozen=True, gc=False):
    """What is known of the sessions that left the history."""

    items: bytes = b""  # keys of the departing session's newest items, oldest first, 8 bytes each, big-endian
    last_ms: int = 0  # when its last departed action occurred
    tag: int = 0  # of the encoder that made the state
    state: bytes = b""  # fp16, (H,); empty before the first fold

    def absorb(self, evicted: Sequence[bytes]) -> tuple["SessionTail", list[bytes]]:
        """Apply evicted actions, oldest first; return the new tail and the items of the sessions that ended."""
        items, last_ms = self.items, self.last_ms
        ended: list[bytes] = []
        for action in evicted:
            at_ms = action_time_ms(action)
            if at_ms - last_ms > SESSION_GAP_MS and items:
                ended.append(items)
                items = b""
            items = (items + action[ITEM])[-ITEMS_BYTES:]
            last_ms = at_ms
        return SessionTail(items, last_ms, self.tag, self.state), ended

    def recurrent(self, tag: int, size: int) -> Floats:
        """Return the state ``(H,)`` if the encoder of this tag made it; else zeros, as for an unknown user."""
        if tag != self.tag or len(self.state) != 2 * size:
            return np.zeros(size, np.float32)
        return np.frombuffer(self.state, np.float16).astype(np.float32)

    def folded(self, tag: int, state: Floats) -> "SessionTail":
        """Return the tail with a new state."""
        return SessionTail(self.items, self.last_ms, tag, state.astype(np.float16).tobytes())

    def pack(self) -> bytes:
        """Return the bytes; none for a tail that nothing has reached."""
        if not self.items:
            return b""
        return TAIL.pack(len(self.items) // 8, len(self.state), self.tag, self.last_ms) + self.items + self.state


NOTHING_LEFT = SessionTail()


def unpack_tail(packed: bytes) -> SessionTail:
    """Return the tail that ``pack`` packed; ``struct.error`` or ``ValueError`` for anything else."""
    if not packed:
        return NOTHING_LEFT
    count, state_bytes, tag, last_ms = TAIL.unpack_from(packed)
    end = TAIL.size + 8 * count
    if not count:
        raise ValueError("a session tail without an item")
    if len(packed) != end + state_bytes:
        raise ValueError(f"a session tail of {len(packed)} bytes, wanted {end + state_bytes} by its header")
    return SessionTail(packed[TAIL.size : end], last_ms, tag, packed[end:])


def session_keys(items: bytes) -> Keys:
    """Return the item keys ``(n,)`` of a session that ``absorb`` returned."""
    return np.frombuffer(items, ">u8").astype(np.uint64)


@dataclass(frozen=True, slots=True)
class SessionsNow:
    """The sessions that the tail's state has not seen, as of one time."""

    closed_items: Keys  # item keys of all closed sessions, oldest session first, oldest item first
    lengths: Lengths  # (k,) items of each closed session
    opened: Keys  # item keys of the open session, oldest first; empty if none is open

    @property
    def closed(self) -> tuple[Keys, ...]:
        """Return the item keys of each closed session."""
        ends = np.cumsum(self.lengths)
        return tuple(self.closed_items[end - length : end] for end, length in zip(ends, self.lengths, strict=True))


def sessions_now(tail: SessionTail, actions: ActionColumns, now_ms: int) -> SessionsNow:
    """Cut departing items and the history's actions (newest first) into sessions, as of ``now_ms``."""
    times = actions.times_ms[::-1]
    keys = actions.item_keys[::-1]
    if tail.items:
        departing = session_keys(tail.items)
        times = np.concatenate([np.full(len(departing), tail.last_ms, np.int64), times])
        keys = np.concatenate([departing, keys])
    if not len(keys):
        return SessionsNow(keys, np.zeros(0, np.int64), keys)
    cuts = np.flatnonzero(times[1:] - times[:-1] > SESSION_GAP_MS) + 1
    if now_ms - int(times[-1]) > SESSION_GAP_MS:
        return _closed(keys, np.append(cuts, len(keys)), keys[:0])
    last = int(cuts[-1]) if len(cuts) else 0
    return _closed(keys[:last], cuts, keys[last:][-MAX_SESSION_ITEMS:])


def _closed(keys: Keys, ends: Lengths, opened: Keys) -> SessionsNow:
    """Return closed sessions that end at ``ends``, the newest items of each."""
    lengths = np.diff(ends, prepend=0)
    if lengths.max(initial=0) <= MAX_SESSION_ITEMS:
        return SessionsNow(keys, lengths, opened)
    newest = np.arange(len(keys)) >= np.repeat(ends - MAX_SESSION_ITEMS, lengths)
    return SessionsNow(keys[newest], np.minimum(lengths, MAX_SESSION_ITEMS), opened)
