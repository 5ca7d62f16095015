"""The figures of the demo as they grow: what the feeds were worth, how fast they came, how fresh they were.

Pure: it is told what happened and answers questions; ``screen.py`` draws it, ``report.py`` writes it down.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from rankstream.metrics.bootstrap import bootstrap_interval
from rankstream.metrics.ranking import hit, ndcg, random_hit, random_ndcg

K = 10
HYBRID = "hybrid ranker, realtime"
FROZEN = "same ranker, no realtime actions"
POPULAR = "popularity"
RANDOM = "random"
RIVALS = (HYBRID, FROZEN, POPULAR, RANDOM)


@dataclass(frozen=True)
class Scored:
    """One request, judged when its user's next positive action was known."""

    user: object
    candidates: int
    places: dict[str, int | None]  # rival -> place of the wanted item, from 1; None if it was not ranked
    history: int  # actions of the user before the request
    latency_ms: float  # produced -> consumed
    fresh: bool  # did the feed know the newest action that was produced before it?
    newest_age_ms: float | None  # wall clock: that action produced -> feed consumed


@dataclass
class Scoreboard:
    """All judged requests, and the sums that a screen asks for many times a second."""

    judged: list[Scored] = field(default_factory=list)
    errors: int = 0
    hits: dict[str, list[float]] = field(default_factory=lambda: {rival: [] for rival in RIVALS})
    gains: dict[str, list[float]] = field(default_factory=lambda: {rival: [] for rival in RIVALS})

    def add(self, one: Scored) -> None:
        """Take in one request."""
        self.judged.append(one)
        for rival, place in one.places.items():
            ranks = np.array([] if place is None else [place], np.int64)
            self.hits[rival].append(hit(ranks, K))
            self.gains[rival].append(ndcg(ranks, K))
        self.hits[RANDOM].append(random_hit(1, one.candidates, K))
        self.gains[RANDOM].append(random_ndcg(1, one.candidates, K))

    def hit(self, rival: str) -> float:
        """Return HIT@10 so far."""
        return _mean(self.hits[rival])

    def ndcg(self, rival: str) -> float:
        """Return NDCG@10 so far."""
        return _mean(self.gains[rival])

    def latency_ms(self, quantile: float) -> float:
        """Return a quantile of the latency, produced -> consumed."""
        return quantile_of([one.latency_ms for one in self.judged], quantile)

    def fresh_share(self) -> float:
        """Return the share of feeds that knew the newest action produced before their request."""
        return _mean([float(one.fresh) for one in self.judged])

    def newest_age_ms(self, quantile: float) -> float:
        """Return a quantile of the wall-clock age of the newest known action, of feeds that knew any."""
        return quantile_of([one.newest_age_ms for one in self.judged if one.newest_age_ms is not None], quantile)

    def interval(self, rival: str, values: dict[str, list[float]]) -> tuple[float, float]:
        """Return the 95 % interval of a rival's mean, users drawn anew."""
        return bootstrap_interval(values[rival], [one.user for one in self.judged], seed=1)

    def lead(self, rival: str, values: dict[str, list[float]]) -> tuple[float, tuple[float, float]]:
        """Return how far the hybrid is ahead of a rival, paired by request, with the 95 % interval."""
        ahead = np.array(values[HYBRID]) - np.array(values[rival])
        return float(ahead.mean()), bootstrap_interval(ahead, [one.user for one in self.judged], seed=1)


def quantile_of(values: Sequence[float], quantile: float) -> float:
    """Return a quantile, NaN of nothing."""
    return float(np.quantile(values, quantile)) if values else float("nan")


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")
