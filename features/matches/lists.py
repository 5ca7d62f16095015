"""Items that go with a user's newest ones, scored by three rules that a user of neighbour methods knows.

What followed the last item (a Markov chain), item-kNN and VMIS-kNN: the baselines of ``evaluation/baselines``, here
from tables as of a batch job instead of from all that happened until now.
"""

from dataclasses import dataclass

import numpy as np

from rankstream.features.matches.tables import MatchTables, Rows32
from rankstream.features.schema import Floats, Ints

SAMPLED = 500  # newest sessions that share an item with the user's, of which neighbours are chosen: VMIS-kNN's m
NEAREST = 100  # k
DENSE = 64  # rows of a table for each one that is added up: above, sorting these is quicker than an array of all


@dataclass(frozen=True)
class Scored:
    """Items with a score above 0; all others have 0."""

    rows: Ints | Rows32  # (m,) sorted, each once
    scores: Floats  # (m,)

    def of(self, rows: Ints) -> Floats:
        """Return the scores of rows ``(N,)``, of which -1 is an unknown item."""
        if not len(self.rows):
            return np.zeros(len(rows), np.float32)
        places = np.minimum(np.searchsorted(self.rows, rows), len(self.rows) - 1)
        return np.where(self.rows[places] == rows, self.scores[places], np.float32(0.0))

    @property
    def best(self) -> float:
        """Return the highest score; 1 where there is none, so that it can divide."""
        return float(self.scores.max()) if len(self.scores) else 1.0

    def first(self, count: int) -> Ints | Rows32:
        """Return the rows of the highest scores, at most ``count``, in no order."""
        if len(self.rows) <= count:
            return self.rows
        return self.rows[np.argpartition(self.scores, len(self.scores) - count)[-count:]]


NOTHING = Scored(np.zeros(0, np.int64), np.zeros(0, np.float32))


def followers(tables: MatchTables, row: int) -> Scored:
    """Return what followed an item, and how often."""
    if row < 0:
        return NOTHING
    return Scored(tables.followers.of(row), tables.followers.weights_of(row))


def item_knn(tables: MatchTables, rows: Ints) -> Scored:
    """Return the neighbours of these items, newest first: their cosines, the n-th item's times 1 / n."""
    back = np.flatnonzero(rows >= 0) + 1
    if not len(back):
        return NOTHING
    places, lengths = tables.neighbours.places(rows[back - 1])
    weights = tables.neighbours.weights.take(places) * np.repeat((1.0 / back).astype(np.float32), lengths)
    return summed(tables.neighbours.rows.take(places), weights, len(tables))


def vmis_knn(tables: MatchTables, rows: Ints) -> Scored:
    """Return the items of the sessions that are most like the one of these items, newest first.

    Kersbergen, Sprangers and Schelter, Serenade, SIGMOD 2022, algorithm 1: as ``evaluation/baselines/vmis_knn.py``.
    """
    back = np.flatnonzero(rows >= 0)
    places, lengths = tables.sessions.places(rows[back])
    if not len(places):
        return NOTHING
    steps = np.repeat(back, lengths)
    sessions, firsts, which = np.unique(tables.sessions.rows.take(places), return_index=True, return_inverse=True)
    similarity = np.bincount(which, (len(rows) - steps) / len(rows))
    newest_shared = steps[firsts]
    sessions, similarity, newest_shared = sessions[-SAMPLED:], similarity[-SAMPLED:], newest_shared[-SAMPLED:]
    nearest = np.argsort(similarity, kind="stable")[-NEAREST:]  # of equal ones the newest: they are in order
    weights = similarity[nearest] * (1.0 - newest_shared[nearest] / 10)
    places, lengths = tables.members.places(sessions[nearest])
    found = summed(tables.members.rows.take(places), np.repeat(weights.astype(np.float32), lengths), len(tables))
    scores = found.scores * tables.rarities[found.rows]
    return Scored(found.rows[scores > 0], scores[scores > 0])


def summed(rows: Rows32, weights: Floats, count: int) -> Scored:
    """Return each of the rows once, sorted, with the sum of its weights; there are ``count`` rows in all.

    Both ways add a row's weights in the order given, so they give the same bits.
    """
    if count > DENSE * len(rows):
        return summed_by_sorting(rows, weights)
    sums = np.bincount(rows, weights, count)
    found = np.zeros(count, np.bool_)
    found[rows] = True
    each = np.flatnonzero(found)
    return Scored(each, sums[each].astype(np.float32))


def summed_by_sorting(rows: Rows32, weights: Floats) -> Scored:
    """Return what ``summed`` returns, at a cost that does not depend on how many rows there are."""
    each, which = np.unique(rows, return_inverse=True)
    return Scored(each.astype(np.int64), np.bincount(which, weights, len(each)).astype(np.float32))
