"""What the training loop needs to know of the ranker: its loss, and how well it ranks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log2

import numpy as np
import torch
from torch import Tensor

from features.join import Joinable, join
from features.schema import Floats
from models.losses import weighted_multi_head_loss
from models.ranker import Ranker, RankerBatch
from models.ranker_data import RankingExample
from models.split import SplitRanker


def even_label_weights(heads: int) -> Tensor:
    """Give M (heads, 1 + heads) in which every action, and none, weighs 1 on every head."""
    return torch.ones(heads, 1 + heads)


def ranker_loss(
    label_weights: Tensor, mask_window_ms: int, chance: torch.Generator
) -> Callable[[Ranker, RankerBatch], Tensor]:
    """Give the loss of a batch, a random last while of each history hidden from the ranker (a window of 0: nothing)."""

    def loss(ranker: Ranker, batch: RankerBatch) -> Tensor:
        seen = batch.hide_recent(mask_window_ms, chance) if mask_window_ms else batch
        weights = label_weights.to(seen.labels.device)
        return weighted_multi_head_loss(ranker(seen), seen.labels, weights, seen.weights)

    return loss


@dataclass(frozen=True)
class HeadMetrics:
    """How well one head ranks what was acted on among what was not."""

    hit: float  # share of wanted items among the first k
    ndcg: float  # the mean of 1 / log2(place + 1), 0 beyond the first k
    wanted: int  # items that the means are over
    candidates: float  # mean number of items that a wanted one was ranked among, itself included


def evaluate_ranker(
    ranker: Ranker, examples: Sequence[RankingExample], batch: Joinable, k: int = 10
) -> dict[str, HeadMetrics]:
    """Rank each wanted item among its request's items that the head's action was not done to.

    By the head's own probability; equal probabilities count half for and half against the wanted item. A head without
    a wanted item in ``examples`` is left out.
    """
    split = SplitRanker(ranker)
    places: dict[str, list[tuple[float, int]]] = {head: [] for head in ranker.config.heads}
    for example in examples:
        inputs = join(example.state, example.user_key, example.candidates, example.now_ms, batch)
        probabilities = split.probabilities(inputs)
        for column, head in enumerate(ranker.config.heads):
            places[head] += places_of(probabilities[:, column], example.labels[:, column] > 0)
    return {head: _metrics(found, k) for head, found in places.items() if found}


def places_of(scores: Floats, wanted: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> list[tuple[float, int]]:
    """Give each wanted item's place, from 1, among the unwanted ones, and how many were ranked with it."""
    others = scores[~wanted]
    return [
        (1.0 + np.count_nonzero(others > mine) + np.count_nonzero(others == mine) / 2, 1 + len(others))
        for mine in scores[wanted]
    ]


def _metrics(found: Sequence[tuple[float, int]], k: int) -> HeadMetrics:
    inside = [place for place, _ in found if place <= k]
    return HeadMetrics(
        hit=len(inside) / len(found),
        ndcg=sum(1.0 / log2(place + 1) for place in inside) / len(found),
        wanted=len(found),
        candidates=sum(ranked for _, ranked in found) / len(found),
    )
