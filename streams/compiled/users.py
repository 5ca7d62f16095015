"""``UserCache`` over an arena: the same users to everyone above and below, most of them as slots instead of objects."""

from collections.abc import Sequence

import numpy as np

from rankstream.features.history import DEFAULT_LIMIT
from rankstream.features.stores.base import UserStore
from rankstream.features.stores.cache import Changes, UserCache
from rankstream.features.user_state import NEVER, UserState, unpack_state
from rankstream.streams.compiled.arena import Arena
from rankstream.streams.compiled.key_table import UNKNOWN

MANY_BETWEEN = 50_000  # users who come between two checkpoints; slots of many more are given back


class ArenaUsers(UserCache):
    """Users by slot; the few that a slot can't hold are where ``UserCache`` has them all."""

    def __init__(
        self, store: UserStore, limit: int = DEFAULT_LIMIT, max_cached: int = 50_000, forget_after_ms: int = NEVER
    ) -> None:
        super().__init__(store, limit, max_cached, forget_after_ms)
        self.arena = Arena(limit, forget_after_ms, expected=max_cached + MANY_BETWEEN)

    @property
    def num_changed(self) -> int:
        """How many users wait for the next checkpoint."""
        return self.arena.num_changed + len(self._changed)

    @property
    def num_cached(self) -> int:
        """How many users are in memory, changed or not."""
        return len(self.arena) + len(self._states)

    @property
    def has_objects(self) -> bool:
        """Whether there are users that no slot can hold."""
        return bool(self._states)

    def without_object(self, keys: Sequence[bytes]) -> list[bytes]:
        """Return those of the keys whose users are no objects in memory."""
        return super().not_loaded(keys)

    def load(self, keys: Sequence[bytes]) -> None:
        """Bring users into memory that are not there; each key once."""
        if not keys:
            return
        records = self.store.get_many(keys)
        for row in self.arena.enter(keys, records):
            record = records[row]
            assert record is not None  # nothing is what a slot can hold
            self._states[keys[row]] = unpack_state(record, self.limit)

    def get_many(self, keys: Sequence[bytes]) -> list[UserState]:
        """Return the states of these users, in order."""
        if not keys:
            return []
        missing = self.not_loaded(list(dict.fromkeys(keys)))
        if missing:
            self.load(missing)
        slots = self.arena.slots_of(keys)
        packed = self.arena.pack(slots[slots != UNKNOWN]).states()
        return [
            self._states[key] if slot == UNKNOWN else unpack_state(next(packed), self.limit)
            for key, slot in zip(keys, slots.tolist(), strict=True)
        ]

    def not_loaded(self, keys: Sequence[bytes]) -> list[bytes]:
        """Return those of the keys whose users are not in memory."""
        if not keys:
            return []
        unknown = np.flatnonzero(self.arena.slots_of(keys) == UNKNOWN).tolist()
        return super().not_loaded([keys[row] for row in unknown])

    def put(self, key: bytes, state: UserState) -> None:
        """Set one user's state; written at the next checkpoint."""
        if key in self._states:
            super().put(key, state)
            return
        self.get(key)
        (slot,) = self.arena.slots_of([key]).tolist()
        if slot == UNKNOWN:
            super().put(key, state)
        else:
            if not self.arena.set(slot, state.pack()):
                raise ValueError(f"user {key!r} has {len(state.history)} actions, and a slot room for {self.limit}")
            self.arena.mark_changed(slot)

    def take_changes(self, next_offset: int) -> Changes:
        """Take what changed since the last call; ``next_offset`` is the first source offset not in it."""
        packed, others = self.arena.take_changed(), super().take_changes(next_offset).records
        return Changes({**packed, **others} if others else packed, next_offset)

    def commit(self, changes: Changes) -> None:
        """Write changes and position to the store, atomically, and forget states that memory has no room for."""
        super().commit(changes)
        if self.num_cached <= self.max_cached:
            return
        self._states = dict(self._changed)
        if self.arena.num_slots > 2 * self.max_cached + MANY_BETWEEN:
            self.arena = self.arena.changed_alone()
        else:
            self.arena.forget(max(0, self.max_cached - len(self._states)))
