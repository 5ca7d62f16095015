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


def results_by_source(
    slates: Sequence[Slate], rewards: Floats, factors: Floats, clip: float | None, resampled: Resampled
) -> list[SourceResult]:
    """Return the results of each source, those that were shown most first.

    ``factors`` ``(n, K)`` scale the reward model to rewards.
    """
    names = dict.fromkeys(name for slate in slates for name in slate.by_source)
    results = [_result(name, slates, rewards, factors, clip, resampled) for name in names]
    return sorted(results, key=lambda one: (-one.shown, one.source))


def _result(
    name: str, slates: Sequence[Slate], rewards: Floats, factors: Floats, clip: float | None, resampled: Resampled
) -> SourceResult:
    positions = rewards.shape[1]
    parts = [slate.by_source.get(name, _no_part(slate)) for slate in slates]

    def column(found: Sequence[Floats], lacking: float) -> Floats:
        return columns([one[:positions] for one in found], positions, lacking)

    shown = column([part.shown.astype(np.float64) for part in parts], 0.0)
    logged, target = (column([getattr(slate, one) for slate in slates], 1.0) for one in ("logged", "target"))
    predicted, expected = (
        factors * column([getattr(slate, one) for slate in slates], 0.0) for one in ("predicted", "expected")
    )
    weights, without = (
        prefix_weights(logged, one, clip) for one in (target, column([part.target_without for part in parts], 1.0))
    )
    whole = by_estimator(rewards, weights, predicted, expected)
    its_own = by_estimator(
        shown * rewards, weights, shown * predicted, factors * column([part.expected for part in parts], 0.0)
    )
    others = by_estimator(rewards, without, predicted, factors * column([part.expected_without for part in parts], 0.0))
    served = np.array([len(slate.items[:positions]) for slate in slates]).sum()
    per_item = Terms((shown * rewards).sum(axis=1, keepdims=True), shown.sum(axis=1, keepdims=True))
    return SourceResult(
        source=name,
        shown=float(shown.sum() / served),
        served=resampled.of(as_logged(shown * rewards)),
        per_item=resampled.of(per_item),
        target={one: resampled.of(terms) for one, terms in its_own.items()},
        without={one: resampled.of(terms) for one, terms in others.items()},
        worth={one: resampled.difference(whole[one], others[one]) for one in others},
        effective_sample_size=float(effective_sample_size(without)[-1]),
    )


def _no_part(slate: Slate) -> SourcePart:
    """Return the part of a source that proposed nothing: a feed without it is the feed."""
    nothing = np.zeros(len(slate.items))
    return SourcePart(nothing.astype(np.bool_), nothing, slate.target, slate.expected)
