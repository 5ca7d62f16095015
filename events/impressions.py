"""What users were shown, as lists: one page, or the answer to one request. Impressions are no actions.

::

    user  item  time  list  position        lists
    u     a     1:00  r1    1               u 1:00  a b      r1: its rows are one list, whatever their times
    u     b     1:01  r1    2
    u     c     1:05        1               u 1:05  c d      without a list id: those of one user and one time
    u     d     1:05        2

They say what there was to choose from, and chose it for the user: histories, sessions, item vectors, popularity and
baselines never see them. Rankers are trained on lists, and replay ranks them; ``followed_by`` says which of a list was
acted on.

Rows without a list id are lists by user and surface: those of one time, where most of them came several at one time;
else those with no pause longer than that of a session, and positions that rise. Feeds that were served become rows in
``readers/shown_lists.py``.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from rankstream.events.arrivals import Arrivals
from rankstream.events.ids import IdColumn
from rankstream.features.ids import Id, Ids, Keys, id_key
from rankstream.features.sessions import SESSION_GAP_MS

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

WITHIN_MS = SESSION_GAP_MS  # an action on a shown item follows its impression within so long
MOST = 0.5
NO_LIST = (1 << 64) - 1  # the key of no list; that of an id is one in 2**63 to be it


@dataclass(frozen=True)
class Impressions:
    """Lists, oldest first; the items of one in the order that they were shown in, where it is known, each once."""

    user_ids: Ids  # (lists,)
    times_ms: Ints  # (lists,) of the first impression, UTC
    list_keys: Keys  # (lists,) of the list's id, NO_LIST for none
    surfaces: Ints  # (lists,) codes of the log's vocabulary, 0 for none
    starts: Ints  # (lists + 1,) where the items of each list start
    item_ids: Ids  # (n,)
    positions: Ints  # (n,) as the log counts them, -1 for none
    shown_ms: Ints  # (n,) when each was shown, UTC

    def __len__(self) -> int:
        return len(self.times_ms)

    @cached_property
    def item_keys(self) -> Keys:
        """Return the key of each item, ``(n,)``."""
        return _keys_of(self.item_ids)

    @cached_property
    def user_keys(self) -> Keys:
        """Return the key of each list's user, ``(lists,)``."""
        return _keys_of(self.user_ids)

    @cached_property
    def list_of_row(self) -> Ints:
        """Return the list of each item, ``(n,)``."""
        return np.repeat(np.arange(len(self)), np.diff(self.starts))

    @cached_property
    def first_position(self) -> int:
        """Return how the log counts the position of what stands first: 0 or 1."""
        known = self.positions[self.positions >= 0]
        return int(len(known) == 0 or known.min() > 0)

    def lists(self, which: slice) -> "Impressions":
        """Return a range of the lists."""
        first, stop, _ = which.indices(len(self))
        stop = max(first, stop)
        rows = slice(int(self.starts[first]), int(self.starts[stop]))
        return Impressions(
            self.user_ids[which],
            self.times_ms[which],
            self.list_keys[which],
            self.surfaces[which],
            self.starts[first : stop + 1] - self.starts[first],
            self.item_ids[rows],
            self.positions[rows],
            self.shown_ms[rows],
        )

    def only(self, kept: Bools) -> "Impressions":
        """Return these of the lists, ``(lists,)``."""
        if kept.all():
            return self
        rows, counts = kept[self.list_of_row], np.diff(self.starts)[kept]
        return Impressions(
            self.user_ids[kept],
            self.times_ms[kept],
            self.list_keys[kept],
            self.surfaces[kept],
            np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            self.item_ids[rows],
            self.positions[rows],
            self.shown_ms[rows],
        )

    def without_erased(self, until_ms: Mapping[Id, int]) -> "Impressions":
        """Return the lists without those that these users were shown until a time, by their ids."""
        keys = np.array(sorted((id_key(user), at_ms) for user, at_ms in until_ms.items()), np.uint64).reshape(-1, 2)
        found = np.minimum(np.searchsorted(keys[:, 0], self.user_keys), len(keys) - 1)
        erased = (keys[found, 0] == self.user_keys) & (self.times_ms <= keys[found, 1].astype(np.int64))
        return self.only(~erased)

    def before(self, at_ms: int) -> "Impressions":
        """Return the lists that were shown before a time."""
        return self.split_at(at_ms)[0]

    def split_at(self, until_ms: int) -> tuple["Impressions", "Impressions"]:
        """Cut into lists that were shown before ``until_ms`` and from then on."""
        row = int(np.searchsorted(self.times_ms, until_ms, side="left"))
        return self.lists(slice(row)), self.lists(slice(row, None))


def _keys_of(ids: Ids) -> Keys:
    """Return the key of each id, ``(n,)``; every different one is hashed once, and none compared: texts are slow to.

    What is only counted may hold keys in the place of ids, as ``EventLog`` may.
    """
    if ids.dtype == np.uint64:
        return ids
    plain = ids.tolist()
    keys = {one: id_key(one) for one in set(plain)}
    return np.fromiter((keys[one] for one in plain), np.uint64, len(plain))


# Rows to lists --------------------------------------------------------------------------------------------------------


@dataclass
class _Rows:
    """Impressions as they come."""

    users: IdColumn
    items: IdColumn
    columns: list[tuple[Ints, Ints, Ints, Keys]] = field(default_factory=list)  # times, surfaces, positions, lists

    def add(self, batch: Arrivals) -> None:
        """Take the next rows."""
        self.users.add(batch.user_ids)
        self.items.add(batch.item_ids)
        positions = np.full(len(batch), -1) if batch.positions is None else batch.positions
        self.columns.append((batch.times_ms, batch.surfaces, positions, list_keys_of(batch)))


def grouped(batches: Iterable[Arrivals], untyped: bool = False) -> Impressions:
    """Group rows that are impressions, in any order; ``untyped`` ids are integers where all are written so."""
    rows = _Rows(IdColumn(untyped), IdColumn(untyped))
    for batch in batches:
        rows.add(batch)
    nothing = np.zeros(0, np.int64)
    empty = (nothing, nothing, nothing, np.zeros(0, np.uint64))
    columns = [np.concatenate(one) for one in zip(*(rows.columns or [empty]), strict=True)]
    return impressions_of(rows.users.column(), rows.items.column(), *columns)


def list_keys_of(arrivals: Arrivals) -> Keys:
    """Return the key of each row's list, ``(n,)``; ``NO_LIST`` for none."""
    if arrivals.list_ids is None:
        return np.full(len(arrivals), NO_LIST, np.uint64)
    keys = {one: NO_LIST if one is None else id_key(one) for one in set(arrivals.list_ids)}
    return np.fromiter((keys[one] for one in arrivals.list_ids), np.uint64, len(arrivals))


def impressions_of(
    user_ids: Ids, item_ids: Ids, times_ms: Ints, surfaces: Ints, positions: Ints, list_keys: Keys
) -> Impressions:
    """Group columns of rows ``(n,)``, in any order."""
    users, items = (np.unique(_keys_of(ids), return_inverse=True)[1] for ids in (user_ids, item_ids))
    groups = np.empty(len(times_ms), np.int64)
    named = np.flatnonzero(list_keys != NO_LIST)
    others = np.flatnonzero(list_keys == NO_LIST)
    by_id = np.unique(np.stack([users[named].astype(np.uint64), list_keys[named]], axis=1), axis=0, return_inverse=True)
    groups[named] = by_id[1].ravel()
    groups[others] = len(by_id[0]) + _unnamed(*(one[others] for one in (users, surfaces, times_ms, positions, items)))
    order = np.lexsort((surfaces, items, times_ms, positions, groups))
    order = order[_first_of_each(groups[order], items[order])]
    return _in_order_of_time(order, groups, users, user_ids, item_ids, times_ms, surfaces, positions, list_keys)


def _unnamed(users: Ints, surfaces: Ints, times_ms: Ints, positions: Ints, items: Ints) -> Ints:
    """Return the group of each row without a list id."""
    order = np.lexsort((items, positions, times_ms, surfaces, users))
    same = (np.diff(users[order]) == 0) & (np.diff(surfaces[order]) == 0)
    steps = np.diff(times_ms[order])
    together = np.zeros(len(order), np.bool_)
    together[1:] |= same & (steps == 0)
    together[:-1] |= same & (steps == 0)
    if np.count_nonzero(together) > MOST * len(order):
        goes_on = same & (steps == 0)
    else:
        placed = positions[order]
        rises = (np.diff(placed) > 0) | (placed[1:] < 0)
        goes_on = same & (steps <= SESSION_GAP_MS) & rises
    groups = np.empty(len(order), np.int64)
    groups[order] = np.cumsum(np.append(True, ~goes_on))[: len(order)] - 1
    return groups


def _first_of_each(groups: Ints, items: Ints) -> Bools:
    """Return which rows are the first one of their group and item."""
    order = np.lexsort((np.arange(len(items)), items, groups))
    first = np.ones(len(items), np.bool_)
    first[order[1:]] = (np.diff(groups[order]) != 0) | (np.diff(items[order]) != 0)
    return first


def _in_order_of_time(
    order: Ints, groups: Ints, users: Ints, user_ids: Ids, item_ids: Ids, times_ms: Ints, surfaces: Ints,
    positions: Ints, list_keys: Keys,
) -> Impressions:  # fmt: skip
    """Return the rows ``order``, sorted by group, as lists sorted by time; those of one time by user and first item."""
    begins = np.flatnonzero(np.append(True, np.diff(groups[order]) != 0)[: len(order)])
    sizes = np.diff(np.append(begins, len(order)))
    firsts = order[begins]
    since_ms = np.minimum.reduceat(times_ms[order], begins) if len(begins) else times_ms[:0]
    lists = np.lexsort((groups[firsts], users[firsts], since_ms))
    starts = np.append(0, np.cumsum(sizes[lists])).astype(np.int64)
    within = np.arange(len(order)) - np.repeat(starts[:-1], sizes[lists])
    rows = order[np.repeat(begins[lists], sizes[lists]) + within]
    return Impressions(
        user_ids[firsts[lists]],
        since_ms[lists],
        list_keys[firsts[lists]],
        surfaces[firsts[lists]],
        starts,
        item_ids[rows],
        positions[rows],
        times_ms[rows],
    )


# What came of them ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Acts:
    """Actions, to be found again in what was shown before; columns of n rows."""

    user_keys: Keys
    item_keys: Keys
    times_ms: Ints
    list_keys: Keys  # of the list that the action names, NO_LIST for none


def followed_by(shown: Impressions, acts: Acts, within_ms: int = WITHIN_MS) -> tuple[Ints, Ints]:
    """Return the rows of impressions that were acted on and those of the actions, ``(pairs,)`` each.

    An action counts for the list that it names, if that showed the item to its user; else for the newest list that
    did, not after it, if the item was shown there at most ``within_ms`` before. Each action counts once at most.
    """
    rows = np.full(len(acts.times_ms), -1, np.int64)
    users, at_ms = shown.user_keys[shown.list_of_row], shown.times_ms[shown.list_of_row]
    lists, named = shown.list_keys[shown.list_of_row], np.flatnonzero(acts.list_keys != NO_LIST)
    with_id = np.flatnonzero(lists != NO_LIST)
    always, never = np.zeros(len(with_id), np.int64), np.ones(len(named), np.int64)
    found = _newest(
        (users[with_id], shown.item_keys[with_id], lists[with_id]),
        (acts.user_keys[named], acts.item_keys[named], acts.list_keys[named]),
        always,
        never,
    )
    rows[named[found >= 0]] = with_id[found[found >= 0]]
    rest = np.flatnonzero(rows < 0)
    found = _newest((users, shown.item_keys), (acts.user_keys[rest], acts.item_keys[rest]), at_ms, acts.times_ms[rest])
    rest, found = rest[found >= 0], found[found >= 0]
    in_time = acts.times_ms[rest] - shown.shown_ms[found] <= within_ms
    rows[rest[in_time]] = found[in_time]
    acted = np.flatnonzero(rows >= 0)
    return rows[acted], acted


def _newest(shown: Sequence[Keys], acted: Sequence[Keys], shown_ms: Ints, acted_ms: Ints) -> Ints:
    """Return for each action the newest row of equal keys that is not later, ``(actions,)``; -1 for none."""
    count = len(shown_ms)
    names = [np.concatenate(both) for both in zip(shown, acted, strict=True)]
    kinds = np.append(np.zeros(count, np.int64), np.ones(len(acted_ms), np.int64))
    order = np.lexsort((kinds, np.append(shown_ms, acted_ms), *names))
    newest = np.maximum.accumulate(np.where(kinds[order] == 0, np.arange(len(order)), -1))
    known = newest >= 0
    for one in names:
        known &= one[order[newest]] == one[order]
    found = np.full(len(order), -1, np.int64)
    found[order] = np.where(known, order[newest], -1)
    return found[count:]


def acts_of(batches: Iterable[Arrivals]) -> Acts:
    """Collect the actions of a log."""
    users: list[Keys] = []
    items: list[Keys] = []
    columns: list[tuple[Ints, Keys]] = []
    keys: dict[Id, int] = {}
    for batch in batches:
        for one in set(batch.user_ids) - keys.keys():
            keys[one] = id_key(one)
        users.append(np.fromiter((keys[one] for one in batch.user_ids), np.uint64, len(batch)))
        items.append(batch.item_keys)
        columns.append((batch.times_ms, list_keys_of(batch)))
    times_ms, lists = (np.concatenate(one) for one in zip(*columns, strict=True))
    return Acts(np.concatenate(users), np.concatenate(items), times_ms, lists)
