"""Items that go with a user's newest ones, scored by three rules that a user of neighbour methods knows.

What followed the last item (a Markov chain), item-kNN and VMIS-kNN: the baselines of ``evaluation/baselines``, here
from tables as of a batch job instead of from all that happened until now.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rankstream.features.matches.tables import MatchTables, Rows32
from rankstream.features.schema import Floats, Ints

SAMPLED = 500  # newest sessions that share an item with the user's, of which neighbours are chosen: VMIS-kNN's m
NEAREST = 100  # k


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


def item_knn(tables: MatchTables, rows: Sequence[int]) -> Scored:
    """Return the neighbours of these items, newest first: their cosines, the n-th item's times 1 / n."""
    known = [(back, row) for back, row in enumerate(rows, start=1) if row >= 0]
    lists = [tables.neighbours.of(row) for _, row in known]
    weights = [tables.neighbours.weights_of(row) * np.float32(1.0 / back) for back, row in known]
    return summed(lists, weights)


def vmis_knn(tables: MatchTables, rows: Sequence[int]) -> Scored:
    """Return the items of the sessions that are most like the one of these items, newest first.

    Kersbergen, Sprangers and Schelter, Serenade, SIGMOD 2022, algorithm 1: as ``evaluation/baselines/vmis_knn.py``.
    """
    length = len(rows)
    known = [(back, tables.sessions.of(row)) for back, row in enumerate(rows) if row >= 0]
    if not known or not sum(len(found) for _, found in known):
        return NOTHING
    steps = np.repeat([back for back, _ in known], [len(found) for _, found in known])
    sessions, firsts, which = np.unique(
        np.concatenate([found for _, found in known]), return_index=True, return_inverse=True
    )
    similarity = np.bincount(which, (length - steps) / length)
    newest_shared = steps[firsts]
    sessions, similarity, newest_shared = (part[-SAMPLED:] for part in (sessions, similarity, newest_shared))
    nearest = np.lexsort((sessions, similarity))[-NEAREST:]
    weights = similarity[nearest] * (1.0 - newest_shared[nearest] / 10)
    members = [tables.members.of(int(session)) for session in sessions[nearest]]
    found = summed(members, np.repeat(weights, [len(one) for one in members]).astype(np.float32))
    scores = found.scores * tables.rarities[found.rows]
    return Scored(found.rows[scores > 0], scores[scores > 0])


def summed(lists: Sequence[Rows32], weights: Sequence[Floats] | Floats) -> Scored:
    """Return each item of the lists once, with the sum of its weights."""
    if not lists:
        return NOTHING
    flat = weights if isinstance(weights, np.ndarray) else np.concatenate(weights)
    rows, which = np.unique(np.concatenate(lists), return_inverse=True)
    return Scored(rows.astype(np.int64), np.bincount(which, flat, len(rows)).astype(np.float32))
