"""What a ranking is worth: plain functions of where the wanted items stood, and intervals over users.

One wanted item: ``rank_of``, ``hit_at``, ``ndcg_at``. Any number of them: ``hit``, ``recall``, ``ndcg``, ``mrr``, over
places. Probabilities: ``auc``, ``log_loss``, ``calibration_error``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb, log2

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Ranks = npt.NDArray[np.float64]


def rank_of(wanted: int, scores: npt.NDArray[np.floating]) -> int:
    """Return the place, from 1, of candidate ``wanted`` by its score ``(N,)``; equal scores rank in candidate order."""
    mine = scores[wanted]
    return 1 + int(np.count_nonzero(scores > mine) + np.count_nonzero(scores[:wanted] == mine))


def hit_at(place: int | None, k: int = 10) -> float:
    """Return 1 if the wanted item stands among the first ``k``; ``None`` is an item that was not ranked at all."""
    return float(place is not None and place <= k)


def ndcg_at(place: int | None, k: int = 10) -> float:
    """Return the discounted gain of one wanted item: 1 / log2(place + 1) among the first ``k``."""
    return 1.0 / log2(place + 1) if place is not None and place <= k else 0.0


def random_hit_at(candidates: int, k: int = 10) -> float:
    """Return the expected HIT@k of a random order: exact, not sampled."""
    return min(1.0, k / candidates)


def random_ndcg_at(candidates: int, k: int = 10) -> float:
    """Return the expected NDCG@k of a random order: exact, not sampled."""
    return sum(1.0 / log2(place + 1) for place in range(1, min(k, candidates) + 1)) / candidates


def hit(places: Ints, k: int) -> float:
    """Return 1 if any wanted item, at ``places`` from 1, stands among the first ``k``."""
    return float(bool(len(places)) and int(places.min()) <= k)


def recall(places: Ints, k: int) -> float:
    """Return the share of the wanted items among the first ``k``, of those that could stand there."""
    return float(np.count_nonzero(places <= k)) / min(k, len(places)) if len(places) else 0.0


def ndcg(places: Ints, k: int) -> float:
    """Return the discounted gain of the wanted items, of the most that they could have."""
    if not len(places):
        return 0.0
    best = (1.0 / np.log2(np.arange(1, min(k, len(places)) + 1) + 1)).sum()
    return float((1.0 / np.log2(places[places <= k] + 1)).sum() / best)


def mrr(places: Ints) -> float:
    """Return one over the first wanted item's place."""
    return 1.0 / float(places.min()) if len(places) else 0.0


def random_hit(wanted: int, candidates: int, k: int) -> float:
    """Return the expected ``hit`` of a random order: exact, not sampled."""
    if wanted == 0:
        return 0.0
    return 1.0 if k >= candidates else 1.0 - comb(candidates - wanted, k) / comb(candidates, k)


def random_ndcg(wanted: int, candidates: int, k: int) -> float:
    """Return the expected ``ndcg`` of a random order: exact, not sampled."""
    if wanted == 0:
        return 0.0
    gains = 1.0 / np.log2(np.arange(1, min(k, candidates) + 1) + 1)
    return float(gains.sum() * wanted / candidates / gains[: min(k, wanted)].sum())


def recalls(ranks: Sequence[Ranks], k: int) -> Ranks:
    """Return recall@k of each case, ``(n,)``."""
    return np.array([np.mean(case < k) for case in ranks], np.float64)


def reciprocal_ranks(ranks: Sequence[Ranks]) -> Ranks:
    """Return 1 / the place of the best answer of each case, ``(n,)``."""
    return np.array([1.0 / (1.0 + case.min()) for case in ranks], np.float64)


@dataclass(frozen=True)
class HeadMetrics:
    """How well one head ranks what was acted on among what was not."""

    hit: float  # share of wanted items among the first k
    ndcg: float  # mean of 1 / log2(place + 1), 0 beyond the first k
    wanted: int  # items that the means are over
    candidates: float  # mean number of items that a wanted one was ranked among, itself included


def ranks_of(scores: npt.NDArray[np.floating], wanted: Bools) -> list[tuple[float, int]]:
    """Return each wanted item's place, from 1, among the unwanted ones, and how many were ranked with it."""
    others = scores[~wanted]
    return [
        (1.0 + np.count_nonzero(others > mine) + np.count_nonzero(others == mine) / 2, 1 + len(others))
        for mine in scores[wanted]
    ]


def head_metrics(found: Sequence[tuple[float, int]], k: int) -> HeadMetrics:
    """Return the means over (rank, candidates ranked) pairs."""
    inside = [place for place, _ in found if place <= k]
    return HeadMetrics(
        hit=len(inside) / len(found),
        ndcg=sum(1.0 / log2(place + 1) for place in inside) / len(found),
        wanted=len(found),
        candidates=sum(ranked for _, ranked in found) / len(found),
    )
