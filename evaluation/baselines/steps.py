"""From arrivals to the steps that baselines learn from, and what they know of each user, in bounded memory.

::

    arrivals, by time   u a 10:00   v b 10:00   u a 10:00   u c 10:01    ...
    steps of 10:00                  u a   v b                            learned when 10:01 arrives

What arrives at one time is put into an order of its own, and learned only when something later arrives: no baseline
knows what happened at the time of a query, and the order of a log's rows of one time makes no difference.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from rankstream.evaluation.baselines.base import (
    HISTORY_ITEMS,
    SESSION_ITEMS,
    ItemRows,
    Session,
    Step,
    UserItems,
)
from rankstream.events.arrivals import Arrivals, concatenated
from rankstream.features.sessions import SESSION_GAP_MS

NOBODY = UserItems()


@dataclass(slots=True, eq=False)
class _User:
    session: Session
    last_ms: int
    last_row: int | None = None  # of the session
    gaps: int = 0  # so far
    history: dict[int, int] = field(default_factory=dict)  # rows, oldest first, with the gaps before each


class EarlierArrivals:
    """Arrivals that are held back until something arrives at another time."""

    def __init__(self) -> None:
        self._waiting: list[Arrivals] = []  # of one time, the newest

    def arrive(self, arrivals: Arrivals) -> Iterator[Arrivals]:
        """Take arrivals, in order; yield those to whose time none can be added any more."""
        if not len(arrivals):
            return
        if self._waiting and (arrivals.arrived_ms == self._waiting[0].arrived_ms[0]).all():
            self._waiting.append(arrivals)  # of a log of dates, many come at one time
            return
        arrivals = concatenated([*self._waiting, arrivals])
        earlier = np.flatnonzero(arrivals.arrived_ms != arrivals.arrived_ms[-1])
        start = int(earlier[-1]) + 1 if len(earlier) else 0
        self._waiting = [arrivals.rows(slice(start, None))]
        if start:
            yield arrivals.rows(slice(0, start))

    def before(self, arrived_ms: int) -> Iterator[Arrivals]:
        """Yield what still waits, unless it arrived at this very time."""
        if self._waiting and int(self._waiting[0].arrived_ms[0]) != arrived_ms:
            waiting, self._waiting = concatenated(self._waiting), []
            yield waiting


@dataclass(frozen=True)
class Counted:
    """Which actions make a step; a mask has a bit ``code`` for each action of that code."""

    positives: int
    acts: int  # actions that users chose to do, unlike being shown an item


class Steps:
    """Users and their sessions, as far as they are known."""

    def __init__(self, counted: Counted, items: ItemRows, gap_ms: int = SESSION_GAP_MS) -> None:
        self.counted, self.items, self.gap_ms = counted, items, gap_ms
        self.taken = self.repeated = 0  # steps so far; those on an item of the user's history
        self._users: dict[bytes, _User] = {}
        self._sessions = 0
        self._earlier = EarlierArrivals()

    def arrive(self, arrivals: Arrivals) -> Iterator[Step]:
        """Take arrivals, in order; yield the steps of those to whose time none can be added any more."""
        for rows in self._earlier.arrive(arrivals):
            yield from self._take(rows)

    def before(self, arrived_ms: int) -> Iterator[Step]:
        """Yield the steps of what still waits, unless it arrived at this very time."""
        for rows in self._earlier.before(arrived_ms):
            yield from self._take(rows)

    def user(self, key: bytes, now_ms: int) -> UserItems:
        """Return what is known of a user as of a time."""
        user = self._users.get(key)
        if user is None:
            return NOBODY
        history = [*reversed(user.history)]
        in_session = sum(gaps == user.gaps for gaps in user.history.values())
        return UserItems(history, in_session, now_ms - user.last_ms <= self.gap_ms, user.session)

    def _take(self, arrivals: Arrivals) -> Iterator[Step]:
        users, items = arrivals.user_keys, arrivals.item_keys.tolist()
        times, codes = arrivals.times_ms.tolist(), np.asarray(arrivals.codes).tolist()
        acts, positives = self.counted.acts, self.counted.positives
        order = _settled(arrivals, users, times, items)
        names = [(items[row], times[row], users[row]) for row in order]  # the items first: they differ most
        actions, end = 0, len(order) - 1
        for at, (name, row) in enumerate(zip(names, order, strict=True)):
            actions |= 1 << codes[row]
            if at < end and names[at + 1] == name:
                continue
            if actions & acts:
                yield self._step(*name, bool(actions & positives))
            actions = 0

    def _step(self, item_key: int, at_ms: int, key: bytes, is_positive: bool) -> Step:
        row, user = self.items.row(item_key), self._users.get(key)
        if user is None:
            user = self._users[key] = _User(self._new_session(), at_ms)
        elif at_ms - user.last_ms > self.gap_ms or len(user.session.items) >= SESSION_ITEMS:
            if at_ms - user.last_ms > self.gap_ms:
                user.gaps, user.last_row = user.gaps + 1, None
            user.session = self._new_session()
        before, user.last_row = user.last_row, row
        user.last_ms = max(user.last_ms, at_ms)
        is_first = user.history.get(row) != user.gaps
        self.taken += 1
        if row in user.history:
            self.repeated += 1
            del user.history[row]
        elif len(user.history) >= HISTORY_ITEMS:
            del user.history[next(iter(user.history))]
        user.history[row] = user.gaps
        if is_first:
            user.session.items.append(row)
        return Step(row, at_ms, is_positive, user.session, is_first, before)

    def _new_session(self) -> Session:
        self._sessions += 1
        return Session(self._sessions - 1)


def _settled(arrivals: Arrivals, users: Sequence[bytes], times: Sequence[int], items: Sequence[int]) -> list[int]:
    """Return the rows as they arrived, those of one time of arrival by user, time and item."""
    later = np.diff(arrivals.arrived_ms) != 0
    if later.all():
        return list(range(len(arrivals)))
    moment = np.append(0, np.cumsum(later))
    names = list(zip(moment.tolist(), users, times, items, strict=True))
    return sorted(range(len(arrivals)), key=names.__getitem__)
