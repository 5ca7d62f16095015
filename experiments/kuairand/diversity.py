"""Diversity of the first ten of a ranking: what the time-window mask is for (TransAct, 3.3.4).

The log's own lists are too short for ten, so each of some test requests ranks the same pool: items sampled as often as
they were shown in the test. Every model ranks the same pool for the same requests.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from rankstream.experiments.kuairand.request_cache import RequestCache
from rankstream.models.ranker.hybrid import RankerBatch

Score = Callable[[RankerBatch], npt.NDArray[np.float64]]  # (B,) the score that lists are ordered by

REQUESTS, POOL, FIRST = 200, 150, 10


def diversity(
    score: Score, cache: RequestCache, kinds: Mapping[int, tuple[str, str]], seed: int = 0
) -> dict[str, float]:
    """Return different tags and authors among the first ten, and how similar their vectors are, means over requests.

    ``kinds`` holds tag and author of each item key. Nearness is the mean cosine of two of the ten.
    """
    rng = np.random.default_rng(seed)
    shown, at = np.unique(np.asarray(cache.candidates), return_index=True)
    often = np.bincount(np.searchsorted(shown, np.asarray(cache.candidates))).astype(np.float64)
    pool = at[rng.choice(len(shown), min(POOL, len(shown)), replace=False, p=often / often.sum())]
    items = np.asarray(cache.columns["candidate_items"][pool], np.float32)
    features = torch.from_numpy(np.asarray(cache.columns["candidate_features"][pool], np.float32))
    found = [
        _of_list(items, [kinds.get(int(key), ("", "")) for key in cache.candidates[pool]], scores)
        for row in rng.permutation(len(cache))[:REQUESTS]
        for scores in [score(_all_of(cache.batch(np.array([row])), torch.from_numpy(items), features))]
    ]
    return dict(zip(("tags", "authors", "nearness"), np.mean(found, axis=0).tolist(), strict=True))


def _all_of(batch: RankerBatch, items: torch.Tensor, features: torch.Tensor) -> RankerBatch:
    """Return one request with the pool as its candidates."""
    return replace(
        batch,
        request_of=torch.zeros(len(items), dtype=torch.int64),
        candidate_items=items,
        candidate_features=features,
        labels=torch.zeros(len(items), batch.labels.shape[1]),
        weights=torch.ones(len(items)),
    )


def _of_list(
    items: npt.NDArray[np.float32], kinds: list[tuple[str, str]], scores: npt.NDArray[np.float64]
) -> tuple[float, float, float]:
    best = np.argsort(-scores, kind="stable")[:FIRST]
    near = items[best] @ items[best].T
    pairs = near[np.triu_indices(len(best), 1)]
    tags, authors = ({kinds[index][which] for index in best} for which in (0, 1))
    return float(len(tags)), float(len(authors)), float(pairs.mean())
