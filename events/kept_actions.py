"""The newest actions of a log as compact columns, for whoever counts anew what had happened and arrived before a time.

::

    Arrivals, as they come  ->  38 bytes an action  ->  EventLog of what was known before a time, erased users left out

An action is known when it has happened and its record has arrived. What was known before a time is the same however the
records came in: in which order of partitions, in which batches, before or after later ones.
"""

from dataclasses import dataclass, fields
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from rankstream.events.arrivals import Arrivals
from rankstream.events.ids import plain_ids
from rankstream.events.impressions import Impressions, list_keys_of
from rankstream.events.log import EventLog
from rankstream.features.actions import Vocabulary
from rankstream.features.ids import Id, Keys

Ints = npt.NDArray[np.int64]

MAX_KEPT = 5_000_000  # newest actions that are counted: 190 MB, and about half a minute each time
SLACK, TRIMMED_AT = 1.25, 1.5  # times as many are kept, as a boundary lies behind what is read, and before they are cut
NEVER_MS = -1


class Shown(Protocol):
    """What users were shown; ``Impressions`` are, and ``KeptLists``."""

    def before(self, at_ms: int) -> Impressions:
        """Return the lists of before a time."""
        ...


@dataclass(frozen=True)
class Columns:
    """Actions in the order that they arrived; 38 bytes each."""

    users: npt.NDArray[np.int32]  # numbers, in the order of their first action
    item_keys: Keys
    codes: npt.NDArray[np.uint16]
    times_ms: Ints
    known_ms: Ints  # when it had both happened and arrived
    list_keys: Keys  # of the shown list that each names

    def __len__(self) -> int:
        return len(self.users)

    @classmethod
    def of_nothing(cls) -> Self:
        """Return no action."""
        times, keys = np.zeros(0, np.int64), np.zeros(0, np.uint64)
        return cls(np.zeros(0, np.int32), keys, np.zeros(0, np.uint16), times, times, keys)

    def taken(self, rows: Ints | npt.NDArray[np.bool_]) -> Self:
        """Return these rows."""
        columns: dict[str, Any] = {one.name: getattr(self, one.name)[rows] for one in fields(self)}
        return type(self)(**columns)


@dataclass(frozen=True)
class Erasure:
    """A user is forgotten: what was done until a time, from when that is known on."""

    user: int
    until_ms: int
    known_ms: int


class KeptActions:
    """The newest actions that were read; ``shown`` is what the log says of that."""

    def __init__(self, vocabulary: Vocabulary, shown: Shown | None = None, most: int = MAX_KEPT) -> None:
        self.vocabulary, self.shown, self.most = vocabulary, shown, most
        self.read = 0  # actions, kept or not
        self._users: dict[bytes, int] = {}
        self._ids: list[Id] = []
        self._parts = [Columns.of_nothing()]
        self._kept = 0
        self._erasures: list[Erasure] = []

    def feed(self, arrivals: Arrivals) -> None:
        """Take note of actions, and of erasures, as they arrive."""
        if not len(arrivals):
            return
        users = np.array([self._number(*one) for one in zip(arrivals.user_keys, arrivals.user_ids, strict=True)])
        known = np.maximum(arrivals.times_ms, arrivals.arrived_ms)
        erases = arrivals.erasures
        for row in np.flatnonzero(erases).tolist():
            self._erasures.append(Erasure(int(users[row]), int(arrivals.times_ms[row]), int(known[row])))
        columns = Columns(
            users.astype(np.int32),
            arrivals.item_keys,
            arrivals.codes.astype(np.uint16),
            arrivals.times_ms,
            known,
            list_keys_of(arrivals),
        )
        columns = columns.taken(~erases) if erases.any() else columns
        self._parts.append(columns)
        self.read += len(columns)
        self._kept += len(columns)
        if self._kept >= TRIMMED_AT * self.most:
            self._parts = [_newest(self._joined(), int(SLACK * self.most))]
            self._kept = len(self._parts[0])

    def before(self, at_ms: int) -> EventLog:
        """Return the newest of all that was known before a time; items by their keys.

        Without lists that were shown users are numbers, in the order of their ids: strings take long to sort.
        """
        kept = self._joined()
        known = np.flatnonzero(kept.known_ms < at_ms)
        log = _newest(kept if len(known) == len(kept) else kept.taken(known), self.most)
        is_cut = self._kept < self.read or len(log) < len(known)
        since_ms = int(log.times_ms.min()) if is_cut else None
        forgotten = self._forgotten_before(at_ms)
        if forgotten is not None:
            log = log.taken(log.times_ms > forgotten[log.users])
        log = log.taken(np.argsort(log.times_ms, kind="stable"))
        present, users = np.unique(log.users, return_inverse=True)
        ids = plain_ids([self._ids[number] for number in present.tolist()])
        if self.shown is None:
            ranks = np.empty(len(ids), np.int64)
            ranks[np.argsort(ids, kind="stable")] = np.arange(len(ids))
            ids = ranks
        return EventLog(
            self.vocabulary,
            ids[users],
            log.item_keys,
            log.codes.astype(np.int64),
            log.times_ms,
            list_keys=log.list_keys,
            impressions=None if self.shown is None else self._shown_before(self.shown, at_ms, since_ms),
        )

    def newest_before(self, at_ms: int) -> int:
        """Return when the last of all that was known before a time, erasures too, was; ``NEVER_MS`` for nothing."""
        known = self._joined().known_ms
        erasures = [one.known_ms for one in self._erasures if one.known_ms < at_ms]
        return max(int(known[known < at_ms].max(initial=NEVER_MS)), *erasures, NEVER_MS)

    def _shown_before(self, shown: Shown, at_ms: int, since_ms: int | None) -> Impressions:
        """Return the lists until a time; not those whose actions are gone, which would seem to be left alone."""
        lists = shown.before(at_ms)
        if since_ms is not None:
            lists = lists.split_at(since_ms)[1]
        erased = {self._ids[one.user]: one.until_ms for one in self._erasures if one.known_ms < at_ms}
        return lists.without_erased(erased) if erased else lists

    def _forgotten_before(self, at_ms: int) -> Ints | None:
        """Return until when each user's actions are forgotten, ``(users,)``; None where nobody is."""
        known = [one for one in self._erasures if one.known_ms < at_ms]
        if not known:
            return None
        until = np.full(len(self._ids), NEVER_MS, np.int64)
        np.maximum.at(until, [one.user for one in known], [one.until_ms for one in known])
        return until

    def _joined(self) -> Columns:
        """Return all that is kept as one."""
        if len(self._parts) > 1:
            whole: dict[str, Any] = {
                one.name: np.concatenate([getattr(part, one.name) for part in self._parts]) for one in fields(Columns)
            }
            self._parts = [Columns(**whole)]
        return self._parts[0]

    def _number(self, key: bytes, user_id: Id) -> int:
        number = self._users.setdefault(key, len(self._ids))
        if number == len(self._ids):
            self._ids.append(user_id)
        return number


def _newest(columns: Columns, most: int) -> Columns:
    """Return those that were known last, so many, and all that were known as early as the first of these."""
    if len(columns) <= most:
        return columns
    first = len(columns) - most
    return columns.taken(columns.known_ms >= np.partition(columns.known_ms, first)[first])
