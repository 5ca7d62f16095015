"""Bootstrap intervals over users: one user's requests are alike, so users are resampled, not requests.

Resampling requests one by one would give intervals that are too narrow.
"""

from collections.abc import Sequence

import numpy as np

from rankstream.metrics.arrays import Floats


def bootstrap_weights(rng: np.random.Generator, resamples: int, count: int) -> Floats:
    """Return ``(resamples, count)``: how often each user is sampled among ``count`` with replacement."""
    users = rng.integers(0, count, (resamples, count)) + count * np.arange(resamples)[:, None]
    return np.bincount(users.ravel(), minlength=resamples * count).reshape(resamples, count).astype(np.float64)


def bootstrap_interval(
    values: Sequence[float] | Floats, users: Sequence[object], *, seed: int, resamples: int = 1000, level: float = 0.95
) -> tuple[float, float]:
    """Return the interval of the mean of ``values``, each of them of one of ``users``, by the percentile bootstrap.

    Raises ``ValueError`` for no values.
    """
    if not len(values):
        raise ValueError("no values to resample; evaluate at least one request")
    rows: dict[object, int] = {}
    row = np.array([rows.setdefault(user, len(rows)) for user in users])
    sums = np.bincount(row, np.asarray(values, np.float64))
    counts = np.bincount(row)
    sampled = np.random.default_rng(seed).integers(0, len(rows), (resamples, len(rows)))
    means = sums[sampled].sum(axis=1) / counts[sampled].sum(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
