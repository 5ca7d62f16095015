"""The candidates of a query: what was shown, the whole catalogue, or a sample of it; in a random order.

Candidates must not give the answer away: they are chosen, and ordered, without regard to which of them is wanted. An
item that the catalogue does not hold is no candidate: were it added, it would be the only one without a vector, and
could be picked out by that. Nobody can find it, so it is a miss of every ranker. The order is random because equal
scores keep the order of the candidates, and a file's order, or that of ids, often is one of time or popularity.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from rankstream.evaluation.replay.protocols import Query
from rankstream.features.ids import Id, Keys, id_key, id_keys
from rankstream.metrics.arrays import Bools, Ints

ORDER, SAMPLE = 3, 4  # purposes of random numbers


@dataclass(frozen=True)
class Candidates:
    """The candidates of one query, and the actions on each."""

    ids: Sequence[Id]
    keys: Keys
    actions: Keys  # (N,) masks, a bit an action's code
    target: int | None = None  # row of the one wanted item; None: none of them, or not one alone
    target_known: bool = True  # is the one wanted item among them? If not, it is a miss of every ranker
    only_known: bool = False  # of the catalogue: a ranker can only rank those that its own bundle knows

    def __len__(self) -> int:
        return len(self.ids)


CandidateSelection = Callable[[Query], Candidates]


class ItemIds(Protocol):
    """What names its items by row, as ``EmbeddingTable`` does."""

    def __len__(self) -> int: ...

    def ids(self, rows: Ints) -> Sequence[Id]:
        """Return the ids of these rows."""
        ...


class Catalogue:
    """All items that any of the tables knows, ordered by key: those of bundles, or of a log."""

    def __init__(self, tables: Sequence[ItemIds]) -> None:
        ids = {id_key(one): one for table in tables for one in table.ids(np.arange(len(table)))}
        self.keys: Keys = np.array(sorted(ids), np.uint64)
        self.ids = [ids[key] for key in self.keys.tolist()]
        self._ids = np.array([*self.ids, None], object)[:-1]  # None: numbers alone would become an array of numbers

    def __len__(self) -> int:
        return len(self.ids)

    def holds(self, keys: Keys) -> Bools:
        """Return of each item ``(n,)`` whether it is known."""
        known: Bools = np.isin(keys, self.keys)
        return known

    def row(self, key: int) -> int | None:
        """Return the row of an item, if it is known."""
        at = int(np.searchsorted(self.keys, np.uint64(key)))
        return at if at < len(self.keys) and int(self.keys[at]) == key else None

    def candidates(self, query: Query, rows: Ints) -> Candidates:
        """Return these rows of the catalogue, in this order, with the actions on the query's target among them."""
        row = self.row(query.exposure.item_key)
        index = np.flatnonzero(rows == row) if row is not None else np.zeros(0, np.int64)
        target = int(index[0]) if len(index) else None
        actions = np.zeros(len(rows), np.uint64)
        if target is not None:
            actions[target] = query.exposure.actions
        return Candidates(
            self._ids[rows].tolist(), self.keys[rows], actions, target, target is not None, only_known=True
        )


def as_shown(seed: int) -> CandidateSelection:
    """Select what the query names, known or not, as a worker would be asked to rank it."""

    def select(query: Query) -> Candidates:
        shown = query.candidates or ()
        by_key = sorted(range(len(shown)), key=lambda row: id_key(shown[row]))
        order = [by_key[at] for at in query.rng(seed, ORDER).permutation(len(shown)).tolist()]
        ids = [shown[row] for row in order]
        return Candidates(ids, id_keys(ids), np.array([query.actions[row] for row in order], np.uint64))

    return select


def whole(catalogue: Catalogue, *, exclude_seen: bool, seed: int = 1) -> CandidateSelection:
    """Select the whole catalogue; ``exclude_seen`` leaves out what the user has seen."""

    def select(query: Query) -> Candidates:
        rows = np.arange(len(catalogue)) if not exclude_seen else _unseen(catalogue, query)
        return catalogue.candidates(query, query.rng(seed, ORDER).permutation(rows))

    return select


def sampled(catalogue: Catalogue, count: int, seed: int, *, exclude_seen: bool = False) -> CandidateSelection:
    """Select ``count`` items at random, uniformly, and the target if the catalogue holds it."""

    def select(query: Query) -> Candidates:
        row = catalogue.row(query.exposure.item_key)
        others = np.arange(len(catalogue)) if not exclude_seen else _unseen(catalogue, query)
        others = others[others != row] if row is not None else others
        rows = query.rng(seed, SAMPLE).choice(others, min(count, len(others)), replace=False)
        if row is not None:
            rows = np.append(rows, row)
        return catalogue.candidates(query, query.rng(seed, ORDER).permutation(rows))

    return select


def _unseen(catalogue: Catalogue, query: Query) -> Ints:
    seen = np.array(sorted(query.seen), np.uint64)
    return np.flatnonzero(~np.isin(catalogue.keys, seen))
