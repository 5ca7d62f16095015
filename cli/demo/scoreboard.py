"""The metrics of the demo as they grow: ranking quality, latency and freshness of the feeds.

Pure: results are added and metrics are read; ``screen.py`` shows them, ``report.py`` writes them down.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from rankstream.metrics.bootstrap import bootstrap_interval
from rankstream.metrics.ranking import hit, ndcg, random_hit, random_ndcg

K = 10
HYBRID = "hybrid ranker, realtime"
LIMIT = 200  # films that are found for a request which names none
FOUND = f"the same, of {LIMIT} films found for it"
NO_REALTIME = "same ranker, no realtime actions"
VMIS_KNN = "VMIS-kNN: items of similar sessions"
ITEM_KNN = "item-kNN: items of the same sessions"
POPULAR = "popularity"
RANDOM = "random"
BASELINES = (FOUND, NO_REALTIME, VMIS_KNN, ITEM_KNN, POPULAR, RANDOM)
RANKERS = (HYBRID, *BASELINES)


@dataclass(frozen=True)
class Scored:
    """One request, scored when its user's next positive action was known."""

    user: object
    candidates: int
    ranks: dict[str, int | None]  # ranker -> rank of that action's item, from 1; None if it was not ranked
    history: int  # actions of the user before the request
    latency_ms: float  # produced -> consumed
    fresh: bool  # did the feed know the newest action that was produced before it?
    newest_age_ms: float | None  # wall clock: that action produced -> feed consumed


@dataclass
class Scoreboard:
    """All scored requests, and the values that a screen reads many times a second."""

    scored: list[Scored] = field(default_factory=list)
    errors: int = 0
    hits: dict[str, list[float]] = field(default_factory=lambda: {ranker: [] for ranker in RANKERS})
    gains: dict[str, list[float]] = field(default_factory=lambda: {ranker: [] for ranker in RANKERS})

    def add(self, one: Scored) -> None:
        """Add one request."""
        self.scored.append(one)
        for ranker, rank in one.ranks.items():
            ranks = np.array([] if rank is None else [rank], np.int64)
            self.hits[ranker].append(hit(ranks, K))
            self.gains[ranker].append(ndcg(ranks, K))
        self.hits[RANDOM].append(random_hit(1, one.candidates, K))
        self.gains[RANDOM].append(random_ndcg(1, one.candidates, K))

    def best_baseline(self) -> str:
        """Return what to beat: the one with the highest HIT@10 of those that know nothing of the model."""
        return max((VMIS_KNN, ITEM_KNN, POPULAR), key=self.hit)

    def hit(self, ranker: str) -> float:
        """Return HIT@10 so far."""
        return _mean(self.hits[ranker])

    def ndcg(self, ranker: str) -> float:
        """Return NDCG@10 so far."""
        return _mean(self.gains[ranker])

    def latency_ms(self, quantile: float) -> float:
        """Return a quantile of the latency, produced -> consumed."""
        return quantile_of([one.latency_ms for one in self.scored], quantile)

    def fresh_share(self) -> float:
        """Return the share of feeds that knew the newest action produced before their request."""
        return _mean([float(one.fresh) for one in self.scored])

    def newest_age_ms(self, quantile: float) -> float:
        """Return a quantile of the wall-clock age of the newest known action, of feeds that knew any."""
        return quantile_of([one.newest_age_ms for one in self.scored if one.newest_age_ms is not None], quantile)

    def interval(self, ranker: str, values: dict[str, list[float]]) -> tuple[float, float]:
        """Return the 95 % bootstrap interval of a ranker's mean, users resampled."""
        return bootstrap_interval(values[ranker], [one.user for one in self.scored], seed=1)

    def lead(self, baseline: str, values: dict[str, list[float]]) -> tuple[float, tuple[float, float]]:
        """Return how far the hybrid is ahead of a baseline, paired by request, with the 95 % interval."""
        ahead = np.array(values[HYBRID]) - np.array(values[baseline])
        return float(ahead.mean()), bootstrap_interval(ahead, [one.user for one in self.scored], seed=1)


def quantile_of(values: Sequence[float], quantile: float) -> float:
    """Return a quantile, NaN of nothing."""
    return float(np.quantile(values, quantile)) if values else float("nan")


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")
