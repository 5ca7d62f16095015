"""The users of one partition as the stream works on them: states in memory, a store below.

Changed users wait here for the partition's checkpoint; readers see them at once. A checkpoint takes the
changes (``take_changes``), waits for what must be durable first, and writes them (``commit``); meanwhile new changes
gather for the next one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rankstream.features.history import DEFAULT_LIMIT, History
from rankstream.features.stores.base import UserStore
from rankstream.features.user_state import NEVER, UserState, unpack_state


@dataclass(frozen=True)
class Changes:
    """Records to be written at one position; the unit of a checkpoint."""

    records: Mapping[bytes, bytes]
    next_offset: int | None  # None: they are a part of a set, and the position comes with the rest


class UserCache:
    """States by user key (``ids.id_bytes``), write-behind; not for use by several threads at once."""

    def __init__(
        self, store: UserStore, limit: int = DEFAULT_LIMIT, max_cached: int = 50_000, forget_after_ms: int = NEVER
    ) -> None:
        self.store = store
        self.limit = limit  # actions of a history
        self.max_cached = max_cached  # states held after a checkpoint
        self.forget_after_ms = forget_after_ms  # without an action; ``NEVER``: nobody is forgotten for that
        self._unknown_user = UserState(History(b"", limit))
        self._states: dict[bytes, UserState] = {}
        self._changed: dict[bytes, UserState] = {}

    @property
    def num_changed(self) -> int:
        """How many users wait for the next checkpoint."""
        return len(self._changed)

    @property
    def num_cached(self) -> int:
        """How many users are in memory, changed or not."""
        return len(self._states)

    def get(self, key: bytes) -> UserState:
        """Return one user's state, an empty one for an unknown user."""
        return self.get_many([key])[0]

    def get_many(self, keys: Sequence[bytes]) -> list[UserState]:
        """Return the states of these users, in order."""
        states = self._states
        missing = self.not_loaded(keys)
        if missing:
            for key, record in zip(missing, self.store.get_many(missing), strict=True):
                states[key] = self._unknown_user if record is None else unpack_state(record, self.limit)
        return [states[key] for key in keys]

    def not_loaded(self, keys: Sequence[bytes]) -> list[bytes]:
        """Return those of the keys whose users are not in memory: they are new, or have not been seen for long."""
        states = self._states
        return [key for key in keys if key not in states]

    def put(self, key: bytes, state: UserState) -> None:
        """Set one user's state; written at the next checkpoint."""
        self._states[key] = state
        self._changed[key] = state

    def take_changes(self, next_offset: int) -> Changes:
        """Take what changed since the last call; ``next_offset`` is the first source offset not in it."""
        changed, self._changed = self._changed, {}
        return Changes({key: state.pack() for key, state in changed.items()}, next_offset)

    def commit(self, changes: Changes) -> None:
        """Write changes and position to the store, atomically, and forget states that memory has no room for."""
        self.store.write(changes.records, changes.next_offset)
        if len(self._states) > self.max_cached:
            self._states = dict(self._changed)
