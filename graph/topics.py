"""What items are about, as one topic each, and by it what of a graph says little (Pixie, section 3.2: pruning).

::

    board        items' topics            shares              spread = exp(entropy)
    breakfast    food food food drink     3/4 1/4             1.75 topics
    gifts        food toys books drink    1/4 1/4 1/4 1/4     4 topics

A board that is spread over many topics joins what has little to do with each other. Of an item in many boards, its
edges to boards that are mostly about something else go first. The paper's topics are learned from texts; here they are
a catalogue's categories, or clusters of the item vectors.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rankstream.content.catalogue import Catalogue
from rankstream.features.embeddings.float16 import widen
from rankstream.features.embeddings.key_search import KeySearch
from rankstream.features.embeddings.table import EmbeddingTable
from rankstream.features.ids import Keys
from rankstream.features.schema import Bools, Floats, Ints

NONE = -1  # the topic of an item that is not known
ROUNDS = 20  # of k-means; more move hardly an item
AT_ONCE = 65_536  # items compared with all centres at once
Shares = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Topics:
    """A topic of each of n items."""

    keys: Keys  # (n,) sorted
    labels: Ints  # (n,) from 0

    def of(self, keys: Keys) -> Ints:
        """Return the topic of each key, ``NONE`` for what is not known."""
        rows, known = KeySearch(self.keys).rows(keys)
        return np.where(known, np.append(self.labels, NONE)[rows], NONE)


def topics_of_categories(catalogue: Catalogue) -> Topics:
    """Return each item's category, the narrowest one that it has, as its topic."""
    levels = catalogue.columns.categories
    labels = np.full(len(catalogue), NONE)
    for level in levels.T:  # the widest first
        labels = np.where(level >= 0, level, labels)
    return Topics(np.asarray(catalogue.keys), labels.astype(np.int64))


def topics_of_vectors(table: EmbeddingTable, count: int, seed: int = 0) -> Topics:
    """Return the cluster of each item's vector: k-means on the sphere, of ``count`` centres (Dhillon and Modha, 2001).

    It begins at random different items; the same table and seed make the same topics.
    """
    return Topics(np.asarray(table.keys), clustered(widen(table.vectors), count, seed))


def clustered(vectors: Floats, count: int, seed: int = 0) -> Ints:
    """Return the cluster of each vector ``(n, d)``, by direction."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    units: Floats = (vectors / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)
    count = min(count, len(units))
    centres = units[np.random.default_rng(seed).choice(len(units), count, replace=False)]
    labels = _nearest(units, centres)
    for _ in range(ROUNDS):
        sums = np.stack([np.bincount(labels, units[:, at], count) for at in range(units.shape[1])], axis=1)
        norms = np.linalg.norm(sums, axis=1, keepdims=True)
        moved: Floats = (sums / np.where(norms > 0, norms, 1.0)).astype(np.float32)
        centres = np.where(norms > 0, moved, centres)
        before, labels = labels, _nearest(units, centres)
        if (before == labels).all():
            break
    return labels


def _nearest(units: Floats, centres: Floats) -> Ints:
    parts = [units[at : at + AT_ONCE] @ centres.T for at in range(0, len(units), AT_ONCE)]
    return np.concatenate([np.zeros(0, np.int64), *(part.argmax(axis=1) for part in parts)]).astype(np.int64)


def spreads(boards: Ints, labels: Ints) -> Shares:
    """Return over how many topics each board is spread, ``(m,)``: exp of the entropy of its items' topics.

    ``boards`` ``(e,)`` are numbered from 0, ``labels`` ``(e,)`` their items' topics; unknown ones don't count.
    """
    which, shares = _shares(boards, labels)
    entropy = -np.bincount(which, shares * np.log(shares), int(boards.max(initial=-1)) + 1)
    return np.exp(entropy)


def _shares(boards: Ints, labels: Ints) -> tuple[Ints, Shares]:
    """Return each board and topic that meet: the board, and the share of its items that are of the topic."""
    cells, times = _cells(boards, labels)
    which = cells // _width(labels)
    return which, times / np.bincount(which, times)[which]


def _width(labels: Ints) -> int:
    return int(labels.max(initial=0)) + 1


def _cells(boards: Ints, labels: Ints) -> tuple[Ints, Ints]:
    known = labels != NONE
    cells, times = np.unique(boards[known] * _width(labels) + labels[known], return_counts=True)
    return cells, times.astype(np.int64)


def nearness(boards: Ints, labels: Ints) -> Shares:
    """Return of each edge ``(e,)`` the share of its board's items that are of its item's topic; 0 for unknown ones."""
    cells, _ = _cells(boards, labels)
    _, shares = _shares(boards, labels)
    known = labels != NONE
    near = np.zeros(len(boards))
    near[known] = shares[np.searchsorted(cells, boards[known] * _width(labels) + labels[known])]
    return near


def nearest_boards(items: Ints, boards: Ints, labels: Ints, power: float) -> Bools:
    """Return which edges stay: of an item in d boards the ``d ** power`` nearest ones, of equally near ones the newest.

    ``items`` are numbered from 0; ``boards`` too, the newest last.
    """
    order = np.lexsort((boards, nearness(boards, labels), items))
    degrees = np.bincount(items)
    ends = np.cumsum(degrees)[items[order]]
    kept = np.empty(len(items), np.bool_)
    kept[order] = ends - np.arange(len(items)) <= np.ceil(degrees[items[order]] ** power)
    return kept
