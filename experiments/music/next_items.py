"""The next item of a session on 30Music: the queries, and the ranks of models of sessions and of flat histories."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from rankstream.events.sequences import UserSequences
from rankstream.experiments.music.data import MAX_TARGETS, MusicSplit, spell
from rankstream.experiments.music.session_baselines import HRNN
from rankstream.features.embeddings.memory import Ints, ItemTable
from rankstream.features.schema import Floats
from rankstream.models.sessions.sessionize import UserSessions, newest_items, sessionize, vectors_of_open_sessions
from rankstream.models.training.holdout import next_item_queries

CUTS = (1, 5, 10)


@dataclass(frozen=True)
class NextItems:
    """Rows, by user, and the next item of the same session: the one to find."""

    users: Ints  # (n,) index of the test user, sorted
    rows: Ints  # (n,) of the sequences
    items: Ints  # (n,) rows of the item table
    current: Ints | None = None  # (n,) rows of what was just played, which is not ranked


def next_items(sequences: UserSequences, split: MusicSplit, seed: int = 0) -> NextItems:
    """Query the test users from T0 on, each at most 10 times, for a next item other than the one just played.

    The item just played is the nearest one to itself, and the next one in half a percent of the cases: left in, it
    takes rank 1 of every model that ranks by similarity.
    """
    users = np.flatnonzero(np.isin(sequences.user_ids, split.test_ids))
    rows = np.flatnonzero(np.isin(sequences.users, users) & (sequences.times_ms >= split.from_ms))
    rows = rows[rows + 1 < len(sequences)]
    rows = rows[sequences.item_rows[rows] != sequences.item_rows[rows + 1]]
    queries = next_item_queries(sequences, rows, exclude_seen=False)
    priorities = np.random.default_rng([seed, 32]).random(len(queries))
    owners = sequences.users[queries.rows]
    order = np.lexsort((priorities, owners))
    nth = np.arange(len(order)) - np.searchsorted(owners[order], owners[order])
    kept = np.sort(order[nth < MAX_TARGETS])
    _, indices = np.unique(owners[kept], return_inverse=True)
    items = np.concatenate([queries.relevant[query] for query in kept])
    return NextItems(indices, queries.rows[kept], items, sequences.item_rows[queries.rows[kept]])


def ranks_of_scores(scores: Floats, items: Ints, current: Ints | None = None) -> npt.NDArray[np.float64]:
    """Return the rank, from 1, of ``items (n,)`` by ``scores (n, items)``; of equal scores half rank before.

    ``current (n,)`` are not ranked; -1 is none.
    """
    if current is not None:
        scores = scores.copy()
        known = np.flatnonzero(current >= 0)
        scores[known, current[known]] = -np.inf
    of_item = np.take_along_axis(scores, items[:, None], axis=1)
    ranks: npt.NDArray[np.float64] = 1.0 + (scores > of_item).sum(1) + ((scores == of_item).sum(1) - 1) / 2
    return ranks


def ranks_of_vectors(
    vectors: Floats, item_table: ItemTable, queries: NextItems, chunk: int = 1024
) -> npt.NDArray[np.float64]:
    """Return the ranks of the next items by dot product of ``vectors (n, I)``."""
    found = []
    for at in range(0, len(vectors), chunk):
        part = slice(at, at + chunk)
        current = None if queries.current is None else queries.current[part]
        found.append(ranks_of_scores(vectors[part] @ item_table.vectors.T, queries.items[part], current))
    return np.concatenate(found)


def outcome(ranks: npt.NDArray[np.float64], queries: NextItems) -> dict[str, str]:
    """Spell hits at each cut, and the mean reciprocal rank, user by user."""
    counts = np.bincount(queries.users)
    hits = {f"hits@{cut}": spell(np.bincount(queries.users, ranks <= cut).astype(np.int64)) for cut in CUTS}
    means = np.bincount(queries.users, 1 / ranks) / counts
    return {"targets": spell(counts), **hits, "reciprocal_ranks": " ".join(f"{mean:.4f}" for mean in means)}


def baseline_ranks(
    sequences: UserSequences, item_table: ItemTable, split: MusicSplit, queries: NextItems
) -> dict[str, npt.NDArray[np.float64]]:
    """Return the ranks of the baselines without training."""
    past = (sequences.times_ms < split.from_ms) & (sequences.item_rows >= 0)
    counts = np.bincount(sequences.item_rows[past], minlength=len(item_table)).astype(np.float32)
    popular, alike = ItemTable(item_table.ids, counts[:, None]), np.ones((len(queries.items), 1), np.float32)
    last = item_table.padded[sequences.item_rows[queries.rows]]
    return {
        "popularity": ranks_of_vectors(alike, popular, queries),
        "last item": ranks_of_vectors(last, item_table, queries),
        "moving average": ranks_of_vectors(moving_averages(sequences, item_table, queries.rows), item_table, queries),
    }


def moving_averages(sequences: UserSequences, item_table: ItemTable, rows: Ints, count: int = 10) -> Floats:
    """Return the mean of the user's newest ``count`` items up to and with each row."""
    window = rows[:, None] - np.arange(count)
    valid = window >= sequences.starts[sequences.users[rows]][:, None]
    vectors = item_table.padded[np.where(valid, sequences.item_rows[np.maximum(window, 0)], -1)]
    means: Floats = vectors.sum(1) / valid.sum(1)[:, None].astype(np.float32)
    return means


@torch.no_grad()
def hrnn_vectors_at(model: HRNN, sequences: UserSequences, item_table: ItemTable, rows: Ints) -> Floats:
    """Return HRNN's session vector after each of these rows, ``(n, I)``."""
    sessions = sessionize(sequences, item_table)
    states = _hrnn_states(model, sessions, sequences, item_table)
    return vectors_of_open_sessions(model.low_level, states, sessions, sequences, item_table, rows, 512)


def _hrnn_states(model: HRNN, sessions: UserSessions, sequences: UserSequences, item_table: ItemTable) -> torch.Tensor:
    """Return the user's state before every session: all users' second sessions, then all third ones."""
    items = torch.from_numpy(item_table.padded)
    before = torch.zeros(len(sessions), model.config.hidden)
    nth = np.arange(len(sessions)) - sessions.user_starts[sessions.users]
    order = np.argsort(nth, kind="stable")
    for now in np.split(order, np.cumsum(np.bincount(nth))[:-1])[1:]:
        last = now - 1
        opened, lengths = newest_items(sessions, sequences, last)
        started = functional.pad(items[torch.from_numpy(opened)], (0, 0, 1, 0))
        states = before[torch.from_numpy(last)]
        hidden = model.hidden(states, started)
        before[torch.from_numpy(now)] = model.after_session(states, hidden, torch.from_numpy(lengths))
    return before
