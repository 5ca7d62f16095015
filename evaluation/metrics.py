"""What a ranking is worth: plain functions of the place of the wanted item, and their intervals."""

from collections.abc import Sequence
from math import log2

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def place_of(wanted: int, scores: npt.NDArray[np.floating]) -> int:
    """Give the place, from 1, of candidate ``wanted`` by its score ``(N,)``; equal scores rank in candidate order."""
    mine = scores[wanted]
    return 1 + int(np.count_nonzero(scores > mine) + np.count_nonzero(scores[:wanted] == mine))


def hit_at(place: int | None, k: int = 10) -> float:
    """Give 1 if the wanted item stands among the first ``k``; ``None`` is an item that was not ranked at all."""
    return float(place is not None and place <= k)


def ndcg_at(place: int | None, k: int = 10) -> float:
    """Give the discounted gain of one wanted item: 1 / log2(place + 1) among the first ``k``."""
    return 1.0 / log2(place + 1) if place is not None and place <= k else 0.0


def expected_hit_of_chance(candidates: int, k: int = 10) -> float:
    """Give the expected HIT@k of a random order: exact, not sampled."""
    return min(1.0, k / candidates)


def expected_ndcg_of_chance(candidates: int, k: int = 10) -> float:
    """Give the expected NDCG@k of a random order: exact, not sampled."""
    return sum(1.0 / log2(place + 1) for place in range(1, min(k, candidates) + 1)) / candidates


def bootstrap_interval(
    values: Sequence[float] | Floats, users: Sequence[object], *, seed: int, draws: int = 1000, level: float = 0.95
) -> tuple[float, float]:
    """Give the interval of the mean of ``values`` when users, not requests, are drawn anew.

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
