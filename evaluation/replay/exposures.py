"""What one user did at one time: a group of rows, an exposure an item, whatever the order of the rows.

::

    rows        u 1:00 a view   v 1:00 b view   u 1:00 c view   | batch |   u 1:00 a save   u 1:01 e view
    groups      u 1:00 {a, c, a}        v 1:00 {b}        u 1:01 {e}
    exposures   u 1:00 a view+save      u 1:00 c view     ...

Times are coarse: a log in seconds holds many actions of one user at one time, and a file sorts them at will. So nothing
of a group is known before the rest of it, and a log whose rows of one time are permuted gives the same replay.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np

from rankstream.events.arrivals import Arrivals, concatenated
from rankstream.features.actions import ERASURE
from rankstream.features.ids import Id
from rankstream.metrics.arrays import Bools

SKEW_MS = 60_000  # how late a row may arrive and still join the group of its time when a batch ends
MAX_HELD_ROWS = 100_000  # that wait for the rest of their groups


@dataclass(slots=True, eq=False)
class Exposure:
    """What one user did to one item at one time; a set bit ``code`` of ``actions`` is an action of that code."""

    row: int  # of the arrivals: the first one of its group
    key: bytes
    user_id: Id
    item_id: Id
    item_key: int
    at_ms: int
    actions: int
    surface: int = 0  # code of the surface that the user was on, 0 for none; the greatest of those of its time


@dataclass(slots=True)
class Group:
    """Rows of one user and one time, with none of that user's other times between them."""

    key: bytes
    at_ms: int
    rows: list[int] = field(default_factory=list)  # of the arrivals, ascending


def groups_of(arrivals: Arrivals) -> list[Group]:
    """Return the groups of a batch in the order that they began; an erasure is in none."""
    newest: dict[bytes, Group] = {}
    groups: list[Group] = []
    columns = arrivals.user_keys, arrivals.times_ms.tolist(), arrivals.codes.tolist()
    for row, (key, at_ms, code) in enumerate(zip(*columns, strict=True)):
        if code == ERASURE:
            continue
        group = newest.get(key)
        if group is None or group.at_ms != at_ms:
            newest[key] = group = Group(key, at_ms)
            groups.append(group)
        group.rows.append(row)
    return groups


def exposures(arrivals: Arrivals) -> list[Exposure]:
    """Return the exposures of a batch, group by group."""
    return [one for group in groups_of(arrivals) for one in exposures_of(arrivals, group)]


def exposures_of(arrivals: Arrivals, group: Group) -> list[Exposure]:
    """Return the exposures of a group by the keys of their items: an order that the log's own does not touch."""
    actions: dict[int, int] = {}
    ids: dict[int, Id] = {}
    for row in group.rows:
        item = int(arrivals.item_keys[row])
        ids.setdefault(item, arrivals.item_ids[row])
        actions[item] = actions.get(item, 0) | 1 << int(arrivals.codes[row])
    user_id, first = arrivals.user_ids[group.rows[0]], group.rows[0]
    surface = int(arrivals.surfaces[group.rows].max())
    return [
        Exposure(first, group.key, user_id, ids[item], item, group.at_ms, actions[item], surface)
        for item in sorted(actions)
    ]


def whole_groups(batches: Iterable[Arrivals]) -> Iterator[Arrivals]:
    """Cut a log anew where no group is open, its rows of one time in an order of their own (``in_one_order``).

    A batch's last rows wait for the next one: those of its last minute, and the last group. Rows that arrive later
    than that begin a group of their own, as they do where the user's other times come between, and as the rest of a
    group does that is larger than ``MAX_HELD_ROWS``.
    """
    held: list[Arrivals] = []
    held_rows = new_rows = newest_ms = 0
    for batch in batches:
        if not len(batch):
            continue
        newest_ms, new_rows = max(newest_ms, int(batch.times_ms.max())), new_rows + len(batch)
        held.append(batch)
        if new_rows < held_rows:  # else many rows of one time would be looked at again with each batch
            continue
        rows = concatenated(held)
        cut = len(rows) if len(rows) > MAX_HELD_ROWS else _first_open(rows, newest_ms - SKEW_MS)
        if cut:
            yield in_one_order(rows.rows(slice(0, cut)))
        held = [rows.rows(slice(cut, len(rows)))] if cut < len(rows) else []
        held_rows, new_rows = len(rows) - cut, 0
    if held:
        yield in_one_order(concatenated(held))


def _first_open(arrivals: Arrivals, open_from_ms: int) -> int:
    """Return the first row that must wait for the next batch: from there on no group or run of one time is whole."""
    if _is_plain(arrivals):
        return int(np.searchsorted(arrivals.times_ms, min(open_from_ms, int(arrivals.times_ms[-1]))))
    groups = groups_of(arrivals)
    spans = [(group.rows[0], group.rows[-1]) for group in groups]
    cut = min((first for group, (first, last) in zip(groups, spans, strict=True)
               if group.at_ms >= open_from_ms or last == len(arrivals) - 1), default=len(arrivals))  # fmt: skip
    borders = [0, *(np.flatnonzero(_changes(arrivals)) + 1).tolist(), len(arrivals)]
    spans += [(first, end - 1) for first, end in pairwise(borders)]
    for first, last in sorted(spans, reverse=True):
        if first < cut <= last:
            cut = first
    return cut


def in_one_order(arrivals: Arrivals) -> Arrivals:
    """Return the rows with those of one time sorted: by user where no other time is between, by action in a group.

    Offsets and times of arrival keep their positions, so that arrivals stay in order.
    """
    borders = [0, *(np.flatnonzero(_changes(arrivals)) + 1).tolist(), len(arrivals)]
    order = np.arange(len(arrivals))
    for first, end in pairwise(borders):
        if end - first > 1:
            order[first:end] = sorted(
                range(first, end), key=lambda row: (arrivals.user_keys[row], arrivals.packed[row])
            )
    if _is_plain(arrivals):
        return replace(arrivals.taken(order), offsets=arrivals.offsets)
    arrived_ms = arrivals.arrived_ms.copy()
    for group in groups_of(arrivals.taken(order)):
        if len(group.rows) > 1:
            rows = order[group.rows].tolist()
            arrived_ms[group.rows] = np.sort(arrivals.arrived_ms[rows])
            order[group.rows] = sorted(rows, key=lambda row: (arrivals.packed[row], str(arrivals.item_ids[row])))
    return replace(arrivals.taken(order), offsets=arrivals.offsets, arrived_ms=arrived_ms)


def _is_plain(arrivals: Arrivals) -> bool:
    """Return whether rows are sorted and those of one time arrived together: groups then lie within runs."""
    steps = np.diff(arrivals.times_ms)
    return bool((steps >= 0).all()) and not np.diff(arrivals.arrived_ms)[steps == 0].any()


def _changes(arrivals: Arrivals) -> Bools:
    """Return ``(n - 1,)``: whether a row is of another time, or arrived at another, than the one before it."""
    changes: Bools = (np.diff(arrivals.times_ms) != 0) | (np.diff(arrivals.arrived_ms) != 0)
    return changes
