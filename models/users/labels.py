"""Training windows of users' sequences, and which later actions are a position's positives.

The four objectives of PinnerFormer's table 3 are four functions here. They differ in the (position, positive) pairs
alone; losses and negatives are not known here.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rankstream.events.sequences import UserSequences
from rankstream.models.training.negatives import Ints


@dataclass(frozen=True)
class Windows:
    """Slices of the sequences that a batch shows to a model: rows ``[start, end)``, each of one user."""

    starts: Ints  # (B,)
    ends: Ints  # (B,)

    @property
    def lengths(self) -> Ints:
        """How many actions each has."""
        return self.ends - self.starts


def random_windows(sequences: UserSequences, users: Ints, limit: int, rng: np.random.Generator) -> Windows:
    """Draw a window of at most ``limit`` actions of each user, ending anywhere in the user's sequence.

    The end is drawn, not only the start: serving encodes the newest position of a history, so that position must be
    trained with a future behind it, not only at the end of the log.
    """
    starts, last = sequences.starts[users], sequences.starts[users + 1]
    ends = starts + 1 + (rng.random(len(users)) * (last - starts)).astype(np.int64)  # start + 1 .. last
    ends = np.minimum(ends, last)
    return Windows(np.maximum(starts, ends - limit), ends)


@dataclass(frozen=True)
class DenseLabels:
    """Pairs of a position and a later positive of the same user."""

    windows: Ints  # (P,) which window of the batch
    positions: Ints  # (P,) which action in it, 0 the window's oldest
    items: Ints  # (P,) row of the item table: the positive


# An objective: (sequences, positives, windows, per_window, horizon_ms, rng) -> pairs. Positions are at most
# ``per_window`` a window, a positive is strictly later than its position and within ``horizon_ms``; positions without
# any are left out. ``positives`` are the rows of the sequences that count as positive, sorted.
SampleLabels = Callable[[UserSequences, Ints, Windows, int, int, np.random.Generator], DenseLabels]


def dense_labels(
    sequences: UserSequences,
    positives: Ints,
    windows: Windows,
    per_window: int,
    horizon_ms: int,
    rng: np.random.Generator,
) -> DenseLabels:
    """Dense all-action (3.4): random positions in each window and, for each, one positive from its own future.

    The newest position of a window is always among them: it is the one that is served.
    """
    which, rows = _positions(windows, per_window, rng)
    first, last = _futures(sequences, positives, rows, horizon_ms)
    drawn = first + (rng.random(len(rows)) * (last - first)).astype(np.int64)
    return _labels(sequences, positives, windows, which, rows, np.where(last > first, drawn, -1))


def each_next_labels(
    sequences: UserSequences,
    positives: Ints,
    windows: Windows,
    per_window: int,
    horizon_ms: int,
    rng: np.random.Generator,
) -> DenseLabels:
    """SASRec's objective: random positions in each window, the next positive of each."""
    which, rows = _positions(windows, per_window, rng)
    first, last = _futures(sequences, positives, rows, horizon_ms)
    return _labels(sequences, positives, windows, which, rows, np.where(last > first, first, -1))


def next_labels(
    sequences: UserSequences,
    positives: Ints,
    windows: Windows,
    per_window: int,
    horizon_ms: int,
    rng: np.random.Generator,
) -> DenseLabels:
    """Next action: the newest position of each window and its next positive."""
    return each_next_labels(sequences, positives, windows, 1, horizon_ms, rng)


def all_action_labels(
    sequences: UserSequences,
    positives: Ints,
    windows: Windows,
    per_window: int,
    horizon_ms: int,
    rng: np.random.Generator,
) -> DenseLabels:
    """All-action: the newest position of each window and ``per_window`` different positives of its future."""
    first, last = _futures(sequences, positives, windows.ends - 1, horizon_ms)
    futures = Windows(first, last)
    which, drawn = _positions(futures, per_window, rng)
    return _labels(sequences, positives, windows, which, windows.ends[which] - 1, drawn)


def _futures(sequences: UserSequences, positives: Ints, rows: Ints, horizon_ms: int) -> tuple[Ints, Ints]:
    """Return the slice of ``positives`` that lies within ``horizon_ms`` after each row."""
    first = np.searchsorted(positives, sequences.first_after(rows))
    return first, np.searchsorted(positives, sequences.first_after(rows, horizon_ms))


def _labels(
    sequences: UserSequences, positives: Ints, windows: Windows, which: Ints, rows: Ints, drawn: Ints
) -> DenseLabels:
    """Return the pairs whose positive, an index into ``positives``, is not -1."""
    has = np.flatnonzero(drawn >= 0)
    which = which[has]
    return DenseLabels(which, rows[has] - windows.starts[which], sequences.item_rows[positives[drawn[has]]])


def _positions(windows: Windows, per_window: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """Return (window, row) of up to ``per_window`` different random positions each, the newest always among them."""
    lengths = windows.lengths
    which = np.repeat(np.arange(len(lengths)), lengths)
    offsets = np.arange(len(which)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    priorities = rng.random(len(which))
    priorities[offsets == lengths[which] - 1] = -1.0  # the newest is drawn first
    order = np.lexsort((priorities, which))  # within each window, in random order
    kept = np.sort(order[offsets < per_window])
    return which[kept], windows.starts[which[kept]] + offsets[kept]
