"""What a ranking is worth: plain functions of where the wanted items stood, and intervals over users.

One wanted item: ``place_of``, ``hit_at``, ``ndcg_at``. Any number of them: ``hit``, ``recall``, ``ndcg``, ``mrr``, over
places. Probabilities: ``auc``, ``log_loss``, ``calibration_error``.
"""

from collections.abc import Sequence
from math import comb, log2

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

SMALLEST = 1e-7  # a probability is never taken for nearer to 0 or 1 than this


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


def hit(places: Ints, k: int) -> float:
    """Give 1 if any wanted item, at ``places`` from 1, stands among the first ``k``."""
    return float(bool(len(places)) and int(places.min()) <= k)


def recall(places: Ints, k: int) -> float:
    """Give the share of the wanted items among the first ``k``, of those that could stand there."""
    return float(np.count_nonzero(places <= k)) / min(k, len(places)) if len(places) else 0.0


def ndcg(places: Ints, k: int) -> float:
    """Give the discounted gain of the wanted items, of the most that they could have."""
    if not len(places):
        return 0.0
    best = (1.0 / np.log2(np.arange(1, min(k, len(places)) + 1) + 1)).sum()
    return float((1.0 / np.log2(places[places <= k] + 1)).sum() / best)


def mrr(places: Ints) -> float:
    """Give one over the first wanted item's place."""
    return 1.0 / float(places.min()) if len(places) else 0.0


def chance_of_hit(wanted: int, candidates: int, k: int) -> float:
    """Give the expected ``hit`` of a random order: exact, not sampled."""
    if wanted == 0:
        return 0.0
    return 1.0 if k >= candidates else 1.0 - comb(candidates - wanted, k) / comb(candidates, k)


def chance_of_ndcg(wanted: int, candidates: int, k: int) -> float:
    """Give the expected ``ndcg`` of a random order: exact, not sampled."""
    if wanted == 0:
        return 0.0
    gains = 1.0 / np.log2(np.arange(1, min(k, candidates) + 1) + 1)
    return float(gains.sum() * wanted / candidates / gains[: min(k, wanted)].sum())


def auc(scores: Floats, labels: Bools, weights: Floats | None = None) -> float:
    """Give the chance that a positive scores above a negative, ties count half; NaN without one of each."""
    order = np.argsort(scores, kind="stable")
    return auc_in_order(scores[order], labels[order], np.ones(len(scores)) if weights is None else weights[order])


def auc_in_order(scores: Floats, labels: Bools, weights: Floats) -> float:
    """Give ``auc`` of rows that are sorted by score: what a bootstrap calls a thousand times."""
    _, first = np.unique(scores, return_index=True)
    if not len(first):
        return float("nan")
    above = np.add.reduceat(np.where(labels, weights, 0.0), first)
    below = np.add.reduceat(np.where(labels, 0.0, weights), first)
    positives, negatives = above.sum(), below.sum()
    if positives == 0 or negatives == 0:
        return float("nan")
    beaten = np.cumsum(below) - below / 2
    return float((above * beaten).sum() / (positives * negatives))


def log_loss(probabilities: Floats, labels: Bools) -> Floats:
    """Give each row's loss, natural logarithm."""
    sure = np.clip(probabilities, SMALLEST, 1 - SMALLEST)
    losses: Floats = -np.log(np.where(labels, sure, 1 - sure))
    return losses


def calibration(probabilities: Floats, labels: Bools, bins: int = 10) -> list[tuple[float, float, int]]:
    """Give mean probability, share of positives and rows of each bin; bins hold about equally many rows."""
    if not len(probabilities):
        return []
    parts = np.array_split(np.argsort(probabilities, kind="stable"), min(bins, len(probabilities)))
    return [(float(probabilities[part].mean()), float(labels[part].mean()), len(part)) for part in parts if len(part)]


def calibration_error(probabilities: Floats, labels: Bools, bins: int = 10) -> float:
    """Give the mean distance between what was promised and what came, over rows (ECE, bins of equal size)."""
    rows = max(1, len(probabilities))
    return sum(abs(said - came) * count for said, came, count in calibration(probabilities, labels, bins)) / rows


def drawn_anew(chance: np.random.Generator, draws: int, count: int) -> Floats:
    """Give ``(draws, count)``: how often each of ``count`` owners is drawn when as many are drawn anew."""
    owners = chance.integers(0, count, (draws, count)) + count * np.arange(draws)[:, None]
    return np.bincount(owners.ravel(), minlength=draws * count).reshape(draws, count).astype(np.float64)


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
