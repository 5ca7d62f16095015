"""How good vectors are at finding what a user does next; plain functions of arrays.

Recall@k as PinnerFormer states it: a positive is found if fewer than k items of the catalogue score higher, the user's
other positives not counted. Items scoring the same count half, so that a constant score earns no more than chance.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rankstream.events.sequences import UserSequences
from rankstream.features.embeddings.memory import Ints
from rankstream.features.schema import Floats
from rankstream.metrics.ranking import Ranks, recalls


@dataclass(frozen=True)
class Cases:
    """Moments at which to ask, and what was right."""

    rows: Ints  # (n,) row of the last known action in the timelines
    answers: tuple[Ints, ...]  # n times the catalogue rows that were right
    hidden: tuple[Ints, ...]  # n times the catalogue rows that are no answer: seen before

    def __len__(self) -> int:
        return len(self.rows)

    def sample(self, maximum: int, seed: int = 0) -> "Cases":
        """Return at most so many cases, drawn at random."""
        return self.take(np.sort(np.random.default_rng(seed).permutation(len(self))[:maximum]))

    def take(self, which: Ints) -> "Cases":
        """Return some of the cases."""
        return Cases(self.rows[which], tuple(self.answers[n] for n in which), tuple(self.hidden[n] for n in which))


def future_cases(
    sequences: UserSequences, positives: Ints, rows: Ints, horizon_ms: int, exclude_seen: bool = True
) -> Cases:
    """Ask after each of these rows for the user's positives of the time to come, ``(t, t + horizon]``.

    Rows without any are left out. ``positives`` are the rows of timelines that count, sorted.
    """
    first = np.searchsorted(positives, sequences.first_after(rows))
    last = np.searchsorted(positives, sequences.first_after(rows, horizon_ms))
    kept, answers, hidden = [], [], []
    for row, start, end in zip(rows, first, last, strict=True):
        seen = _seen(sequences, int(row)) if exclude_seen else np.zeros(0, np.int64)
        right = np.unique(sequences.item_rows[positives[start:end]])
        right = right[(right >= 0) & ~np.isin(right, seen)]
        if len(right):
            kept.append(row)
            answers.append(right)
            hidden.append(seen)
    return Cases(np.array(kept, np.int64), tuple(answers), tuple(hidden))


def next_item_cases(sequences: UserSequences, rows: Ints, exclude_seen: bool = True) -> Cases:
    """Ask after each of these rows for the item of the user's next action in the same session.

    Rows whose next action belongs to another session, or is one more on the same item at the same moment, or whose item
    is unknown or seen before, are left out.
    """
    starts = np.zeros(len(sequences) + 1, np.bool_)
    starts[sequences.session_starts()] = True
    starts[-1] = True
    kept, answers, hidden = [], [], []
    rows = rows[~starts[rows + 1]]
    for row in rows[~sequences.again[rows + 1]]:
        seen = _seen(sequences, int(row)) if exclude_seen else np.zeros(0, np.int64)
        right = sequences.item_rows[row + 1]
        if right >= 0 and right not in seen:
            kept.append(row)
            answers.append(np.array([right]))
            hidden.append(seen)
    return Cases(np.array(kept, np.int64), tuple(answers), tuple(hidden))


def _seen(sequences: UserSequences, row: int) -> Ints:
    """Return the catalogue rows that the user acted on up to and with this row."""
    items = sequences.item_rows[sequences.starts[sequences.users[row]] : row + 1]
    return np.unique(items[items >= 0])


def recall(queries: Floats, items: Floats, cases: Cases, k: int = 10) -> float:
    """Return recall@k of dot products of ``queries (n, d)`` and ``items (items, d)``, averaged over cases."""
    return recall_of_scores(queries @ items.T, cases, k)


def recall_of_scores(scores: Floats, cases: Cases, k: int = 10) -> float:
    """Return recall@k of scores ``(n, items)``, or ``(1, items)`` for the same scores in every case."""
    return float(np.mean(recalls(answer_ranks(scores, cases), k))) if len(cases) else 0.0


def answer_ranks(scores: Floats, cases: Cases) -> list[Ranks]:
    """Return how many items rank before each answer of each case, those scoring the same for half.

    ``scores`` are ``(n, items)``, or ``(1, items)`` for the same scores in every case.
    """
    ranks = []
    for case, (right, seen) in enumerate(zip(cases.answers, cases.hidden, strict=True)):
        row = scores[case if len(scores) > 1 else 0]
        wrong = np.ones(len(row), np.bool_)
        wrong[right] = wrong[seen] = False
        others = np.sort(row[wrong])
        lower = np.searchsorted(others, row[right], side="left")
        not_higher = np.searchsorted(others, row[right], side="right")
        ranks.append(len(others) - not_higher + (not_higher - lower) / 2)
    return ranks


def rows_after(sequences: UserSequences, until_ms: int, shares: Sequence[float]) -> Ints:
    """Return the rows at these shares of what each user did from ``until_ms`` on."""
    after = np.flatnonzero(sequences.times_ms >= until_ms)
    users, firsts, counts = np.unique(sequences.users[after], return_index=True, return_counts=True)
    rows = [after[firsts] + (share * (counts - 1)).astype(np.int64) for share in shares]
    return np.unique(np.concatenate(rows)) if len(users) else np.zeros(0, np.int64)


def item_counts(sequences: UserSequences, rows: Ints, items: int) -> Floats:
    """Return how often each item occurs in these rows, ``(1, items)``: popularity as scores."""
    return np.bincount(sequences.item_rows[rows], minlength=items).astype(np.float32)[None]


def random_recall(cases: Cases, num_items: int, k: int = 10) -> float:
    """Return the recall@k of random order."""
    if not len(cases):
        return 0.0
    rivals = [num_items - len(seen) - len(right) for right, seen in zip(cases.answers, cases.hidden, strict=True)]
    return float(np.mean([min(1.0, k / (count + 1)) for count in rivals]))


def rows_within(sequences: UserSequences, users: Ints, shares: Sequence[float]) -> Ints:
    """Return the rows at these shares of each user's timeline: 0.5 is the middle one."""
    starts, counts = sequences.starts[users], np.diff(sequences.starts)[users]
    rows = [starts + (share * (counts - 1)).astype(np.int64) for share in shares]
    return np.unique(np.concatenate([row[counts > 0] for row in rows]))


def split_users(sequences: UserSequences, share: float, maximum: int, seed: int) -> tuple[Ints, Ints]:
    """Cut users with at least two actions into those to train on and those held out, at random.

    Raises ``ValueError`` if nobody is left to train on.
    """
    users = np.flatnonzero(np.diff(sequences.starts) >= 2)
    held_out = min(int(share * len(users)), maximum)
    if len(users) - held_out < 1:
        raise ValueError(f"{len(users)} users have two known actions or more; wanted at least one to train on")
    mixed = np.random.default_rng([seed, 1]).permutation(users)
    return np.sort(mixed[held_out:]), np.sort(mixed[:held_out])
