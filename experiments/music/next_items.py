"""The next item of a session on 30Music: what is asked, and how models of sessions and of flat histories answer."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from rankstream.events.sequences import UserSequences
from rankstream.experiments.music.data import MAX_ASKED, MusicSplit, spell
from rankstream.experiments.music.session_rivals import HRNN
from rankstream.features.embeddings.memory import Ints, ItemTable
from rankstream.features.schema import Floats
from rankstream.models.sessions.sessionize import Sessions, newest_items, sessions_of, vectors_of_open_sessions
from rankstream.models.training.holdout import next_item_cases

CUTS = (1, 5, 10)


@dataclass(frozen=True)
class NextItems:
    """Rows after which the next item of the same session is asked for, by user."""

    users: Ints  # (n,) place among the users asked, sorted
    rows: Ints  # (n,) of the timelines
    items: Ints  # (n,) catalogue rows
    current: Ints | None = None  # (n,) catalogue rows of what was just played: no answer, and in nobody's way


def next_items(sequences: UserSequences, split: MusicSplit, seed: int = 0) -> NextItems:
    """Ask the split's users from T0 on, each at most 10 times, for an item other than the one just played.

    The item just played is the nearest one to itself, and the answer in half a percent of the cases: left in, it takes
    the first place of whoever ranks by nearness.
    """
    users = np.flatnonzero(np.isin(sequences.user_ids, split.asked_ids))
    rows = np.flatnonzero(np.isin(sequences.users, users) & (sequences.times_ms >= split.from_ms))
    rows = rows[rows + 1 < len(sequences)]
    rows = rows[sequences.item_rows[rows] != sequences.item_rows[rows + 1]]
    cases = next_item_cases(sequences, rows, exclude_seen=False)
    lots = np.random.default_rng([seed, 32]).random(len(cases))
    owners = sequences.users[cases.rows]
    order = np.lexsort((lots, owners))
    nth = np.arange(len(order)) - np.searchsorted(owners[order], owners[order])
    kept = np.sort(order[nth < MAX_ASKED])
    _, places = np.unique(owners[kept], return_inverse=True)
    answers = np.concatenate([cases.answers[case] for case in kept])
    return NextItems(places, cases.rows[kept], answers, sequences.item_rows[cases.rows[kept]])


def ranks_of_scores(scores: Floats, items: Ints, current: Ints | None = None) -> npt.NDArray[np.float64]:
    """Return the rank, from 1, of ``items (n,)`` by ``scores (n, items)``; of equal ones half stand before.

    ``current (n,)`` are taken out of the race; -1 takes none.
    """
    if current is not None:
        scores = scores.copy()
        asked = np.flatnonzero(current >= 0)
        scores[asked, current[asked]] = -np.inf
    right = np.take_along_axis(scores, items[:, None], axis=1)
    ranks: npt.NDArray[np.float64] = 1.0 + (scores > right).sum(1) + ((scores == right).sum(1) - 1) / 2
    return ranks


def ranks_of_vectors(
    vectors: Floats, item_table: ItemTable, asked: NextItems, chunk: int = 1024
) -> npt.NDArray[np.float64]:
    """Return the ranks of the asked items by dot product of ``vectors (n, I)``."""
    found = []
    for at in range(0, len(vectors), chunk):
        part = slice(at, at + chunk)
        current = None if asked.current is None else asked.current[part]
        found.append(ranks_of_scores(vectors[part] @ item_table.vectors.T, asked.items[part], current))
    return np.concatenate(found)


def outcome(ranks: npt.NDArray[np.float64], asked: NextItems) -> dict[str, str]:
    """Spell hits at each cut, and the mean reciprocal rank, user by user."""
    counts = np.bincount(asked.users)
    hits = {f"hits@{cut}": spell(np.bincount(asked.users, ranks <= cut).astype(np.int64)) for cut in CUTS}
    means = np.bincount(asked.users, 1 / ranks) / counts
    return {"asked": spell(counts), **hits, "reciprocal_ranks": " ".join(f"{mean:.4f}" for mean in means)}


def baseline_ranks(
    sequences: UserSequences, item_table: ItemTable, split: MusicSplit, asked: NextItems
) -> dict[str, npt.NDArray[np.float64]]:
    """Return the ranks by what needs no training."""
    past = (sequences.times_ms < split.from_ms) & (sequences.item_rows >= 0)
    counts = np.bincount(sequences.item_rows[past], minlength=len(item_table)).astype(np.float32)
    popular, alike = ItemTable(item_table.ids, counts[:, None]), np.ones((len(asked.items), 1), np.float32)
    last = item_table.padded[sequences.item_rows[asked.rows]]
    return {
        "popularity": ranks_of_vectors(alike, popular, asked),
        "last item": ranks_of_vectors(last, item_table, asked),
        "moving average": ranks_of_vectors(moving_averages(sequences, item_table, asked.rows), item_table, asked),
    }


def moving_averages(sequences: UserSequences, item_table: ItemTable, rows: Ints, count: int = 10) -> Floats:
    """Return the mean of the user's newest ``count`` items up to and with each row."""
    window = rows[:, None] - np.arange(count)
    held = window >= sequences.starts[sequences.users[rows]][:, None]
    vectors = item_table.padded[np.where(held, sequences.item_rows[np.maximum(window, 0)], -1)]
    means: Floats = vectors.sum(1) / held.sum(1)[:, None].astype(np.float32)
    return means


@torch.no_grad()
def hrnn_vectors_at(model: HRNN, sequences: UserSequences, item_table: ItemTable, rows: Ints) -> Floats:
    """Return HRNN's session vector after each of these rows, ``(n, I)``."""
    sessions = sessions_of(sequences, item_table)
    states = _hrnn_states(model, sessions, sequences, item_table)
    return vectors_of_open_sessions(model.low_level, states, sessions, sequences, item_table, rows, 512)


def _hrnn_states(model: HRNN, sessions: Sessions, sequences: UserSequences, item_table: ItemTable) -> torch.Tensor:
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
