"""The users of one partition in a few arrays: a slot each, found by the bytes of the key.

::

    table      key -> slot                              heads     columns of ``layout.py``
    rings      (slots, limit, 2) the last actions       items     (slots, 20) of the session tail
    counters   (slots, 16) of what left the history     states    (slots, H) recurrent state, fp16

2 KB a user at 100 actions. The arrays grow when they are full. A user who is forgotten leaves a slot for another, so
that no memory is asked for anew, and nobody who stays is moved.
"""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from rankstream.events.column import TextKeys
from rankstream.features.actions import ACTION_BYTES
from rankstream.features.schema import COUNTED_TYPES
from rankstream.features.sessions import MAX_SESSION_ITEMS
from rankstream.features.user_state import NEVER
from rankstream.streams.columns import Ints, spans_of
from rankstream.streams.compiled.histories import LISTED, NUM_COUNTS, apply_actions
from rankstream.streams.compiled.key_order import ends_of, order_of
from rankstream.streams.compiled.key_table import UNKNOWN, WORDS_A_ROW, enter_keys, find_slots, move_rows
from rankstream.streams.compiled.layout import (
    CHANGED,
    COLUMNS,
    COUNT,
    MOST_BYTES_BUT_ACTIONS,
    OFFSET,
    OK,
    STATE_BYTES,
    TURN,
)
from rankstream.streams.compiled.room import Room
from rankstream.streams.compiled.state_records import put_records
from rankstream.streams.compiled.states import REFUSED, look_at_records, pack_slots, unpack_records
from rankstream.streams.packed_states import Bytes, PackedStates

FIRST_SLOTS, MANY_SLOTS, FIRST_LONG_KEY_BYTES = 1_024, 4_096, 16_384
GROWTH = 4  # of what is full: what is not used yet takes addresses, no memory
ROOM = Room(128 << 20)  # of all arenas, for states on their way to a checkpoint

S = TypeVar("S", bound=np.generic)
Slots = npt.NDArray[np.int32]
Words = npt.NDArray[np.uint64]


class Arena:
    """Users by slot: numbers from 0."""

    def __init__(self, limit: int, forget_after_ms: int = NEVER, expected: int = 0) -> None:
        self.limit = limit  # actions of a history
        self.expected = expected  # users, once there are many
        self.forget_after_ms = forget_after_ms  # as of ``UserCache``
        self.keys: list[bytes] = []  # of each slot that was ever in use; of one that is free that of who had it
        self.changed: Slots = np.empty(0, np.int32)  # slots, in the order in which they changed
        self.num_changed = 0
        self._free: Slots = np.empty(0, np.int32)  # slots, of users who were forgotten
        self._turn = 0
        self._long_keys: Bytes = np.empty(FIRST_LONG_KEY_BYTES, np.uint8)
        self._long_end = 0
        self._heads: npt.NDArray[np.int64] = np.zeros((0, COLUMNS), np.int64)
        self._rings: Words = np.empty((0, limit, 2), np.uint64)
        self._items: Words = np.empty((0, MAX_SESSION_ITEMS), np.uint64)
        self._counters: npt.NDArray[np.uint32] = np.empty((0, COUNTED_TYPES), np.uint32)
        self._states: Bytes = np.empty((0, 0), np.uint8)
        self._table: Words = np.zeros((2 * FIRST_SLOTS, WORDS_A_ROW), np.uint64)
        self._make_room(FIRST_SLOTS)

    def __len__(self) -> int:
        return len(self.keys) - len(self._free)

    @property
    def num_slots(self) -> int:
        """How many slots are in use, or were."""
        return len(self.keys)

    # --- whose

    def find(self, users: TextKeys, status: Bytes, slots: Slots) -> int:
        """Set the slots ``(n,)`` that are ``UNKNOWN``, of records to be applied; return how many are unknown still."""
        data = np.frombuffer(users.data, np.uint8)
        return int(find_slots(data, users.spans, status, self._table, self._long_keys, slots))

    def slots_of(self, keys: Sequence[bytes]) -> Slots:
        """Return the slots ``(n,)`` of keys; ``UNKNOWN`` for users that are not here."""
        slots, status = np.full(len(keys), UNKNOWN, np.int32), np.full(len(keys), OK, np.uint8)
        self.find(TextKeys.of(keys), status, slots)
        return slots

    def enter(self, keys: Sequence[bytes], records: Sequence[bytes | None]) -> list[int]:
        """Give users that are not here slots, with their records; return the rows of those whose record it can't hold.

        Those are states with more actions than the limit, and what is no record.
        """
        sizes, data, spans = self._looked_at(records)
        refused: list[int] = np.flatnonzero(sizes == REFUSED).tolist()
        if refused:
            held = np.flatnonzero(sizes != REFUSED)
            keys, spans = [keys[row] for row in held.tolist()], spans[held]
        slots = self._take_slots(keys, int(sizes.max()))
        self._enter_keys(keys, slots)
        self._heads[slots] = 0
        self._heads[slots, TURN] = self._turn
        self._unpack(data, spans, slots)
        return refused

    def set(self, slot: int, record: bytes) -> bool:
        """Give a user that is here another record; return whether a slot can hold it."""
        sizes, data, spans = self._looked_at([record])
        if sizes[0] == REFUSED:
            return False
        self._make_room(0, int(sizes[0]))
        self._unpack(data, spans, np.array([slot], np.int32))
        return True

    def mark_changed(self, slot: int) -> None:
        """Note that a user has changed."""
        if not self._heads[slot, CHANGED]:
            self._heads[slot, CHANGED] = LISTED
            self.changed[self.num_changed] = slot
            self.num_changed += 1

    # --- what is done

    def apply(
        self, status: Bytes, slots: Slots, offsets: Ints, high: Words, low: Words
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Apply the actions ``(n,)`` of known users; return counts (``histories.py``) and the sessions that ended.

        Of each session ``(m, 2 + 20)``: the slot, how many items, the items.
        """
        self._turn += 1
        counts, touched = np.zeros(NUM_COUNTS, np.int64), np.empty(len(slots), np.int32)
        ended = np.empty((len(slots), 2 + MAX_SESSION_ITEMS), np.int64)
        users = self._heads, self._rings, self._items, self._counters
        changes = self.changed, self.num_changed, touched, counts, ended
        actions, rules = (status, slots, offsets, high, low), (self._turn, self.forget_after_ms)
        self.num_changed, num_ended = apply_actions(*actions, *rules, *users, *changes)
        return counts, ended[:num_ended]

    def offset(self, slot: int) -> int:
        """Return the offset of a user's last action."""
        return int(self._heads[slot, OFFSET])

    def pack(self, slots: Slots) -> PackedStates:
        """Return the records of slots ``(n,)``."""
        return self._pack(slots, [self.keys[slot] for slot in slots.tolist()])

    def _pack(self, slots: Slots, keys: Sequence[bytes]) -> PackedStates:
        actions, state_bytes = self._heads[slots, COUNT], self._heads[slots, STATE_BYTES]
        most = len(slots) * MOST_BYTES_BUT_ACTIONS + int((ACTION_BYTES * actions + state_bytes).sum())
        out, ends = ROOM.take(most), np.empty(len(slots), np.int64)
        pack_slots(slots, self._heads, self._rings, self._items, self._counters, self._states, out, ends)
        return PackedStates(keys, b"".join(keys), ends_of(keys), out, ends, put_in_batch)

    def take_changed(self) -> PackedStates:
        """Return the records of the changed users, nearly in order of key, and begin to note anew.

        A store takes in a third less time what comes in its own order.
        """
        slots = self.changed[: self.num_changed]
        keys = [self.keys[slot] for slot in slots.tolist()]
        self._heads[slots, CHANGED] = 0
        self.num_changed = 0
        order = order_of(keys)
        return self._pack(slots[order], [keys[row] for row in order.tolist()])

    def changed_alone(self) -> "Arena":
        """Return an arena with the changed users, and no others."""
        kept, packed = (
            Arena(self.limit, self.forget_after_ms, self.expected),
            self.pack(self.changed[: self.num_changed]),
        )
        if packed:
            kept.enter(packed.keys_of, list(packed.states()))
        for slot in range(len(kept)):
            kept.mark_changed(slot)
        return kept

    def forget(self, most: int) -> None:
        """Forget users who are not changed, of whom nothing came for longest, until no more than ``most`` are left."""
        is_held = self._is_held()
        idle = np.flatnonzero(is_held & (self._heads[: len(is_held), CHANGED] == 0)).astype(np.int32)
        excess = min(len(self) - most, len(idle))
        if excess <= 0:
            return
        gone = idle[np.argpartition(self._heads[idle, TURN], excess - 1)[:excess]]
        is_held[gone] = False
        self._free = np.concatenate((self._free, gone))
        self._move_table(len(self), is_held)

    # --- room

    def _is_held(self) -> npt.NDArray[np.bool_]:
        """Return of each slot whether a user has it."""
        is_held = np.ones(len(self.keys), np.bool_)
        is_held[self._free] = False
        return is_held

    def _take_slots(self, keys: Sequence[bytes], state_bytes: int) -> Slots:
        """Return slots ``(n,)`` for keys, those that are free first, with room for recurrent states of that size."""
        left = max(0, len(self._free) - len(keys))
        self._free, again = self._free[:left], self._free[left:]
        begin = len(self.keys)
        self.keys += keys[len(again) :]
        self._make_room(len(self.keys), state_bytes)
        for slot, key in zip(again.tolist(), keys, strict=False):
            self.keys[slot] = key
        return np.concatenate((again, np.arange(begin, len(self.keys), dtype=np.int32)))

    def _enter_keys(self, keys: Sequence[bytes], slots: Slots) -> None:
        """Have keys found in their slots."""
        column = TextKeys.of(keys)
        most = self._long_end + len(column.data)
        if most > len(self._long_keys):
            self._long_keys = _longer(self._long_keys, GROWTH * len(self._long_keys) + len(column.data))
        if 2 * len(self) > len(self._table):
            self._move_table(len(self), np.ones(len(self.keys), np.bool_))
        found = self._table, self._long_keys, self._long_end
        self._long_end = enter_keys(np.frombuffer(column.data, np.uint8), column.spans, slots, *found)

    def _move_table(self, users: int, is_kept: npt.NDArray[np.bool_]) -> None:
        """Have a table for so many users, with the keys of those slots that are kept."""
        table = np.zeros((1 << (GROWTH * users).bit_length(), WORDS_A_ROW), np.uint64)
        long_keys = np.empty_like(self._long_keys)
        self._long_end = move_rows(is_kept.view(np.uint8), self._table, self._long_keys, table, long_keys)
        self._table, self._long_keys = table, long_keys

    def _make_room(self, slots: int, state_bytes: int = 0) -> None:
        """Make room for so many slots, and recurrent states of that size."""
        if state_bytes > self._states.shape[1]:
            wider = np.zeros((len(self._states), state_bytes), np.uint8)
            wider[:, : self._states.shape[1]] = self._states
            self._states = wider
        if slots <= len(self._heads):
            return
        size = max(GROWTH * len(self._heads), slots)
        size = max(size, self.expected) if size > MANY_SLOTS else size  # few are copied, and none again
        for name in ("_heads", "_rings", "_items", "_counters", "_states", "changed"):
            setattr(self, name, _longer(getattr(self, name), size))

    def _looked_at(self, records: Sequence[bytes | None]) -> tuple[Ints, Bytes, Ints]:
        """Return of each record the size of its recurrent state or ``REFUSED``, all bytes, and where each lies."""
        data, spans, sizes = b"".join(filter(None, records)), spans_of(records), np.empty(len(records), np.int64)
        buffer = np.frombuffer(data, np.uint8)
        look_at_records(buffer, spans, self.limit, sizes)
        return sizes, buffer, spans

    def _unpack(self, data: Bytes, spans: Ints, slots: Slots) -> None:
        users = self._heads, self._rings, self._items, self._counters, self._states
        unpack_records(data, spans, slots, *users)


def put_in_batch(states: PackedStates, first: int, at: int, limit: int, out: Bytes) -> tuple[int, int]:
    """Write states as records of a batch; see ``PutRecords``."""
    about = states.data, states.ends, first, at, limit, out
    row, end = put_records(np.frombuffer(states.key_data, np.uint8), states.key_ends, *about)
    return int(row), int(end)


def _longer(rows: npt.NDArray[S], size: int) -> npt.NDArray[S]:
    """Return the rows with room for ``size`` of them; what is in the new ones is not said."""
    longer = np.empty((size, *rows.shape[1:]), rows.dtype)
    longer[: len(rows)] = rows
    return longer
