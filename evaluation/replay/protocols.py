"""Points: the moments of a log at which replay asks for a ranking, and what the user then did.

::

    arrivals ->  exposures  (one user, one item, one time: all that was done then)
    exposures -> drafts     (a moment at which the states are held still; its candidates may still be to come)
    drafts ->    points     (user, moment, states, candidates, what was done to each)

A protocol decides which exposures begin a draft and when it is a point. Nothing here knows rankers or metrics.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from rankstream.events.arrivals import Arrivals
from rankstream.features.ids import Id
from rankstream.features.sessions import SESSION_GAP_MS
from rankstream.features.user_state import UserState


@dataclass(slots=True, eq=False)
class Exposure:
    """What one user did to one item at one time; a set bit ``code`` of ``done`` is an action of that code."""

    row: int  # of the arrivals: the first one of it
    key: bytes
    user_id: Id
    item_id: Id
    item_key: int
    at_ms: int
    done: int


def exposures(arrivals: Arrivals) -> list[Exposure]:
    """Return the exposures of a batch in the order that they began."""
    found: dict[tuple[bytes, int, int], Exposure] = {}
    rows = zip(
        arrivals.user_keys,
        arrivals.item_keys.tolist(),
        arrivals.times_ms.tolist(),
        np.asarray(arrivals.codes).tolist(),
        strict=True,
    )
    for row, (key, item_key, at_ms, code) in enumerate(rows):
        name = (key, item_key, at_ms)
        one = found.get(name)
        if one is None:
            user_id, item_id = arrivals.user_ids[row], arrivals.item_ids[row]
            found[name] = Exposure(row, key, user_id, item_id, item_key, at_ms, 1 << code)
        else:
            one.done |= 1 << code
    return list(found.values())


def bits(codes: Iterable[int]) -> int:
    """Return the mask of these action codes."""
    mask = 0
    for code in codes:
        mask |= 1 << code
    return mask


@dataclass
class Draft:
    """A moment held still: what was known of the user then, in every lane."""

    exposure: Exposure  # that came next
    states: Sequence[UserState] = ()  # one a timeline, set by replay
    popular: Mapping[int, int] = field(default_factory=dict)  # item key -> positives, as it was then
    is_new: bool = False  # the user had done nothing before the replayed part
    met: frozenset[int] = frozenset()  # keys of the items that the user had met, where that is remembered


@dataclass
class Point:
    """What is to be ranked, and what came of it."""

    draft: Draft
    candidates: Sequence[Id] | None  # None: the catalogue, and the target whether it is known or not
    done: Sequence[int]  # masks, one a candidate; of the target alone where ``candidates`` is None
    target: Id | None = None  # the one item that was wanted, where there is one


class Asks(Protocol):
    """A protocol of evaluation."""

    @property
    def about(self) -> str:
        """Say in words what is ranked when."""
        ...

    def begins(self, one: Exposure) -> bool:
        """Take note of the next exposure; say whether a ranking could be asked for just before it."""
        ...

    def take(self, draft: Draft) -> None:
        """Be handed the draft of the exposure that began one."""
        ...

    def ready(self, now_ms: int | None = None) -> Iterator[Point]:
        """Return what is complete by now; all that is left if ``now_ms`` is None."""
        ...


class NextPositive:
    """Just before each positive: the whole catalogue, or a sample of it, and the item that was then chosen."""

    def __init__(self, positives: int, among: str = "the whole catalogue") -> None:
        self.positives = positives
        self.about = f"just before a positive action, its item is ranked among {among}: where did it stand?"
        self._ready: list[Point] = []
        self._last: dict[bytes, tuple[int, int]] = {}  # user -> (item, time): an exposure cut by a batch's end

    def begins(self, one: Exposure) -> bool:
        """Return whether the exposure holds a positive, and is no continuation."""
        before, name = self._last.get(one.key), (one.item_key, one.at_ms)
        self._last[one.key] = name
        return bool(one.done & self.positives) and before != name

    def take(self, draft: Draft) -> None:
        """Make a point of it at once."""
        one = draft.exposure
        self._ready.append(Point(draft, None, (one.done,), one.item_id))

    def ready(self, now_ms: int | None = None) -> Iterator[Point]:
        """Yield them all."""
        ready, self._ready = self._ready, []
        yield from ready


@dataclass
class _Visit:
    """The exposures of a user without a long gap."""

    last_ms: int
    drafts: list[Draft] = field(default_factory=list)
    exposures: list[Exposure] = field(default_factory=list)

    def shown(self) -> dict[int, tuple[Id, int]]:
        """Return each item once: its key, its id, what was done to it in the whole visit."""
        items: dict[int, tuple[Id, int]] = {}
        for one in self.exposures:
            item_id, done = items.get(one.item_key, (one.item_id, 0))
            items[one.item_key] = (item_id, done | one.done)
        return items


class _Visits:
    """Open visits of all users, closed by a gap."""

    def __init__(self, gap_ms: int) -> None:
        self.gap_ms = gap_ms
        self.closed: list[_Visit] = []
        self._open: dict[bytes, _Visit] = {}

    def next(self, one: Exposure) -> tuple[_Visit, bool]:
        """Add the exposure to its visit; give that, and whether it is a new one."""
        visit = self._open.get(one.key)
        is_new = visit is None or one.at_ms - visit.last_ms > self.gap_ms
        if visit is None or is_new:
            if visit is not None and visit.drafts:
                self.closed.append(visit)
            self._open[one.key] = visit = _Visit(one.at_ms)
        visit.last_ms = max(visit.last_ms, one.at_ms)
        visit.exposures.append(one)
        return visit, is_new

    def close(self, now_ms: int | None) -> list[_Visit]:
        """Return the visits that nothing can be added to any more, by a clock that the log has reached."""
        over = [key for key, visit in self._open.items() if now_ms is None or now_ms - visit.last_ms > 2 * self.gap_ms]
        closed = self.closed + [visit for key in over if (visit := self._open.pop(key)).drafts]
        self.closed = []
        return closed


class Logged:
    """What was shown in one visit, ranked as of its beginning: the logged impressions, clicked or not."""

    about = "when a visit begins, the items that were shown in it are ranked: did those that were wanted stand above?"

    def __init__(self, gap_ms: int = SESSION_GAP_MS) -> None:
        self._visits = _Visits(gap_ms)
        self._newest: _Visit | None = None

    def begins(self, one: Exposure) -> bool:
        """Return whether it begins a visit."""
        self._newest, is_new = self._visits.next(one)
        return is_new

    def take(self, draft: Draft) -> None:
        """Keep it until the visit is over."""
        if self._newest is not None:
            self._newest.drafts.append(draft)

    def ready(self, now_ms: int | None = None) -> Iterator[Point]:
        """Yield visits that are over, of two items or more."""
        for visit in self._visits.close(now_ms):
            shown = list(visit.shown().values())
            if len(shown) > 1:
                yield Point(visit.drafts[0], [item for item, _ in shown], [done for _, done in shown])


class Slate:
    """Just before each positive: its item among those that the same visit showed from then on, and did not sell."""

    about = "just before a positive action, its item is ranked among those that the rest of the visit showed in vain"

    def __init__(self, positives: int, gap_ms: int = SESSION_GAP_MS) -> None:
        self.positives = positives
        self._visits = _Visits(gap_ms)
        self._newest: _Visit | None = None

    def begins(self, one: Exposure) -> bool:
        """Return whether it holds a positive, for the first time in its visit."""
        self._newest, _ = self._visits.next(one)
        before = self._newest.exposures[:-1]
        known = any(other.item_key == one.item_key and other.done & self.positives for other in before)
        return bool(one.done & self.positives) and not known

    def take(self, draft: Draft) -> None:
        """Keep it until the visit is over."""
        if self._newest is not None:
            self._newest.drafts.append(draft)

    def ready(self, now_ms: int | None = None) -> Iterator[Point]:
        """Yield a point a positive of the visits that are over, where there is something to rank it among."""
        for visit in self._visits.close(now_ms):
            in_vain = {key: item for key, (item, done) in visit.shown().items() if not done & self.positives}
            for draft in visit.drafts:
                target = draft.exposure
                after = visit.exposures[visit.exposures.index(target) + 1 :]
                others = {one.item_key: in_vain[one.item_key] for one in after if one.item_key in in_vain}
                if others:
                    items = [target.item_id, *others.values()]
                    yield Point(draft, items, [target.done] + [0] * len(others), target.item_id)
