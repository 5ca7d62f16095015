r"""What all baselines share: the step that they learn from, what they are asked with, and the scores that they return.

::

    arrivals -> steps.Steps -> Step -> Learner.learn         what all users did, one item after the other
                           \-> UserItems -> Baseline.scores  what one user did, as of a query

Items are rows, numbered as they come: ``ItemRows``. A baseline scores the items that it knows something of; all others
have 0. It needs neither vectors nor a bundle, and knows nothing of candidates.
"""

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np

from rankstream.features.ids import Keys
from rankstream.metrics.arrays import Floats, Ints

RECENT_ITEMS = 10  # newest items of a session that neighbours are looked up by: VMIS-kNN gives older ones no weight
HISTORY_ITEMS = 100  # newest items of a user that are remembered, as serving does
MANY = 1_000  # keys, from which on they are looked up all at once
SESSION_ITEMS = 100  # distinct items of a session; a longer one goes on as a new one, so that memory is bounded


@dataclass(slots=True, eq=False)
class Session:
    """The items of one user without a long gap; it grows while it is open."""

    number: int  # sessions count from 0, in the order that they began
    items: "array[int]" = field(default_factory=lambda: array("q"))  # rows, each once, oldest first


class Step(NamedTuple):
    """One user acted on one item at one time, whatever the actions."""

    row: int  # of the item
    at_ms: int
    is_positive: bool
    session: Session  # the item is in it already
    is_first: bool  # is the item in the session for the first time?
    before: int | None  # row of the item that the user acted on just before it in the session


@dataclass(frozen=True, slots=True)
class UserItems:
    """What is known of a user as of one time."""

    history: Sequence[int] = ()  # rows, each once, newest first
    in_session: int = 0  # so many of them are of the open session, or of the last one if none is open
    is_open: bool = False
    session: Session | None = None  # that session: a user is no neighbour of itself

    @property
    def of_session(self) -> Sequence[int]:
        """Return the rows of the session, newest first."""
        return self.history[: self.in_session]

    @property
    def recent(self) -> Sequence[int]:
        """Return the rows of the session that neighbours are looked up by, newest first."""
        return self.history[: min(self.in_session, RECENT_ITEMS)]


@dataclass(frozen=True, slots=True)
class Scores:
    """A baseline's scores: the higher, the better; items that are not among ``rows`` have 0."""

    rows: Ints  # (n,) each once
    values: Floats  # (n,)

    def of(self, rows: Ints) -> Floats:
        """Return the scores of candidates ``(N,)``, of which unknown ones have the row -1."""
        last = int(self.rows.max(initial=-1))
        last = max(last, int(rows.max(initial=-1)))
        dense = np.zeros(last + 2)
        dense[self.rows] = self.values
        return dense[rows]


NOTHING = Scores(np.zeros(0, np.int64), np.zeros(0))


class Learner(Protocol):
    """What learns from the steps of all users: incremental, and the same however the arrivals are cut into batches."""

    def learn(self, step: Step) -> None:
        """Take note of what any user did."""
        ...


class Baseline(Protocol):
    """One baseline, which scores by what it, or the index that it is given, has learned."""

    @property
    def name(self) -> str:
        """Return the name that stands in tables."""
        ...

    @property
    def about(self) -> str:
        """Return in words what it ranks by, and its source."""
        ...

    def scores(self, user: UserItems, at_ms: int) -> Scores:
        """Return the scores for a user as of now; what is learned later does not change them."""
        ...


class ItemRows:
    """The items that have occurred, numbered from 0 as they came."""

    def __init__(self) -> None:
        self._rows: dict[int, int] = {}
        self._keys = array("Q")  # by row
        self._sorted = _SortedKeys(np.zeros(0, np.uint64), 0)  # most of them

    def __len__(self) -> int:
        return len(self._rows)

    def row(self, key: int) -> int:
        """Return the row of an item, a new one if it is new."""
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = len(self._rows)
            self._keys.append(key)
        return row

    def rows_of(self, keys: Keys) -> Ints:
        """Return the rows ``(n,)`` of item keys, -1 for those that have not occurred."""
        if len(keys) < MANY:
            return np.fromiter((self._rows.get(key, -1) for key in keys.tolist()), np.int64, len(keys))
        settled = len(self._sorted)
        if len(self) - settled > settled // 16:
            self._sorted = _SortedKeys(np.array(self._keys, np.uint64), 0)
            settled = len(self._sorted)
        newer = _SortedKeys(np.array(self._keys[settled:], np.uint64), settled)
        return np.maximum(self._sorted.rows_of(keys), newer.rows_of(keys))


class _SortedKeys:
    """Keys of consecutive rows, for looking up thousands at once: a dictionary takes ten times as long."""

    def __init__(self, keys: Keys, first_row: int) -> None:
        order = np.argsort(keys)
        self._keys, self._rows = keys[order], order + first_row

    def __len__(self) -> int:
        return len(self._keys)

    def rows_of(self, keys: Keys) -> Ints:
        if not len(self):
            return np.full(len(keys), -1, np.int64)
        at = np.minimum(np.searchsorted(self._keys, keys), len(self) - 1)
        return np.where(self._keys[at] == keys, self._rows[at], -1)


class Totals:
    """A number an item, 0 at first, in an array that grows with the items."""

    def __init__(self) -> None:
        self._values = array("d")

    def add(self, row: int, amount: float = 1.0) -> None:
        """Add to an item's number."""
        if row >= len(self._values):
            self._values.extend([0.0] * (row + 1 - len(self._values)))
        self._values[row] += amount

    def scale(self, factor: float) -> None:
        """Multiply all numbers."""
        self._values = array("d", [factor * value for value in self._values])

    def of(self, rows: Ints) -> Floats:
        """Return the numbers of items that occurred, ``(n,)``."""
        return np.frombuffer(self._values)[rows]

    def scores(self) -> Scores:
        """Return the numbers as they are now, as scores."""
        return Scores(np.arange(len(self._values)), np.array(self._values))


def items_of(sessions: Iterable[Session]) -> Ints:
    """Return the rows of all items of these sessions, one session after the other."""
    return np.frombuffer(b"".join([session.items for session in sessions]), np.int64)
