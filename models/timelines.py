"""The event table turned to users: each user's actions in a row, oldest first, items as rows of a catalogue.

::

    starts       0        3     5         one more than there are users
    item_rows    a  b  c  a  d  ...       -1 where the catalogue lacks the item

Actions of one moment stand in the order that a history would give them (``features/actions.py``), so that what trains
is what serves.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from features.actions import MAX_VALUE_CODE, VALUE_STEPS
from features.ids import Keys, id_keys
from features.schema import Bools, Floats
from features.sessions import SESSION_GAP_MS
from models.datasets.base import EventLog, Ids

Ints = npt.NDArray[np.int64]
TIME_BITS = 42


@dataclass(frozen=True)
class Timelines:
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

    def known(self) -> "Timelines":
        """Give the timelines without actions on unknown items; users stay, some of them without any action."""
        kept = np.flatnonzero(self.item_rows >= 0)
        counts = np.bincount(self.users[kept], minlength=self.num_users)
        return Timelines(
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
        """Give the user of each action, ``(n,)``."""
        return np.repeat(np.arange(self.num_users), np.diff(self.starts))

    @cached_property
    def moments(self) -> Ints:
        """Give one sorted number an action, ``(n,)``: user, then time; for binary search over all users at once."""
        return self.users << TIME_BITS | self.times_ms

    @cached_property
    def again(self) -> Bools:
        """Say which actions are one more on the same item at the same moment, ``(n,)``: a like beside its click."""
        order = np.lexsort((self.item_rows, self.moments))  # stable: of equal ones the first stays first
        rows, moments = self.item_rows[order], self.moments[order]
        found = np.zeros(len(self), np.bool_)
        found[order[1:]] = (np.diff(rows) == 0) & (np.diff(moments) == 0)
        return found

    def first_after(self, rows: Ints, gap_ms: int = 0) -> Ints:
        """Give the first row of the same user later than ``gap_ms`` after each row; the next user's start if none."""
        latest = np.minimum(self.times_ms[rows] + gap_ms, (1 << TIME_BITS) - 1)
        return np.searchsorted(self.moments, self.users[rows] << TIME_BITS | latest, side="right").astype(np.int64)

    def session_starts(self, gap_ms: int = SESSION_GAP_MS) -> Ints:
        """Give the rows at which a session starts: a user's first, and each after more than ``gap_ms`` without any."""
        fresh = np.ones(len(self), np.bool_)
        fresh[1:] = (np.diff(self.times_ms) > gap_ms) | (np.diff(self.users) > 0)
        return np.flatnonzero(fresh)


@dataclass(frozen=True)
class Catalogue:
    """The items that have a vector."""

    ids: Ids  # (items,)
    vectors: Floats  # (items, I)

    def __post_init__(self) -> None:
        if len(self.ids) != len(self.vectors):
            raise ValueError(f"{len(self.ids)} items with {len(self.vectors)} vectors; wanted a vector an item")

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def padded(self) -> Floats:
        """Give the vectors and one row of zeros behind them, ``(items + 1, I)``: row -1 is an unknown item's."""
        return np.concatenate([self.vectors, np.zeros((1, self.dim), np.float32)])

    @property
    def dim(self) -> int:
        """Width of a vector."""
        return int(self.vectors.shape[1])

    @cached_property
    def _sorted(self) -> tuple[Keys, Ints]:
        keys = id_keys(self.ids.tolist())
        order = np.argsort(keys)
        return keys[order], order

    def rows_of(self, keys: Keys) -> Ints:
        """Give the row of each key, -1 where the catalogue lacks it."""
        held, order = self._sorted
        if not len(held):
            return np.full(len(keys), -1, np.int64)
        places = np.minimum(np.searchsorted(held, keys), len(held) - 1)
        return np.where(held[places] == keys, order[places], -1)

    def look_up(self, keys: Keys) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """Give vectors and whether each key is known: a ``VectorTable`` in memory."""
        rows = self.rows_of(keys)
        found = rows >= 0
        vectors = np.zeros((len(keys), self.dim), np.float32)
        vectors[found] = self.vectors[rows[found]]
        return vectors, found


def keys_by_id(ids: Ids) -> Keys:
    """Give the key of each id, hashing every different one once."""
    different, which = np.unique(ids, return_inverse=True)
    return id_keys(different.tolist())[which]


def timelines_of(log: EventLog, catalogue: Catalogue) -> Timelines:
    """Turn a log to its users."""
    user_ids, users = np.unique(log.user_ids, return_inverse=True)
    keys = keys_by_id(log.item_ids)
    order = np.lexsort((keys, log.actions, log.times_ms, users))
    counts = np.bincount(users, minlength=len(user_ids))
    surfaces = np.zeros(len(log), np.int64) if log.surfaces is None else log.surfaces
    return Timelines(
        user_ids=user_ids,
        starts=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        item_rows=catalogue.rows_of(keys[order]),
        actions=log.actions[order],
        times_ms=log.times_ms[order],
        surfaces=surfaces[order],
        log_values=log_values_of(log)[order],
    )


def log_values_of(log: EventLog) -> Floats:
    """Give values as a history's 8-bit code brings them back."""
    if log.values is None:
        return np.zeros(len(log), np.float32)
    exact = np.log2(1.0 + np.nan_to_num(log.values, nan=0.0))
    steps = np.minimum(np.round(VALUE_STEPS * exact), MAX_VALUE_CODE - 1)
    return (steps / VALUE_STEPS).astype(np.float32)
