"""Held-out users, the queries put to models on them, and the recall of what came after; plain functions of arrays.

Recall@k as PinnerFormer states it: a relevant item is found if fewer than k items of the table score higher, the
query's other relevant items not counted. Items with equal scores count half, so that a constant score earns no more
than random order.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rankstream.events.arrivals import LogError
from rankstream.events.sequences import UserSequences
from rankstream.features.embeddings.memory import Ints
from rankstream.features.schema import Floats
from rankstream.metrics.ranking import Ranks, recalls

AT_ONCE = 256  # queries whose scores of all items are held in memory


@dataclass(frozen=True)
class Queries:
    """Points in users' sequences at which a model is asked for items, and the items that are relevant there."""

    rows: Ints  # (n,) row of the user's last known action in the sequences
    relevant: tuple[Ints, ...]  # n times rows of the item table: what the user did act on next
    excluded: tuple[Ints, ...]  # n times rows of the item table that are not ranked: seen before

    def __len__(self) -> int:
        return len(self.rows)

    def sample(self, max_queries: int, seed: int = 0) -> "Queries":
        """Return at most so many queries, drawn at random."""
        return self.take(np.sort(np.random.default_rng(seed).permutation(len(self))[:max_queries]))

    def take(self, which: Ints) -> "Queries":
        """Return some of the queries."""
        relevant = tuple(self.relevant[n] for n in which)
        return Queries(self.rows[which], relevant, tuple(self.excluded[n] for n in which))


# --- Who is held out, and where in their sequences the queries stand ----------------------------------------------


def split_users(sequences: UserSequences, share: float, max_held_out: int, seed: int) -> tuple[Ints, Ints]:
    """Split users with at least two actions at random into those trained on and those held out.

    Raises ``LogError`` if no user is left to train on.
    """
    users = np.flatnonzero(np.diff(sequences.starts) >= 2)
    held_out = min(int(share * len(users)), max_held_out)
    if len(users) - held_out < 1:
        raise LogError(
            f"{len(users)} users have two known actions or more; wanted at least one to train on: give a longer log"
        )
    shuffled = np.random.default_rng([seed, 1]).permutation(users)
    return np.sort(shuffled[held_out:]), np.sort(shuffled[:held_out])


def rows_within(sequences: UserSequences, users: Ints, shares: Sequence[float]) -> Ints:
    """Return the rows at these shares of each user's sequence: 0.5 is the middle one."""
    starts, counts = sequences.starts[users], np.diff(sequences.starts)[users]
    rows = [starts + (share * (counts - 1)).astype(np.int64) for share in shares]
    return np.unique(np.concatenate([row[counts > 0] for row in rows]))


def rows_after(sequences: UserSequences, until_ms: int, shares: Sequence[float]) -> Ints:
    """Return the rows at these shares of what each user did from ``until_ms`` on."""
    after = np.flatnonzero(sequences.times_ms >= until_ms)
    users, firsts, counts = np.unique(sequences.users[after], return_index=True, return_counts=True)
    rows = [after[firsts] + (share * (counts - 1)).astype(np.int64) for share in shares]
    return np.unique(np.concatenate(rows)) if len(users) else np.zeros(0, np.int64)


# --- What is relevant there ---------------------------------------------------------------------------------------


def future_queries(
    sequences: UserSequences, positives: Ints, rows: Ints, horizon_ms: int, exclude_seen: bool = True
) -> Queries:
    """Query after each of these rows for the user's positives in the future ``(t, t + horizon]``.

    Rows without any are left out. ``positives`` are the rows of the sequences that count as positive, sorted.
    """
    first = np.searchsorted(positives, sequences.first_after(rows))
    last = np.searchsorted(positives, sequences.first_after(rows, horizon_ms))
    kept, relevant, excluded = [], [], []
    for row, start, end in zip(rows, first, last, strict=True):
        seen = _seen(sequences, int(row)) if exclude_seen else np.zeros(0, np.int64)
        items = np.unique(sequences.item_rows[positives[start:end]])
        items = items[(items >= 0) & ~np.isin(items, seen)]
        if len(items):
            kept.append(row)
            relevant.append(items)
            excluded.append(seen)
    return Queries(np.array(kept, np.int64), tuple(relevant), tuple(excluded))


def next_item_queries(sequences: UserSequences, rows: Ints, exclude_seen: bool = True) -> Queries:
    """Query after each of these rows for the item of the user's next action in the same session.

    Rows are left out whose next action belongs to another session, or repeats the same item with the same timestamp,
    or whose item is unknown or seen before.
    """
    starts = np.zeros(len(sequences) + 1, np.bool_)
    starts[sequences.session_starts()] = True
    starts[-1] = True
    kept, relevant, excluded = [], [], []
    rows = rows[~starts[rows + 1]]
    for row in rows[~sequences.again[rows + 1]]:
        seen = _seen(sequences, int(row)) if exclude_seen else np.zeros(0, np.int64)
        item = sequences.item_rows[row + 1]
        if item >= 0 and item not in seen:
            kept.append(row)
            relevant.append(np.array([item]))
            excluded.append(seen)
    return Queries(np.array(kept, np.int64), tuple(relevant), tuple(excluded))


def _seen(sequences: UserSequences, row: int) -> Ints:
    """Return the rows of the item table that the user acted on up to and with this row."""
    items = sequences.item_rows[sequences.starts[sequences.users[row]] : row + 1]
    return np.unique(items[items >= 0])


# --- How well it is answered --------------------------------------------------------------------------------------


def recall(vectors: Floats, items: Floats, queries: Queries, k: int = 10) -> float:
    """Return recall@k of the dot products of ``vectors (n, d)`` and ``items (items, d)``, averaged over queries."""
    recalled = [0.0] * len(queries)
    for at in range(0, len(queries), AT_ONCE):
        which = np.arange(at, min(at + AT_ONCE, len(queries)))
        recalled[at : at + AT_ONCE] = recalls(ranks_of_relevant(vectors[which] @ items.T, queries.take(which)), k)
    return float(np.mean(recalled)) if recalled else 0.0


def recall_of_scores(scores: Floats, queries: Queries, k: int = 10) -> float:
    """Return recall@k of scores ``(n, items)``, or ``(1, items)`` for the same scores in every query."""
    return float(np.mean(recalls(ranks_of_relevant(scores, queries), k))) if len(queries) else 0.0


def ranks_of_relevant(scores: Floats, queries: Queries) -> list[Ranks]:
    """Return how many items rank before each relevant item of each query, items with equal scores counting half.

    ``scores`` are ``(n, items)``, or ``(1, items)`` for the same scores in every query.
    """
    ranks = []
    for query, (relevant, excluded) in enumerate(zip(queries.relevant, queries.excluded, strict=True)):
        row = scores[query if len(scores) > 1 else 0]
        irrelevant = np.ones(len(row), np.bool_)
        irrelevant[relevant] = irrelevant[excluded] = False
        others = np.sort(row[irrelevant])
        lower = np.searchsorted(others, row[relevant], side="left")
        not_higher = np.searchsorted(others, row[relevant], side="right")
        ranks.append(len(others) - not_higher + (not_higher - lower) / 2)
    return ranks


def item_counts(sequences: UserSequences, rows: Ints, items: int) -> Floats:
    """Return how often each item occurs in these rows, ``(1, items)``: popularity as scores."""
    return np.bincount(sequences.item_rows[rows], minlength=items).astype(np.float32)[None]


def random_recall(queries: Queries, num_items: int, k: int = 10) -> float:
    """Return the recall@k of random order."""
    if not len(queries):
        return 0.0
    pairs = zip(queries.relevant, queries.excluded, strict=True)
    irrelevant = [num_items - len(excluded) - len(relevant) for relevant, excluded in pairs]
    return float(np.mean([min(1.0, k / (count + 1)) for count in irrelevant]))
