"""What another policy would have earned with the feeds that were served: estimates, how far to trust them, a verdict.

The reward model is the ranker's own probabilities times one factor a position (people look at lower positions less),
fitted on the other half of the users: so a user's rewards never enter their own predictions (cross-fitting), and the
doubly robust estimate stays unbiased (Chernozhukov et al. 2018, "Double/Debiased Machine Learning").
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import msgspec
import numpy as np

from rankstream.evaluation.off_policy.by_source import Resampled, SourceResult, results_by_source
from rankstream.evaluation.off_policy.estimators import (
    Estimate,
    Terms,
    as_logged,
    by_estimator,
    difference_interval,
    direct,
    effective_sample_size,
    interval,
    prefix_weights,
)
from rankstream.evaluation.off_policy.slates import Slate, columns
from rankstream.metrics.arrays import Floats

FEW = 100  # an effective sample size below this deserves no trust: its intervals are too narrow
FAR_OFF = 4.0  # standard errors that the mean weight may be from 1


@dataclass(frozen=True)
class EstimatorResult:
    """One estimator's value of the target."""

    value: Estimate  # reward of a feed
    gain: Estimate  # over what was served, with the same users resampled in both


@dataclass(frozen=True)
class Evaluation:
    """A target's value over the first positions."""

    positions: int
    served: Estimate  # value of what was served
    estimates: dict[str, EstimatorResult]  # by estimator: ips, snips, dr, and for one position dm
    effective_sample_size: list[float]  # by position: of its weights, the products from the top
    mean_weight: list[float]  # by position, before clipping; 1 is expected
    mean_weight_error: list[float]  # its standard error
    largest_weight: float  # before clipping


@dataclass(frozen=True)
class Report:
    """What came of it; ``as_dict`` is the same for machines."""

    target: str
    served_by: dict[str, int]  # policy -> feeds
    feeds: int
    users: int
    from_ms: int
    to_ms: int
    rewarded: int  # positions with a reward
    evaluations: list[Evaluation]  # the first position alone, then all positions
    by_source: list[SourceResult]  # over all positions; empty where it was not asked for
    warnings: list[str]
    best: str  # the estimator that the verdict goes by: dr, or snips where no head predicts a reward
    verdict: str
    skipped: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, as ``--json`` prints them."""
        values: dict[str, Any] = msgspec.to_builtins(self)
        return values


def evaluate(
    slates: Sequence[Slate],
    rewards: Floats,
    target: str,
    *,
    skipped: Mapping[str, int],
    marks: Sequence[str] = (),
    clip: float | None = None,
    seed: int = 0,
    level: float = 0.95,
) -> Report:
    """Estimate what the target would have earned; ``rewards`` ``(n, K)`` are those of the slates.

    ``marks`` belong into every output: leaks that were allowed.
    """
    users = [slate.user for slate in slates]
    positions = rewards.shape[1]
    counts = sorted({1, positions})
    evaluations = [_evaluation(slates, rewards[:, :count], users, clip, seed, level) for count in counts]
    by_source = _by_source(slates, rewards, clip, Resampled(users, seed, level))
    warnings = [*marks, *_warnings(slates, evaluations), *_few_without(by_source)]
    best = "dr" if any(slate.predicted.any() for slate in slates) else "snips"
    return Report(
        target=target,
        served_by=dict(Counter(slate.policy for slate in slates).most_common()),
        feeds=len(slates),
        users=len(set(users)),
        from_ms=min(slate.at_ms for slate in slates),
        to_ms=max(slate.at_ms for slate in slates),
        rewarded=int(np.count_nonzero(rewards)),
        evaluations=evaluations,
        by_source=by_source,
        warnings=warnings,
        best=best,
        verdict=_verdict(evaluations[-1], best),
        skipped=dict(skipped),
    )


def _evaluation(
    slates: Sequence[Slate], rewards: Floats, users: list[bytes], clip: float | None, seed: int, level: float
) -> Evaluation:
    positions = rewards.shape[1]
    unclipped = prefix_weights(_column(slates, "logged", positions, 1.0), _column(slates, "target", positions, 1.0))
    weights = unclipped if clip is None else np.minimum(unclipped, clip)
    served = as_logged(rewards)
    return Evaluation(
        positions=positions,
        served=interval(served, users, seed=seed, level=level),
        estimates={
            name: EstimatorResult(
                interval(terms, users, seed=seed, level=level),
                difference_interval(terms, served, users, seed=seed, level=level),
            )
            for name, terms in _estimates(slates, rewards, weights, users).items()
        },
        effective_sample_size=effective_sample_size(weights).tolist(),
        mean_weight=unclipped.mean(axis=0).tolist(),
        mean_weight_error=(unclipped.std(axis=0) / np.sqrt(len(slates))).tolist(),
        largest_weight=float(unclipped.max()),
    )


def _estimates(slates: Sequence[Slate], rewards: Floats, weights: Floats, users: Sequence[bytes]) -> dict[str, Terms]:
    positions = rewards.shape[1]
    predicted, expected = (_column(slates, name, positions, 0.0) for name in ("predicted", "expected"))
    factors = cross_fitted_factors(rewards, predicted, users)
    predicted, expected = factors * predicted, factors * expected
    found = by_estimator(rewards, weights, predicted, expected)
    return found | {"dm": direct(expected)} if positions == 1 else found


def _by_source(
    slates: Sequence[Slate], rewards: Floats, clip: float | None, resampled: Resampled
) -> list[SourceResult]:
    if not any(slate.by_source for slate in slates):
        return []
    predicted = _column(slates, "predicted", rewards.shape[1], 0.0)
    factors = cross_fitted_factors(rewards, predicted, resampled.users)
    return results_by_source(slates, rewards, factors, clip, resampled)


def _few_without(by_source: Sequence[SourceResult]) -> list[str]:
    few = [one.source for one in by_source if one.effective_sample_size < FEW]
    if not few:
        return []
    return [
        f"too few feeds look like the target's without {', '.join(few)} (an effective sample size below {FEW}): do not "
        "trust what they are worth; evaluate fewer positions, or log more, with more exploration"
    ]


def cross_fitted_factors(rewards: Floats, predicted: Floats, users: Sequence[bytes]) -> Floats:
    """Return ``(n, K)`` factors that scale predictions to rewards at each position, fitted on the half of other users.

    Least squares through the origin; 0 where there is nothing to learn from.
    """
    half = np.array([crc32(user) % 2 for user in users])  # whatever the order of the log
    factors = np.empty_like(rewards)
    for mine in (0, 1):
        others = half != mine
        squares = (predicted[others] ** 2).sum(axis=0)
        products = (rewards[others] * predicted[others]).sum(axis=0)
        factors[half == mine] = products / np.where(squares > 0, squares, np.inf)
    return factors


def _column(slates: Sequence[Slate], name: str, positions: int, lacking: float) -> Floats:
    return columns([getattr(slate, name)[:positions] for slate in slates], positions, lacking)


def _warnings(slates: Sequence[Slate], evaluations: Sequence[Evaluation]) -> list[str]:
    warnings = []
    for one in evaluations:
        size, where = one.effective_sample_size[-1], f"{one.positions} positions"
        if size < FEW:
            warnings.append(
                f"for {'the first position' if one.positions == 1 else where} the effective sample size is {size:,.0f} "
                f"of {len(slates):,} feeds: too few to trust the intervals; "
                f"{'evaluate fewer positions, ' if one.positions > 1 else ''}evaluate a target nearer to what was "
                "served, or log more, with more exploration"
            )
    off = [position for position in range(evaluations[-1].positions) if _is_far_off(evaluations[-1], position)]
    if off:  # the positions below inherit it
        warnings.append(
            f"weights at position {off[0] + 1} are {evaluations[-1].mean_weight[off[0]]:.2f} on average where 1 is "
            "expected: the log does not show enough of what the target does there, or the propensities are not those "
            "of the policy that served"
        )
    if not any(slate.predicted.any() for slate in slates):
        warnings.append("no head of the feeds is named like an action that counts, so dr has no model and is ips")
    return warnings


def _is_far_off(evaluation: Evaluation, position: int) -> bool:
    allowed = FAR_OFF * evaluation.mean_weight_error[position]
    return abs(evaluation.mean_weight[position] - 1) > max(allowed, 1e-6)


def _verdict(evaluation: Evaluation, best: str) -> str:
    if evaluation.effective_sample_size[-1] < FEW:
        return "no verdict: the log shows too little of what the target does"
    gain = evaluation.estimates[best].gain
    gained = f"{gain.value:+.4f} a feed ({gain.low:+.4f} to {gain.high:+.4f}) by {best}"
    if gain.low > 0:
        return f"the target would earn more than what was served: {gained}"
    if gain.high < 0:
        return f"the target would earn less than what was served: {gained}"
    return f"no clear difference from what was served: {gained}"
