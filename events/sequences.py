"""A log grouped by user: each user's actions one after the other, oldest first, items as rows of an item table.

::

    starts       0        3     5         one more than there are users
    item_rows    a  b  c  a  d  ...       -1 where the item table lacks the item

All of these are views of one grouping, ``EventLog.by_user``. Actions of one time are in the order that a history keeps
them in (``features/actions.py``), so that what trains is what serves.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from rankstream.events.log import EventLog, starts_of
from rankstream.features.actions import ACTION_BYTES, ActionColumns, log_values_of, pack_actions
from rankstream.features.embeddings.memory import Ints, ItemTable
from rankstream.features.ids import Id, Ids, id_keys
from rankstream.features.schema import Bools, Floats
from rankstream.features.sessions import SESSION_GAP_MS

TIME_BITS = 42


@dataclass(frozen=True)
class UserSequences:
    """All users' actions, by user, then time."""

    user_ids: Ids  # (users,)
    starts: Ints  # (users + 1,) where each user's actions start
    item_rows: Ints  # (n,) rows of the item table, -1 for unknown
    actions: Ints  # (n,) codes
    times_ms: Ints  # (n,)
    surfaces: Ints  # (n,) codes, 0 for none
    log_values: Floats  # (n,) log2(1 + value) as a history keeps it, 0 for none

    def __len__(self) -> int:
        return len(self.item_rows)

    @property
    def num_users(self) -> int:
        """How many users there are."""
        return len(self.user_ids)

    def known(self) -> "UserSequences":
        """Return the sequences without actions on unknown items; users stay, some of them without any action."""
        kept = np.flatnonzero(self.item_rows >= 0)
        counts = np.bincount(self.users[kept], minlength=self.num_users)
        return UserSequences(
            self.user_ids,
            starts_of(counts),
            self.item_rows[kept],
            self.actions[kept],
            self.times_ms[kept],
            self.surfaces[kept],
            self.log_values[kept],
        )

    def of_users(self, users: Ints) -> "UserSequences":
        """Return the sequences of these users alone, sorted; they become users 0, 1, ..."""
        rows = np.flatnonzero(np.isin(self.users, users))
        return UserSequences(
            self.user_ids[users],
            starts_of(np.diff(self.starts)[users]),
            self.item_rows[rows],
            self.actions[rows],
            self.times_ms[rows],
            self.surfaces[rows],
            self.log_values[rows],
        )

    @cached_property
    def users(self) -> Ints:
        """Return the user of each action, ``(n,)``."""
        return np.repeat(np.arange(self.num_users), np.diff(self.starts))

    @cached_property
    def user_times(self) -> Ints:
        """Return one sorted number an action, ``(n,)``: user, then time; for binary search over all users at once."""
        return self.users << TIME_BITS | self.times_ms

    @cached_property
    def again(self) -> Bools:
        """Return which actions are one more on the same item at the same time, ``(n,)``: a like beside its click."""
        same = np.diff(self.user_times) == 0
        found, tied = np.zeros((2, len(self)), np.bool_)
        tied[1:] |= same
        tied[:-1] |= same
        order = np.flatnonzero(tied)  # few; stably sorted: of equal ones the first stays first
        order = order[np.lexsort((self.item_rows[order], self.user_times[order]))]
        found[order[1:]] = (np.diff(self.item_rows[order]) == 0) & (np.diff(self.user_times[order]) == 0)
        return found

    def first_after(self, rows: Ints, gap_ms: int = 0) -> Ints:
        """Return the first row of the same user later than ``gap_ms`` after each row; the next user's start if none."""
        latest = np.minimum(self.times_ms[rows] + gap_ms, (1 << TIME_BITS) - 1)
        return np.searchsorted(self.user_times, self.users[rows] << TIME_BITS | latest, side="right").astype(np.int64)

    def session_starts(self, gap_ms: int = SESSION_GAP_MS) -> Ints:
        """Return rows at which a session starts: a user's first, and each after more than ``gap_ms`` without any."""
        fresh = np.ones(len(self), np.bool_)
        fresh[1:] = (np.diff(self.times_ms) > gap_ms) | (np.diff(self.users) > 0)
        return np.flatnonzero(fresh)


def group_by_user(log: EventLog, item_table: ItemTable) -> UserSequences:
    """Return a log's actions by user, its items as rows of this table."""
    grouped = log.by_user
    order = grouped.order
    return UserSequences(
        user_ids=grouped.user_ids,
        starts=grouped.starts,
        item_rows=item_table.rows_of(log.item_keys[order]),
        actions=log.actions[order],
        times_ms=log.times_ms[order],
        surfaces=log.surface_codes[order],
        log_values=log_values_of(log.value_codes[order]),
    )


def packed_actions(log: EventLog) -> npt.NDArray[np.void]:
    """Return the 16 bytes of each row of the log, as the stream keeps them, ``(n,)``; a list of them is of bytes."""
    packed = pack_actions(log.times_ms, log.actions, log.item_keys, log.surface_codes, log.value_codes)
    return np.frombuffer(packed, f"V{ACTION_BYTES}")


def rows_by_user(log: EventLog) -> Iterator[tuple[int, Ints]]:
    """Yield each user's key with the rows of the log that are the user's, oldest first."""
    grouped = log.by_user
    keys, starts = id_keys(grouped.user_ids.tolist()).tolist(), grouped.starts.tolist()
    for key, start, end in zip(keys, starts[:-1], starts[1:], strict=True):
        yield key, grouped.order[start:end]


def histories_of(log: EventLog, limit: int) -> Iterator[tuple[Id, ActionColumns]]:
    """Yield each user of a log with its newest actions, newest first, as the stream would hold them."""
    grouped = log.by_user
    order = grouped.order[::-1]  # users backwards, newest first
    whole = ActionColumns(
        log.item_keys[order],
        log.actions[order],
        log.times_ms[order],
        log.surface_codes[order],
        log_values_of(log.value_codes[order]),
    )
    counts = np.diff(grouped.starts).tolist()
    user_ids = grouped.user_ids.tolist()
    start = 0
    for user in range(len(user_ids) - 1, -1, -1):
        yield user_ids[user], whole[start : start + min(limit, counts[user])]
        start += counts[user]
