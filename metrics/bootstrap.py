"""Bootstrap intervals over users: requests of one user are alike, so users are resampled, not requests."""

from collections.abc import Sequence

import numpy as np

from rankstream.metrics.ranking import Floats


def bootstrap_weights(rng: np.random.Generator, draws: int, count: int) -> Floats:
    """Return ``(draws, count)``: how often each of ``count`` owners is drawn when as many are drawn anew."""
    owners = rng.integers(0, count, (draws, count)) + count * np.arange(draws)[:, None]
    return np.bincount(owners.ravel(), minlength=draws * count).reshape(draws, count).astype(np.float64)


def bootstrap_interval(
    values: Sequence[float] | Floats, users: Sequence[object], *, seed: int, draws: int = 1000, level: float = 0.95
) -> tuple[float, float]:
    """Return the interval of the mean of ``values`` when users, not requests, are drawn anew.

    Requests of one user are alike, so drawing requests one by one would give intervals that are too narrow.
    Raises ``ValueError`` for no values.
    """
    if not len(values):
        raise ValueError("no values to draw from; evaluate at least one request")
    names: dict[object, int] = {}
    owner = np.array([names.setdefault(user, len(names)) for user in users])
    sums = np.bincount(owner, np.asarray(values, np.float64))
    counts = np.bincount(owner)
    drawn = np.random.default_rng(seed).integers(0, len(names), (draws, len(names)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
