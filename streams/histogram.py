"""How often values fell into which bucket: a distribution that is cheap to count and can be added up over workers."""

from bisect import bisect_left
from collections.abc import Sequence

MOMENTS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)  # of work done
AGES_S = (0.1, 1.0, 5.0, 30.0, 60.0, 300.0, 1800.0, 3600.0, 21_600.0, 86_400.0, 604_800.0, 2_592_000.0)  # to 30 days


class Histogram:
    """Counts by upper bound; observing takes under a microsecond and no lock: let one thread observe at a time."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)  # ascending; a value belongs to the first that is not below it
        self.counts = [0] * (len(self.bounds) + 1)  # the last: above all bounds
        self.sum = 0.0

    @property
    def count(self) -> int:
        """Return how many values were observed."""
        return sum(self.counts)

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def add(self, other: "Histogram") -> None:
        """Add another one's counts. Raises ``ValueError`` where its bounds differ."""
        if other.bounds != self.bounds:
            raise ValueError(f"bounds {other.bounds} came; wanted {self.bounds}, as counts of others can't be split")
        self.counts = [one + another for one, another in zip(self.counts, other.counts, strict=True)]
        self.sum += other.sum

    def cumulative(self) -> list[tuple[float, int]]:
        """Return how many values were at most each bound; the last, infinity, is all of them."""
        found, total = [], 0
        for bound, count in zip((*self.bounds, float("inf")), tuple(self.counts), strict=True):
            total += count
            found.append((bound, total))
        return found
