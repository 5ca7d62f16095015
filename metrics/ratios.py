"""Ratios of sums, and how far they are from one another, where rows come in clusters: one user's are alike.

The variance is that of the linearised ratio over clusters (Cochran 1977, "Sampling Techniques", 6.4); no resampling, so
that hundreds of windows take no time.
"""

from dataclasses import dataclass
from math import inf, nan, sqrt

import numpy as np
import numpy.typing as npt

from rankstream.metrics.arrays import Floats

NORMAL_95 = 1.959964


@dataclass(frozen=True)
class Ratio:
    """Part of a whole, summed over rows, with its standard error."""

    part: float
    whole: float
    error: float  # inf where one cluster alone says nothing of others

    @property
    def value(self) -> float:
        """Return it; NaN of nothing."""
        return self.part / self.whole if self.whole else nan

    @property
    def interval(self) -> tuple[float, float]:
        """Return the 95 % interval."""
        return self.value - NORMAL_95 * self.error, self.value + NORMAL_95 * self.error

    def standard_scores_above(self, other: "Ratio") -> float:
        """Return by how many standard errors it is above another, of other rows; 0 where nothing can be told."""
        error = sqrt(self._error_of_counts**2 + other._error_of_counts**2)
        return (self.value - other.value) / error if error < inf else 0.0

    def less(self, other: "Ratio") -> tuple[float, float, float]:
        """Return by how much it is above another, of other clusters, and the 95 % interval of that."""
        apart, error = self.value - other.value, sqrt(self.error**2 + other.error**2)
        return apart, apart - NORMAL_95 * error, apart + NORMAL_95 * error

    @property
    def _error_of_counts(self) -> float:
        """Return the error; where all clusters are the same, which has none, that of a count one higher."""
        return self.error or (sqrt(self.part + 1) / self.whole if self.whole else inf)


def ratio(part: Floats, whole: Floats, clusters: npt.NDArray[np.unsignedinteger]) -> Ratio:
    """Return the ratio of the sums of ``part`` and ``whole`` ``(n,)``, rows of a cluster ``(n,)`` being alike."""
    total = float(whole.sum())
    _, row = np.unique(clusters, return_inverse=True)
    count = int(row.max()) + 1 if len(row) else 0
    if not total or count < 2:
        return Ratio(float(part.sum()), total, inf)
    value = float(part.sum()) / total
    apart = np.bincount(row, part - value * whole)
    return Ratio(float(part.sum()), total, sqrt(float((apart**2).sum()) * count / (count - 1)) / total)
