"""What a training step is drawn from: positions, labels, negatives, and how often each item is drawn.

Plain functions of arrays; chance is a generator that is handed in.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from models.timelines import Timelines

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]
MIX = 0x9E3779B97F4A7C15  # odd, from the golden ratio: spreads neighbouring rows over a sketch


@dataclass
class CountSketch:
    """Count-min sketch of how often each item occurs (PinnerFormer, 3.3): a count is never too small.

    With ``width`` of at least the number of items, ``depth`` 1 and a catalogue's rows as items, it is exact.
    """

    width: int
    depth: int = 4
    seed: int = 0
    total: int = 0
    counts: npt.NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        self.counts = np.zeros((self.depth, self.width), np.int64)
        chance = np.random.default_rng(self.seed)
        self._salts = chance.integers(0, 1 << 63, self.depth, np.uint64)

    def add(self, items: Ints) -> None:
        """Count these items, each as often as it occurs."""
        for row, places in zip(self.counts, self._places(items), strict=True):
            row += np.bincount(places, minlength=self.width)
        self.total += len(items)

    def count(self, items: Ints) -> Ints:
        """Give how often each item was counted, or more where items share all their places."""
        found = [row[places] for row, places in zip(self.counts, self._places(items), strict=True)]
        least: Ints = np.min(found, axis=0)
        return least

    def shares(self, items: Ints) -> Doubles:
        """Give each item's share of all counts; one count for an item that was never counted."""
        return np.maximum(self.count(items), 1) / max(self.total, 1)

    def _places(self, items: Ints) -> list[Ints]:
        if self.depth == 1 and not len(items[items >= self.width]):
            return [items]
        keys = items.astype(np.uint64)
        mixed = [((keys ^ salt) * np.uint64(MIX)) >> np.uint64(20) for salt in self._salts]
        return [(row % np.uint64(self.width)).astype(np.int64) for row in mixed]


def log_pool_rate(shares: Doubles, in_batch: int, uniform: int, num_items: int) -> Doubles:
    """Give log Q: the logarithm of how often each item is expected in one pool of negatives.

    The pool holds ``in_batch`` positives of the batch, drawn with these ``shares``, and ``uniform`` random items.
    Only differences matter to the softmax, so counts above 1 are fine.
    """
    return np.log(in_batch * shares + uniform / num_items)


def uniform_items(count: int, num_items: int, chance: np.random.Generator) -> Ints:
    """Draw random items, with repetitions."""
    return chance.integers(0, num_items, count)


@dataclass(frozen=True)
class Windows:
    """Stretches of timelines that a batch shows to a model; ``[start, end)``, each of one user."""

    starts: Ints  # (B,)
    ends: Ints  # (B,)

    @property
    def lengths(self) -> Ints:
        """How many actions each has."""
        return self.ends - self.starts


def random_windows(timelines: Timelines, users: Ints, limit: int, chance: np.random.Generator) -> Windows:
    """Draw a window of at most ``limit`` actions of each user, ending anywhere in the timeline.

    The end is drawn, not only the start: the newest position of a window is the one that serving asks for, and it must
    be trained with futures, not only at the end of what is known.
    """
    starts, ends = timelines.starts[users], timelines.starts[users + 1]
    drawn = starts + 1 + (chance.random(len(users)) * (ends - starts)).astype(np.int64)  # start + 1 .. end
    drawn = np.minimum(drawn, ends)
    return Windows(np.maximum(starts, drawn - limit), drawn)


@dataclass(frozen=True)
class DenseLabels:
    """Pairs of a position and a later positive of the same user: dense all-action (PinnerFormer, 3.4)."""

    windows: Ints  # (P,) which window of the batch
    positions: Ints  # (P,) which action in it, 0 the window's oldest
    items: Ints  # (P,) catalogue row of the positive


def dense_labels(
    timelines: Timelines,
    positives: Ints,
    windows: Windows,
    per_window: int,
    horizon_ms: int,
    chance: np.random.Generator,
) -> DenseLabels:
    """Draw positions in each window and, for each, one positive from its own next ``horizon_ms``.

    ``positives`` are the rows of timelines that count as positive, sorted. The label is strictly later than its
    position; positions without any are left out. The newest position of a window is always asked for: it is the served
    one.
    """
    which, rows = _positions(windows, per_window, chance)
    first = np.searchsorted(positives, timelines.first_after(rows))
    last = np.searchsorted(positives, timelines.first_after(rows, horizon_ms))
    has = np.flatnonzero(last > first)
    drawn = first[has] + (chance.random(len(has)) * (last - first)[has]).astype(np.int64)
    which, rows = which[has], rows[has]
    return DenseLabels(which, rows - windows.starts[which], timelines.item_rows[positives[drawn]])


def _positions(windows: Windows, per_window: int, chance: np.random.Generator) -> tuple[Ints, Ints]:
    """Give (window, row) of up to ``per_window`` different random positions each, the newest always among them."""
    lengths = windows.lengths
    which = np.repeat(np.arange(len(lengths)), lengths)
    offsets = np.arange(len(which)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    lots = chance.random(len(which))
    lots[offsets == lengths[which] - 1] = -1.0  # the newest is drawn first
    order = np.lexsort((lots, which))  # within each window, in random order
    kept = np.sort(order[offsets < per_window])
    return which[kept], windows.starts[which[kept]] + offsets[kept]
