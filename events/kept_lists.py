"""The newest lists that users were shown, as compact columns, for whoever counts what came of them.

::

    list r1: user u, items a b, at 5    ->  a row of lists: keys of user and list, time, known, where its items end
                                            a row an item: its key
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from rankstream.events.impression_event import ImpressionEvent
from rankstream.events.impressions import NO_LIST, Impressions
from rankstream.features.ids import Keys, id_key, id_keys

Ints = npt.NDArray[np.int64]

MOST_ITEMS = 20_000_000  # of the newest lists, that are kept: 160 MB, and 40 B a list
TRIMMED_AT = 1.5  # times as many are kept before the oldest are forgotten


@dataclass(frozen=True)
class Lists:
    """Lists in the order that they arrived."""

    user_keys: Keys
    list_keys: Keys
    times_ms: Ints
    known_ms: Ints  # when it had both been shown and arrived
    sizes: Ints

    def taken(self, rows: Ints) -> Self:
        """Return these of them."""
        return type(self)(**{one.name: getattr(self, one.name)[rows] for one in fields(self)})


class KeptLists:
    """The newest lists that were read; one that came again is one, the first."""

    def __init__(self, most_items: int = MOST_ITEMS) -> None:
        self.most_items = most_items
        self.read = 0  # lists, kept or not
        self._lists = _lists_of([])
        self._items: Keys = np.zeros(0, np.uint64)
        self._parts: list[tuple[Lists, Keys]] = []
        self._waiting = 0  # items in the parts

    def feed(self, shown: Iterable[tuple[ImpressionEvent, int]]) -> None:
        """Take note of lists, each with when it arrived."""
        rows, items = [], list[int | str]()
        for one, arrived_ms in shown:
            each_once = dict.fromkeys(one.item_ids)
            items += each_once
            known_ms = max(one.timestamp_ms, arrived_ms)
            rows.append((id_key(one.user_id), id_key(one.list_id), one.timestamp_ms, known_ms, len(each_once)))
        if rows:
            self._take(_lists_of(rows), id_keys(items))

    def newest_before(self, at_ms: int) -> int:
        """Return when the last of all that was known before a time was; -1 for nothing."""
        self._join()
        known = self._lists.known_ms
        return int(known[known < at_ms].max(initial=-1))

    def add(self, shown: Impressions) -> None:
        """Take note of the lists of a log, which were known when they were shown."""
        if len(shown):
            lists = Lists(shown.user_keys, shown.list_keys, shown.times_ms, shown.times_ms, np.diff(shown.starts))
            self._take(lists, shown.item_keys)

    def before(self, at_ms: int) -> Impressions:
        """Return what is kept of all that was known before a time, users and items by their keys."""
        self._join()
        lists = self._lists
        rows = np.flatnonzero(lists.known_ms < at_ms)
        rows = rows[np.lexsort((lists.list_keys[rows], lists.user_keys[rows], lists.times_ms[rows]))]
        rows = rows[_first_of_each(lists.user_keys[rows], lists.list_keys[rows])]
        found, items = lists.taken(rows), self._items[_rows_of(lists.sizes, rows)]
        starts = np.append(0, np.cumsum(found.sizes)).astype(np.int64)
        return Impressions(
            user_ids=found.user_keys,
            times_ms=found.times_ms,
            list_keys=found.list_keys,
            surfaces=np.zeros(len(rows), np.int64),
            starts=starts,
            item_ids=items,
            positions=np.arange(len(items)) - np.repeat(starts[:-1], found.sizes),
            shown_ms=np.repeat(found.times_ms, found.sizes),
        )

    def _take(self, lists: Lists, items: Keys) -> None:
        self.read += len(lists.sizes)
        self._parts.append((lists, items))
        self._waiting += len(items)
        if len(self._items) + self._waiting >= TRIMMED_AT * self.most_items:
            self._join()
            self._keep(_newest(self._lists, self.most_items))

    def _join(self) -> None:
        """Make the parts one with what is kept."""
        if self._parts:
            parts, items = zip(*self._parts, strict=True)
            whole: dict[str, Any] = {
                one.name: np.concatenate([getattr(part, one.name) for part in (self._lists, *parts)])
                for one in fields(Lists)
            }
            self._lists, self._items = Lists(**whole), np.concatenate([self._items, *items])
            self._parts, self._waiting = [], 0

    def _keep(self, rows: Ints) -> None:
        self._items = self._items[_rows_of(self._lists.sizes, rows)]
        self._lists = self._lists.taken(rows)


def _lists_of(rows: list[tuple[int, int, int, int, int]]) -> Lists:
    users, lists, times, known, sizes = zip(*rows, strict=True) if rows else ((),) * 5
    return Lists(
        np.array(users, np.uint64),
        np.array(lists, np.uint64),
        np.array(times, np.int64),
        np.array(known, np.int64),
        np.array(sizes, np.int64),
    )


def _newest(lists: Lists, most_items: int) -> Ints:
    """Return the rows of those that were known last, with so many items together, in their order."""
    order = np.argsort(-lists.known_ms, kind="stable")
    kept: Ints = np.sort(order[np.cumsum(lists.sizes[order]) <= most_items])
    return kept


def _first_of_each(users: Keys, lists: Keys) -> npt.NDArray[np.bool_]:
    """Return which rows are the first one of their user and list; those without a list's id all are."""
    order = np.lexsort((np.arange(len(users)), users, lists))
    first = np.ones(len(order), np.bool_)
    first[order[1:]] = (users[order[1:]] != users[order[:-1]]) | (lists[order[1:]] != lists[order[:-1]])
    found: npt.NDArray[np.bool_] = first | (lists == NO_LIST)
    return found


def _rows_of(sizes: Ints, lists: Ints) -> Ints:
    """Return the rows of the items of these lists, list by list."""
    starts, counts = np.cumsum(sizes)[lists] - sizes[lists], sizes[lists]
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    found: Ints = np.repeat(starts, counts) + within
    return found
