"""Ways to ask for a user's next items by the items that were liked: one vector, or one of each of several interests.

::

    last item, means          one query, which has all places
    clusters                  a medoid each; three are sampled by importance, and have places in proportion
    and the last item         one more query, with an even share: what serves (``retrieval/sources/interests.py``)

Clusters are PinnerSage's (Ward, up to a distance), one of all, or k-means' (Lloyd's, from random different actions).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from rankstream.features.interests.interests import decayed
from rankstream.features.schema import Floats, Ints
from rankstream.graph.topics import clustered
from rankstream.models.users.pinnersage import PinnerSageConfig, medoids_of, ward_labels
from rankstream.retrieval.index.base import unit
from rankstream.retrieval.sources.interests import SAMPLED
from rankstream.retrieval.sources.recent_likes import NEWEST_POSITIVE

CONFIG = PinnerSageConfig()
PAPER_DECAY = 0.01  # lambda; of a day here
K_MEANS = 5
LAST = "last item"


@dataclass(frozen=True)
class Liked:
    """What a user liked, newest first."""

    units: Floats  # (n, I)
    ages_ms: Ints  # (n,)


Queries = tuple[Floats, Floats]  # unit vectors (q, I), and the share of the places of each (q,)
Way = Callable[[Liked, np.random.Generator], Queries]


def ways() -> Iterator[tuple[str, Way]]:
    """Yield each way and its name; the first is what the others are held against."""
    yield LAST, lambda liked, _: _one(liked.units[0])
    yield f"mean of the last {NEWEST_POSITIVE}", lambda liked, _: _one(liked.units[:NEWEST_POSITIVE].sum(axis=0))
    for decay in (PAPER_DECAY, CONFIG.decay_per_day):
        yield f"decayed mean, {decay:g} a day", partial(_decayed_mean, decay=decay)
    yield "one cluster, its medoid", partial(_sampled, labels=_all_alike, decay=CONFIG.decay_per_day)
    for decay in (PAPER_DECAY, CONFIG.decay_per_day):
        yield f"k-means ({K_MEANS}), {decay:g} a day", partial(_sampled, labels=_k_means, decay=decay)
        yield f"Ward, {decay:g} a day", partial(_sampled, labels=_ward, decay=decay)
        yield f"Ward, {decay:g} a day, and the last item", partial(_sampled, labels=_ward, decay=decay, last=True)


def _one(vector: Floats) -> Queries:
    return unit(vector[None]), np.ones(1, np.float32)


def _decayed_mean(liked: Liked, _: np.random.Generator, decay: float) -> Queries:
    return _one((decayed(liked.ages_ms, decay) @ liked.units).astype(np.float32))


def _sampled(
    liked: Liked, rng: np.random.Generator, labels: Callable[[Floats], Ints], decay: float, last: bool = False
) -> Queries:
    """Return up to three clusters' medoids, sampled by importance."""
    of = labels(liked.units)
    weights = np.bincount(of, decayed(liked.ages_ms, decay))
    chosen = rng.choice(len(weights), min(SAMPLED, len(weights)), replace=False, p=weights / weights.sum())
    units = liked.units[medoids_of(liked.units, of)[chosen]]
    shares = weights[chosen] / weights[chosen].sum() * len(chosen)
    if last:
        units, shares = np.concatenate([liked.units[:1], units]), np.append(1.0, shares)
    return units, shares.astype(np.float32)


def _ward(units: Floats) -> Ints:
    return ward_labels(units, CONFIG.max_merge_distance)


def _all_alike(units: Floats) -> Ints:
    return np.zeros(len(units), np.int64)


def _k_means(units: Floats) -> Ints:
    """Return the clusters of k-means, numbered without those that nothing is in."""
    labels: Ints = np.unique(clustered(units, K_MEANS), return_inverse=True)[1]
    return labels
