"""The event table turned to users: each user's actions in a row, oldest first, items as rows of a catalogue.

::

    starts       0        3     5         one more than there are users
    item_rows    a  b  c  a  d  ...       -1 where the catalogue lacks the item

Actions of one moment stand in the order that a history would give them (``features/actions.py``), so that what trains
is what serves.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from rankstream.events.log import EventLog
from rankstream.features.actions import MAX_VALUE_CODE, VALUE_STEPS, ActionColumns, pack_action, value_code
from rankstream.features.embeddings.memory import Ints, ItemTable
from rankstream.features.ids import Id, Ids, Keys, id_keys
from rankstream.features.schema import Bools, Floats
from rankstream.features.sessions import SESSION_GAP_MS

TIME_BITS = 42


@dataclass(frozen=True)
class UserSequences:
    """All users' actions, by user, then time."""

    user_ids: Ids  # (users,)
    starts: Ints  # (users + 1,) where each user's actions start
    item_rows: Ints  # (n,) rows of the catalogue, -1 for unknown
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
        """Return the timelines without actions on unknown items; users stay, some of them without any action."""
        kept = np.flatnonzero(self.item_rows >= 0)
        counts = np.bincount(self.users[kept], minlength=self.num_users)
        return UserSequences(
            self.user_ids,
            np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            self.item_rows[kept],
            self.actions[kept],
            self.times_ms[kept],
            self.surfaces[kept],
            self.log_values[kept],
        )

    @cached_property
    def users(self) -> Ints:
        """Return the user of each action, ``(n,)``."""
        return np.repeat(np.arange(self.num_users), np.diff(self.starts))

    @cached_property
    def moments(self) -> Ints:
        """Return one sorted number an action, ``(n,)``: user, then time; for binary search over all users at once."""
        return self.users << TIME_BITS | self.times_ms

    @cached_property
    def again(self) -> Bools:
        """Return which actions are one more on the same item at the same moment, ``(n,)``: a like beside its click."""
        order = np.lexsort((self.item_rows, self.moments))  # stable: of equal ones the first stays first
        rows, moments = self.item_rows[order], self.moments[order]
        found = np.zeros(len(self), np.bool_)
        found[order[1:]] = (np.diff(rows) == 0) & (np.diff(moments) == 0)
        return found

    def first_after(self, rows: Ints, gap_ms: int = 0) -> Ints:
        """Return the first row of the same user later than ``gap_ms`` after each row; the next user's start if none."""
        latest = np.minimum(self.times_ms[rows] + gap_ms, (1 << TIME_BITS) - 1)
        return np.searchsorted(self.moments, self.users[rows] << TIME_BITS | latest, side="right").astype(np.int64)

    def session_starts(self, gap_ms: int = SESSION_GAP_MS) -> Ints:
        """Return rows at which a session starts: a user's first, and each after more than ``gap_ms`` without any."""
        fresh = np.ones(len(self), np.bool_)
        fresh[1:] = (np.diff(self.times_ms) > gap_ms) | (np.diff(self.users) > 0)
        return np.flatnonzero(fresh)


def keys_by_id(ids: Ids) -> Keys:
    """Return the key of each id, hashing every different one once."""
    different, which = np.unique(ids, return_inverse=True)
    return id_keys(different.tolist())[which]


def group_by_user(log: EventLog, item_table: ItemTable) -> UserSequences:
    """Turn a log to its users."""
    user_ids, users = np.unique(log.user_ids, return_inverse=True)
    keys = keys_by_id(log.item_ids)
    order = np.lexsort((keys, log.actions, log.times_ms, users))
    counts = np.bincount(users, minlength=len(user_ids))
    surfaces = np.zeros(len(log), np.int64) if log.surfaces is None else log.surfaces
    return UserSequences(
        user_ids=user_ids,
        starts=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        item_rows=item_table.rows_of(keys[order]),
        actions=log.actions[order],
        times_ms=log.times_ms[order],
        surfaces=surfaces[order],
        log_values=log_values_of(log)[order],
    )


def log_values_of(log: EventLog) -> Floats:
    """Return values as a history's 8-bit code brings them back."""
    if log.values is None:
        return np.zeros(len(log), np.float32)
    exact = np.log2(1.0 + np.nan_to_num(log.values, nan=0.0))
    steps = np.minimum(np.round(VALUE_STEPS * exact), MAX_VALUE_CODE - 1)
    return (steps / VALUE_STEPS).astype(np.float32)


def packed_actions(log: EventLog, items: Keys) -> list[bytes]:
    """Return each row of the log as the stream keeps it."""
    none = np.zeros(len(log), np.int64)
    surfaces = none if log.surfaces is None else log.surfaces
    values = none.tolist() if log.values is None else [_code(value) for value in log.values.tolist()]
    columns = (log.times_ms.tolist(), log.actions.tolist(), items.tolist(), surfaces.tolist(), values)
    return [pack_action(*row) for row in zip(*columns, strict=True)]


def _code(value: float) -> int:
    return value_code(None if np.isnan(value) else value)


def rows_by_user(log: EventLog) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
    """Go through the users, each with the rows of the log that are the user's, oldest first."""
    users, owner = np.unique(log.user_ids, return_inverse=True)
    order = np.argsort(owner, kind="stable")
    cuts = np.cumsum(np.bincount(owner, minlength=len(users)))[:-1]
    yield from zip(id_keys(users.tolist()).tolist(), np.split(order, cuts), strict=True)


def histories_of(log: EventLog, limit: int) -> Iterator[tuple[Id, ActionColumns]]:
    """Yield each user of a log with its newest actions, newest first, as the stream would hold them."""
    user_ids, users = np.unique(log.user_ids, return_inverse=True)
    keys = keys_by_id(log.item_ids)
    order = np.lexsort((keys, log.actions, log.times_ms, users))[::-1]  # users backwards, newest first
    surfaces = np.zeros(len(log), np.int64) if log.surfaces is None else log.surfaces
    whole = ActionColumns(
        keys[order], log.actions[order], log.times_ms[order], surfaces[order], log_values_of(log)[order]
    )
    start = 0
    counts = np.bincount(users, minlength=len(user_ids))
    for user in range(len(user_ids) - 1, -1, -1):
        newest = min(limit, int(counts[user]))
        yield user_ids[user : user + 1].tolist()[0], whole[start : start + newest]
        start += int(counts[user])
