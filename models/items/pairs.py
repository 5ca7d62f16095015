"""How often two items stand near each other, counted some items at a time.

A log has more pairs of near items than memory should hold at once, and which of them are the same is told by sorting.
So they are made as often as there are blocks of items, each time those of one block alone::

    pairs of a distance, made anew a block    (a, b) (b, c) (a, c) ...
    items  0 .. 4,999   ->  (item, other), sorted, how often
    items  5,000 .. ... ->  ...                 each pair from both sides: once in the block of either item
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from rankstream.events.log import starts_of
from rankstream.features.schema import Ints

PAIRS_AT_ONCE = 2_000_000  # of one block, about; of a single item with more, all: some 100 MB

Pairs = Iterable[tuple[Ints, Ints]]  # (n,) and (n,): rows of items that stand near each other


class PairBlock(NamedTuple):
    """The pairs of some items, sorted by item, then by the other."""

    start: int  # the first item's row
    stop: int  # the row behind the last one
    items: Ints  # (n,) of [start, stop)
    others: Ints  # (n,)
    times: Ints  # (n,) how often they are near; an item beside itself counts from both sides


def sides_of(pairs: Pairs, count: int) -> Ints:
    """Return of how many pairs each of ``count`` items is a side, ``(count,)``; beside itself it is both."""
    sides = np.zeros(count, np.int64)
    for left, right in pairs:
        sides += np.bincount(left, minlength=count) + np.bincount(right, minlength=count)
    return sides


def counted_pairs(
    pairs: Callable[[], Pairs], count: int, sides: Ints | None = None, at_once: int = PAIRS_AT_ONCE
) -> Iterator[PairBlock]:
    """Yield the counted pairs of ``count`` items, block by block, every item in one of them.

    ``pairs`` makes them anew, ``sides`` are theirs if they are known. The blocks joined are the same for any
    ``at_once``.
    """
    sides = sides_of(pairs(), count) if sides is None else sides
    start, ends = 0, starts_of(sides)[1:]
    while start < count:
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + at_once, side="right")))
        found, times = np.unique(_cells(pairs(), start, stop, count), return_counts=True)
        yield PairBlock(start, stop, found // count, found % count, times)
        start = stop


def _cells(pairs: Pairs, start: int, stop: int, count: int) -> Ints:
    """Return ``item * count + other`` of the pairs' sides that are in the block, in any order."""
    found = [np.zeros(0, np.int64)]
    for left, right in pairs:
        for items, others in ((left, right), (right, left)):
            mine = np.flatnonzero((items >= start) & (items < stop))
            found.append(items[mine] * count + others[mine])
    return np.concatenate(found)
