"""Estimates by the source of candidates: what each earns in feeds, what in the target's, and what a feed earns without.

The parts of all sources sum to the feed's value, position by position, and are estimated as it is: a reward counts for
the source that proposed the item. ``without`` is the value of the target over what the other sources proposed
(``source_parts.py``); ``worth`` is how much more the target earns with the source, paired by request.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rankstream.evaluation.off_policy.estimators import (
    Estimate,
    Terms,
    as_logged,
    by_estimator,
    difference_interval,
    effective_sample_size,
    interval,
    prefix_weights,
)
from rankstream.evaluation.off_policy.slates import Slate, columns
from rankstream.evaluation.off_policy.source_parts import SourcePart
from rankstream.metrics.arrays import Floats


@dataclass(frozen=True)
class SourceResult:
    """One source over the first positions."""

    source: str
    shown: float  # share of the positions that were served
    served: Estimate  # reward of a feed by its items, as served
    per_item: Estimate  # reward of one of its items, as served; NaN where none was shown
    target: dict[str, Estimate]  # by estimator: reward of the target's feed by its items
    without: dict[str, Estimate]  # by estimator: reward of the target's feed if it proposed nothing
    worth: dict[str, Estimate]  # by estimator: reward of the target's feed, less that without it
    effective_sample_size: float  # at the last position, of the weights without it


@dataclass(frozen=True)
class Resampled:
    """How intervals are made."""

    users: Sequence[bytes]
    seed: int
    level: float

    def of(self, terms: Terms) -> Estimate:
        """Return an estimate with its interval."""
        return interval(terms, self.users, seed=self.seed, level=self.level)

    def difference(self, one: Terms, other: Terms) -> Estimate:
        """Return one less the other."""
        return difference_interval(one, other, self.users, seed=self.seed, level=self.level)


@dataclass(frozen=True)
class Feeds:
    """What all sources share of n feeds, over K positions."""

    slates: Sequence[Slate]
    rewards: Floats  # (n, K)
    factors: Floats  # (n, K) scale the reward model to rewards
    logged: Floats  # (n, K) propensities of what was served
    weights: Floats  # (n, K) of the target
    predicted: Floats  # (n, K) by the reward model, scaled
    whole: dict[str, Terms]  # by estimator: the target's value
    clip: float | None

    @classmethod
    def of(cls, slates: Sequence[Slate], rewards: Floats, factors: Floats, clip: float | None) -> "Feeds":
        """Estimate the whole feeds."""
        positions = rewards.shape[1]

        def of_slates(name: str, lacking: float) -> Floats:
            return _column([getattr(slate, name) for slate in slates], positions, lacking)

        logged, target = (of_slates(name, 1.0) for name in ("logged", "target"))
        predicted, expected = (factors * of_slates(name, 0.0) for name in ("predicted", "expected"))
        weights = prefix_weights(logged, target, clip)
        whole = by_estimator(rewards, weights, predicted, expected)
        return cls(slates, rewards, factors, logged, weights, predicted, whole, clip)


def results_by_source(
    slates: Sequence[Slate], rewards: Floats, factors: Floats, clip: float | None, resampled: Resampled
) -> list[SourceResult]:
    """Return the results of each source, those that were shown most first.

    ``factors`` ``(n, K)`` scale the reward model to rewards.
    """
    feeds = Feeds.of(slates, rewards, factors, clip)
    names = dict.fromkeys(name for slate in slates for name in slate.by_source)
    results = [_result(name, feeds, resampled) for name in names]
    return sorted(results, key=lambda one: (-one.shown, one.source))


def _result(name: str, feeds: Feeds, resampled: Resampled) -> SourceResult:
    rewards, factors, predicted, positions = feeds.rewards, feeds.factors, feeds.predicted, feeds.rewards.shape[1]
    parts = [slate.by_source.get(name, _no_part(slate)) for slate in feeds.slates]

    def column(found: Sequence[Floats], lacking: float) -> Floats:
        return _column(found, positions, lacking)

    shown = column([part.shown.astype(np.float64) for part in parts], 0.0)
    without = prefix_weights(feeds.logged, column([part.target_without for part in parts], 1.0), feeds.clip)
    its_own = by_estimator(
        shown * rewards, feeds.weights, shown * predicted, factors * column([part.expected for part in parts], 0.0)
    )
    others = by_estimator(rewards, without, predicted, factors * column([part.expected_without for part in parts], 0.0))
    served = np.array([len(slate.items[:positions]) for slate in feeds.slates]).sum()
    per_item = Terms((shown * rewards).sum(axis=1, keepdims=True), shown.sum(axis=1, keepdims=True))
    return SourceResult(
        source=name,
        shown=float(shown.sum() / served),
        served=resampled.of(as_logged(shown * rewards)),
        per_item=resampled.of(per_item),
        target={one: resampled.of(terms) for one, terms in its_own.items()},
        without={one: resampled.of(terms) for one, terms in others.items()},
        worth={one: resampled.difference(feeds.whole[one], others[one]) for one in others},
        effective_sample_size=float(effective_sample_size(without)[-1]),
    )


def _column(found: Sequence[Floats], positions: int, lacking: float) -> Floats:
    return columns([one[:positions] for one in found], positions, lacking)


def _no_part(slate: Slate) -> SourcePart:
    """Return the part of a source that proposed nothing: a feed without it is the feed."""
    nothing = np.zeros(len(slate.items))
    return SourcePart(nothing.astype(np.bool_), nothing, slate.target, slate.expected)
