"""The candidates of a query: what was shown, the whole catalogue, or a sample of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from rankstream.evaluation.replay.protocols import Query
from rankstream.features.embeddings.table import EmbeddingTable
from rankstream.features.ids import Id, Keys, id_key, id_keys
from rankstream.metrics.arrays import Ints


@dataclass(frozen=True)
class Candidates:
    """The candidates of one query, and the actions on each."""

    ids: Sequence[Id]
    keys: Keys
    actions: Sequence[int]  # masks
    target_known: bool = True
    sampled_from: int | None = None  # candidates that the sample stands for

    def ranks_among_all(self, ranks: Ints) -> Ints:
        """Scale ranks in a sample to expected ranks among all: unbiased for uniform samples.

        Source: Krichene and Rendle, On Sampled Metrics for Item Recommendation, KDD 2020.
        """
        if self.sampled_from is None or len(self.ids) < 2:
            return ranks
        scaled: Ints = 1 + np.rint((ranks - 1) * (self.sampled_from - 1) / (len(self.ids) - 1)).astype(np.int64)
        return scaled


CandidateSelection = Callable[[Query], Candidates]


class Catalogue:
    """All items that any of the bundles knows, ordered by key."""

    def __init__(self, tables: Sequence[EmbeddingTable]) -> None:
        ids = {id_key(one): one for table in tables for one in table.ids(np.arange(len(table)))}
        self.keys: Keys = np.array(sorted(ids), np.uint64)
        self.ids = [ids[key] for key in self.keys.tolist()]

    def __len__(self) -> int:
        return len(self.ids)

    def row(self, key: int) -> int | None:
        """Return the row of an item, if it is known."""
        at = int(np.searchsorted(self.keys, np.uint64(key)))
        return at if at < len(self.keys) and int(self.keys[at]) == key else None

    def candidates(self, query: Query, rows: Ints | None = None) -> Candidates:
        """Return the catalogue, or these rows of it, with the query's target: last where it is not among them."""
        target = query.exposure
        chosen = np.arange(len(self)) if rows is None else rows
        row = self.row(target.item_key)
        index = None if row is None else np.flatnonzero(chosen == row)
        if index is None or not len(index):
            ids = [self.ids[one] for one in chosen] + [target.item_id]
            keys = np.append(self.keys[chosen], np.uint64(target.item_key))
            return Candidates(ids, keys, [0] * len(chosen) + [target.actions], target_known=row is not None)
        actions = [0] * len(chosen)
        actions[int(index[0])] = target.actions
        return Candidates(self.ids if rows is None else [self.ids[one] for one in chosen], self.keys[chosen], actions)


def as_shown(seed: int) -> CandidateSelection:
    """Select what the query names, shuffled: equal scores must not keep the order that it was shown in."""
    rng = np.random.default_rng([seed, 3])

    def select(query: Query) -> Candidates:
        shown = query.candidates or ()
        order = rng.permutation(len(shown)).tolist()
        ids = [shown[row] for row in order]
        return Candidates(ids, id_keys(ids), [query.actions[row] for row in order])

    return select


def whole(catalogue: Catalogue, *, exclude_seen: bool) -> CandidateSelection:
    """Select the whole catalogue; ``exclude_seen`` leaves out what the user has seen, the target excepted."""

    def select(query: Query) -> Candidates:
        if not exclude_seen:
            return catalogue.candidates(query)
        seen = np.array(sorted(query.seen), np.uint64)
        unseen = ~np.isin(catalogue.keys, seen) | (catalogue.keys == np.uint64(query.exposure.item_key))
        return catalogue.candidates(query, np.flatnonzero(unseen))

    return select


def sampled(catalogue: Catalogue, count: int, seed: int) -> CandidateSelection:
    """Select ``count`` items at random, uniformly, and the target."""
    rng = np.random.default_rng(seed)

    def select(query: Query) -> Candidates:
        rows = np.sort(rng.choice(len(catalogue), min(count, len(catalogue)), replace=False))
        row = catalogue.row(query.exposure.item_key)
        found = catalogue.candidates(query, rows[rows != row] if row is not None else rows)
        return Candidates(found.ids, found.keys, found.actions, row is not None, sampled_from=len(catalogue))

    return select
