"""Evaluation protocols: at which times of a log to rank, which candidates, and what was relevant.

::

    arrivals    ->  exposures  (one user, one item, one time: all that was done then; ``exposures.py``)
    exposures   ->  queries    (a time at which the states are held; candidates and labels may still be to come)
    later ones  ->  queries complete: user, time, states, candidates, the actions on each

A protocol decides which exposures start a query and when it is complete; one of shown lists knows its queries, and what
followed on each item, beforehand. Nothing here knows rankers or metrics.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from xxhash import xxh3_64_intdigest

from rankstream.evaluation.baselines.panel import NOT_ASKED, Asked
from rankstream.evaluation.replay.exposures import Exposure
from rankstream.evaluation.replay.own_scores import PastAction
from rankstream.events.impressions import Acts, Impressions, followed_by
from rankstream.features.ids import Id, id_bytes
from rankstream.features.sessions import SESSION_GAP_MS
from rankstream.features.user_state import UserState
from rankstream.metrics.arrays import Ints


def bits(codes: Iterable[int]) -> int:
    """Return the mask of these action codes."""
    mask = 0
    for code in codes:
        mask |= 1 << code
    return mask


@dataclass
class Query:
    """One ranking to make: what each variant knew of the user then; candidates follow when it is complete."""

    exposure: Exposure  # the next one of the user; the query is made just before all that happened at its time
    states: Sequence[UserState] = ()  # one a variant, set by replay
    asked: Asked = NOT_ASKED  # the baselines' scores, as of then
    past: Sequence[PastAction] = ()  # the user's newest actions, where a function is to score by them
    is_new: bool = False  # the user had done nothing before the replayed part
    seen: frozenset[int] = frozenset()  # keys of the items that the user had seen, where that is remembered
    candidates: Sequence[Id] | None = None  # None: the catalogue; a target that it does not hold is a miss
    actions: Sequence[int] = ()  # masks, one a candidate; of the target alone where ``candidates`` is None
    target: Id | None = None  # the one relevant item, where there is one
    shown: bytes = b""  # the keys of the items of its list, where it is one that was shown

    @property
    def identity(self) -> int:
        """Return 64 bits that name the query, whatever the order of the log's rows: its user, time and item or list."""
        exposure = self.exposure
        name = exposure.at_ms.to_bytes(8, "big") + exposure.item_key.to_bytes(8, "big") + exposure.key
        return xxh3_64_intdigest(name + self.shown)

    @property
    def name(self) -> str:
        """Return the identity as people's files write it: 16 hexadecimal digits."""
        return f"{self.identity:016x}"

    def rng(self, seed: int, purpose: int) -> np.random.Generator:
        """Return the random numbers of one purpose: the same ones whichever other queries are ranked."""
        return np.random.default_rng([seed, purpose, self.identity])


class EvaluationProtocol(Protocol):
    """When to rank what: driven with the log's exposures, it hands back queries as they become complete."""

    @property
    def about(self) -> str:
        """Return in words what is ranked when."""
        ...

    def starts_query(self, exposure: Exposure) -> bool:
        """Take note of the next exposure; return whether a ranking could be made just before it."""
        ...

    def due(self, now_ms: int | None = None) -> Iterator[Query]:
        """Yield the queries up to this time, all if it is None, that no exposure starts; each of them once."""
        ...

    def add(self, query: Query) -> None:
        """Take a query that is due, or that the exposure has just started, if replay wants it ranked."""
        ...

    def complete(self, now_ms: int | None = None) -> Iterator[Query]:
        """Yield the queries that are complete by now; all that are pending if ``now_ms`` is None."""
        ...


class _BegunByExposures:
    """A protocol whose queries are all started by exposures."""

    def due(self, now_ms: int | None = None) -> Iterator[Query]:
        """Yield nothing."""
        yield from ()


class NextPositive(_BegunByExposures):
    """Just before each positive: the whole catalogue, or a sample of it, and the item that was then chosen."""

    def __init__(self, positives: int, among: str = "the whole catalogue") -> None:
        self.positives = positives
        self.about = f"just before each positive action, its item is ranked among {among}"
        self._complete: list[Query] = []
        self._last: dict[bytes, tuple[int, int]] = {}  # user -> (item, time): an exposure cut by a batch's end

    def starts_query(self, exposure: Exposure) -> bool:
        """Return whether the exposure holds a positive, and is no continuation."""
        before, name = self._last.get(exposure.key), (exposure.item_key, exposure.at_ms)
        self._last[exposure.key] = name
        return bool(exposure.actions & self.positives) and before != name

    def add(self, query: Query) -> None:
        """Take a query, which is complete at once."""
        query.actions, query.target = (query.exposure.actions,), query.exposure.item_id
        self._complete.append(query)

    def complete(self, now_ms: int | None = None) -> Iterator[Query]:
        """Yield them all."""
        complete, self._complete = self._complete, []
        yield from complete


@dataclass
class _Session:
    """The impressions of a user without a long gap, and the queries that wait for its end."""

    last_ms: int
    queries: list[Query] = field(default_factory=list)
    impressions: list[Exposure] = field(default_factory=list)

    def since(self, impression: Exposure) -> list[Exposure]:
        """Return what was shown with an impression, at its time, and after it."""
        first = self.impressions.index(impression)
        while first and self.impressions[first - 1].at_ms == impression.at_ms:
            first -= 1
        return self.impressions[first:]

    def items(self) -> dict[int, tuple[Id, int]]:
        """Return each item once: its key, its id, the actions on it in the whole session."""
        items: dict[int, tuple[Id, int]] = {}
        for one in self.impressions:
            item_id, actions = items.get(one.item_key, (one.item_id, 0))
            items[one.item_key] = (item_id, actions | one.actions)
        return items


class _OpenSessions:
    """Open sessions of all users, closed by a gap."""

    def __init__(self, gap_ms: int) -> None:
        self.gap_ms = gap_ms
        self.closed: list[_Session] = []
        self._open: dict[bytes, _Session] = {}

    def append(self, impression: Exposure) -> tuple[_Session, bool]:
        """Add an impression to its session; return that, and whether it is a new one."""
        session = self._open.get(impression.key)
        is_new = session is None or impression.at_ms - session.last_ms > self.gap_ms
        if session is None or is_new:
            if session is not None and session.queries:
                self.closed.append(session)
            self._open[impression.key] = session = _Session(impression.at_ms)
        session.last_ms = max(session.last_ms, impression.at_ms)
        session.impressions.append(impression)
        return session, is_new

    def close(self, now_ms: int | None) -> list[_Session]:
        """Return the sessions that nothing can be added to any more, by a clock that the log has reached."""
        over = [key for key, one in self._open.items() if now_ms is None or now_ms - one.last_ms > 2 * self.gap_ms]
        closed = self.closed + [session for key in over if (session := self._open.pop(key)).queries]
        self.closed = []
        return closed


class LoggedSession(_BegunByExposures):
    """The impressions of one session, clicked or not, ranked as of its beginning."""

    about = "when a session begins, the items that were shown in it are ranked: do the positives stand on top?"

    def __init__(self, gap_ms: int = SESSION_GAP_MS) -> None:
        self._sessions = _OpenSessions(gap_ms)
        self._newest: _Session | None = None

    def starts_query(self, exposure: Exposure) -> bool:
        """Return whether it begins a session."""
        self._newest, is_new = self._sessions.append(exposure)
        return is_new

    def add(self, query: Query) -> None:
        """Keep it until the session is over."""
        if self._newest is not None:
            self._newest.queries.append(query)

    def complete(self, now_ms: int | None = None) -> Iterator[Query]:
        """Yield one query a session that is over and showed two items or more."""
        for session in self._sessions.close(now_ms):
            items = list(session.items().values())
            if len(items) > 1:
                query = session.queries[0]
                query.candidates, query.actions = [item for item, _ in items], [actions for _, actions in items]
                yield query


class PositiveInSession(_BegunByExposures):
    """Just before each positive: its item among the non-clicked impressions of its time and the rest of its session."""

    about = (
        "just before each positive action, its item is ranked among the negatives that the session showed with it or "
        "after it"
    )

    def __init__(self, positives: int, gap_ms: int = SESSION_GAP_MS) -> None:
        self.positives = positives
        self._sessions = _OpenSessions(gap_ms)
        self._newest: _Session | None = None

    def starts_query(self, exposure: Exposure) -> bool:
        """Return whether it holds a positive, for the first time in its session."""
        self._newest, _ = self._sessions.append(exposure)
        before = self._newest.impressions[:-1]
        known = any(other.item_key == exposure.item_key and other.actions & self.positives for other in before)
        return bool(exposure.actions & self.positives) and not known

    def add(self, query: Query) -> None:
        """Keep it until the session is over."""
        if self._newest is not None:
            self._newest.queries.append(query)

    def complete(self, now_ms: int | None = None) -> Iterator[Query]:
        """Yield one query a positive of the sessions that are over, where there are negatives to rank it among."""
        for session in self._sessions.close(now_ms):
            negatives = {key: item for key, (item, actions) in session.items().items() if not actions & self.positives}
            for query in session.queries:
                target = query.exposure
                shown = session.since(target)
                others = {one.item_key: negatives[one.item_key] for one in shown if one.item_key in negatives}
                if others:
                    query.candidates, query.target = [target.item_id, *others.values()], target.item_id
                    query.actions = [target.actions] + [0] * len(others)
                    yield query


class ShownLists:
    """Each list that was shown, ranked as of then, by what was done to its items after it."""

    about = "when a list is shown, its items are ranked: do those stand on top that were then acted on positively?"

    def __init__(self, lists: Impressions, actions: Sequence[int]) -> None:
        """``actions`` are masks of what followed, one an item that was shown (``masks_of``)."""
        self._lists, self._actions = lists, actions
        self._next = 0
        self._complete: list[Query] = []

    def starts_query(self, exposure: Exposure) -> bool:
        """Return that none does."""
        return False

    def due(self, now_ms: int | None = None) -> Iterator[Query]:
        """Yield a query a list of two items or more."""
        lists = self._lists
        while self._next < len(lists) and (now_ms is None or lists.times_ms[self._next] <= now_ms):
            row, self._next = self._next, self._next + 1
            items = slice(int(lists.starts[row]), int(lists.starts[row + 1]))
            if items.stop - items.start > 1:
                yield self._query(row, items)

    def _query(self, row: int, items: slice) -> Query:
        lists = self._lists
        user_id, item_ids = lists.user_ids[row : row + 1].tolist()[0], lists.item_ids[items].tolist()
        keys = np.sort(lists.item_keys[items])
        at_ms, surface = int(lists.times_ms[row]), int(lists.surfaces[row])
        first = Exposure(0, id_bytes(user_id), user_id, item_ids[0], int(keys[0]), at_ms, 0, surface)
        return Query(first, candidates=item_ids, actions=self._actions[items], shown=keys.tobytes())

    def add(self, query: Query) -> None:
        """Take a query, which is complete at once."""
        self._complete.append(query)

    def complete(self, now_ms: int | None = None) -> Iterator[Query]:
        """Yield them all."""
        complete, self._complete = self._complete, []
        yield from complete


def masks_of(lists: Impressions, acts: Acts, codes: Ints, within_ms: int) -> list[int]:
    """Return the mask of the actions that followed on each shown item; ``codes`` ``(n,)`` are those of the acts."""
    masks = [0] * len(lists.item_ids)
    for row, acted in zip(*(rows.tolist() for rows in followed_by(lists, acts, within_ms)), strict=True):
        masks[row] |= 1 << int(codes[acted])
    return masks
