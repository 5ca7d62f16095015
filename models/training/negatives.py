"""Negatives of a sampled softmax, and how often each item is one: counts, log Q, uniform draws.

Plain functions of arrays; the random generator is handed in.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]
MIX = 0x9E3779B97F4A7C15  # odd, from the golden ratio: spreads neighbouring rows over a sketch


@dataclass
class CountSketch:
    """Count-min sketch of how often each item occurs (PinnerFormer, 3.3): a count is never too small.

    With ``width`` of at least the number of items, ``depth`` 1 and rows of an item table as items, it is exact.
    """

    width: int
    depth: int = 4
    seed: int = 0
    total: int = 0
    counts: Ints = field(init=False)

    def __post_init__(self) -> None:
        self.counts = np.zeros((self.depth, self.width), np.int64)
        rng = np.random.default_rng(self.seed)
        self._salts = rng.integers(0, 1 << 63, self.depth, np.uint64)

    def add(self, items: Ints) -> None:
        """Count these items, each as often as it occurs."""
        for row, buckets in zip(self.counts, self._buckets(items), strict=True):
            row += np.bincount(buckets, minlength=self.width)
        self.total += len(items)

    def count(self, items: Ints) -> Ints:
        """Return how often each item was counted, or more where it shares every bucket with others."""
        found = [row[buckets] for row, buckets in zip(self.counts, self._buckets(items), strict=True)]
        smallest: Ints = np.min(found, axis=0)
        return smallest

    def shares(self, items: Ints) -> Doubles:
        """Return each item's share of all counts; one count for an item that was never counted."""
        return np.maximum(self.count(items), 1) / max(self.total, 1)

    def _buckets(self, items: Ints) -> list[Ints]:
        if self.depth == 1 and not len(items[items >= self.width]):
            return [items]
        keys = items.astype(np.uint64)
        mixed = [((keys ^ salt) * np.uint64(MIX)) >> np.uint64(20) for salt in self._salts]
        return [(row % np.uint64(self.width)).astype(np.int64) for row in mixed]


def log_pool_rate(shares: Doubles, in_batch: int, uniform: int, num_items: int) -> Doubles:
    """Return log Q: the logarithm of each item's expected count in one pool of negatives.

    The pool holds ``in_batch`` positives of the batch, drawn with these ``shares``, and ``uniform`` random items.
    Only differences matter to the softmax, so counts above 1 are fine.
    """
    return np.log(in_batch * shares + uniform / num_items)


def uniform_items(count: int, num_items: int, rng: np.random.Generator) -> Ints:
    """Draw items uniformly, with replacement."""
    return rng.integers(0, num_items, count)
