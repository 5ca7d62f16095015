"""Off-policy estimators: what another policy would have earned, from the log of one that explored.

A log of ``n`` requests, of each the first ``K`` positions of its slate (``K`` = 1: a single action)::

    rewards   (n, K)   reward of the item at each position; 0 at positions that a short feed lacks
    logged    (n, K)   propensity of the logging policy for it, given those above; 1 where lacking
    target    (n, K)   the target policy's probability of it, given the same ones above; 1 where lacking

The value of a policy is the expected sum of a request's rewards. All estimators here weight position ``k`` by the
product of target / logged over the positions 1 to ``k`` (``prefix_weights``). They are unbiased if an item's reward
depends on the items above it, itself and its position, not on those below (the cascade: people read from the top), and
if the logging policy can do all that the target does. With ``whole_list`` weights the first condition is not needed;
they vary far more. Where a request shows one item there is no such condition, and these are the estimators of
contextual bandits:

- inverse propensity score: Horvitz & Thompson 1952; Strehl et al. 2010, "Learning from Logged Implicit Exploration
  Data"; by prefixes of a slate: McInerney et al. 2020, "Counterfactual Evaluation of Slate Recommendations with
  Sequential Reward Interactions" (RIPS);
- self-normalized: Swaminathan & Joachims 2015, "The Self-Normalized Estimator for Counterfactual Learning";
- doubly robust: Dudik, Langford & Li 2011, "Doubly Robust Policy Evaluation and Learning"; by prefixes: Kiyohara et
  al. 2022, "Doubly Robust Off-Policy Evaluation for Ranking Policies under the Cascade Behavior Model".

Every estimator returns ``Terms``, one row a request, so that one bootstrap serves all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rankstream.metrics.arrays import Floats
from rankstream.metrics.bootstrap import bootstrap_weights

WEIGHTS_AT_ONCE = 1 << 20  # of a bootstrap: memory stays flat however long the log


@dataclass(frozen=True)
class Terms:
    """A ratio estimate by request: the sum over positions of sum(numerators) / sum(denominators), both ``(n, K)``."""

    numerators: Floats
    denominators: Floats

    @property
    def value(self) -> float:
        """Return the estimate; NaN where no request has weight at a position."""
        return float(_sum_of_ratios(self.numerators.sum(axis=0), self.denominators.sum(axis=0)))


@dataclass(frozen=True)
class Estimate:
    """A value and its interval."""

    value: float
    low: float
    high: float


def prefix_weights(logged: Floats, target: Floats, clip: float | None = None) -> Floats:
    """Return ``(n, K)`` importance weights: how much likelier the target makes the feed from the top to each position.

    ``clip`` is the maximum of a weight (Ionides 2008, "Truncated Importance Sampling"): less variance, for a
    bias towards too low values when rewards are not negative. Raises ``ValueError`` for propensities that are none.
    """
    if logged.shape != target.shape or logged.ndim != 2:
        raise ValueError(f"propensities {logged.shape} and {target.shape} given; wanted both (requests, positions)")
    if not ((logged > 0) & (logged <= 1)).all() or not ((target >= 0) & (target <= 1)).all():
        raise ValueError("propensities must be above 0 (the target's 0 or more) and at most 1; log them with the feed")
    weights = np.cumprod(target / logged, axis=1, dtype=np.float64)
    return weights if clip is None else np.minimum(weights, clip)


def whole_list(weights: Floats) -> Floats:
    """Return the whole list's weight at every position: unbiased whatever a reward depends on, of more variance."""
    return np.repeat(weights[:, -1:], weights.shape[1], axis=1)


def effective_sample_size(weights: Floats) -> Floats:
    """Return ``(K,)``: how many requests of the target itself would give as much certainty (Kish 1965)."""
    squares = (weights**2).sum(axis=0)
    sizes: Floats = weights.sum(axis=0) ** 2 / np.where(squares > 0, squares, 1.0)
    return sizes


def as_logged(rewards: Floats) -> Terms:
    """Return the value of the logging policy: the mean reward."""
    return Terms(rewards, np.ones_like(rewards))


def inverse_propensity(rewards: Floats, weights: Floats) -> Terms:
    """Weight each reward by how much likelier the target makes it: unbiased."""
    return Terms(weights * rewards, np.ones_like(rewards))


def self_normalized(rewards: Floats, weights: Floats) -> Terms:
    """Divide by the weights' sum, not by the number of requests: never outside of the rewards seen, a little biased."""
    return Terms(weights * rewards, weights)


def direct(expected: Floats) -> Terms:
    """Trust a reward model: ``expected`` ``(n, 1)`` is its mean reward of the target. As biased as the model."""
    return Terms(expected, np.ones_like(expected))


def doubly_robust(rewards: Floats, weights: Floats, predicted: Floats, expected: Floats) -> Terms:
    """Trust a reward model and weight only its errors: unbiased for any model, of less variance the better it is.

    ``predicted`` ``(n, K)`` is the model's reward of the item that was shown, ``expected`` ``(n, K)`` its mean over
    what the target would show there after the same items. The model must not have seen the rewards given here. Why
    any model will do: given the prefix, the target-weighted mean of ``predicted`` is ``expected`` times the weight of
    the prefix before, so both cancel.
    """
    before = np.concatenate([np.ones_like(weights[:, :1]), weights[:, :-1]], axis=1)
    return Terms(weights * (rewards - predicted) + before * expected, np.ones_like(rewards))


def by_estimator(rewards: Floats, weights: Floats, predicted: Floats, expected: Floats) -> dict[str, Terms]:
    """Return the terms of each estimator that takes any number of positions."""
    return {
        "ips": inverse_propensity(rewards, weights),
        "snips": self_normalized(rewards, weights),
        "dr": doubly_robust(rewards, weights, predicted, expected),
    }


def interval(
    terms: Terms, users: Sequence[object], *, seed: int, resamples: int = 1000, level: float = 0.95
) -> Estimate:
    """Return the estimate with its interval when users, not requests, are resampled.

    The percentile bootstrap (Efron 1979). It knows only the weights that were seen: where the effective sample size
    is a few dozen, or the target shows what the log never does, the truth lies outside more often than ``level`` says.
    """
    numerators, denominators = _by_user(terms, users)
    rng, count = np.random.default_rng(seed), len(numerators)
    at_once = max(1, WEIGHTS_AT_ONCE // count)
    blocks = (bootstrap_weights(rng, min(at_once, resamples - start), count) for start in range(0, resamples, at_once))
    values = np.concatenate([_sum_of_ratios(times @ numerators, times @ denominators) for times in blocks])
    values = values[np.isfinite(values)]
    if not len(values):
        return Estimate(terms.value, float("nan"), float("nan"))
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(terms.value, float(low), float(high))


def difference_interval(
    one: Terms, other: Terms, users: Sequence[object], *, seed: int, resamples: int = 1000, level: float = 0.95
) -> Estimate:
    """Return ``one`` minus ``other`` over the same requests: paired, so what both share cancels."""
    both = Terms(np.hstack([one.numerators, -other.numerators]), np.hstack([one.denominators, other.denominators]))
    return interval(both, users, seed=seed, resamples=resamples, level=level)


def _by_user(terms: Terms, users: Sequence[object]) -> tuple[Floats, Floats]:
    if not len(terms.numerators) or len(users) != len(terms.numerators):
        raise ValueError(
            f"{len(terms.numerators)} requests of {len(users)} users given; wanted one each, and at least one"
        )
    rows: dict[object, int] = {}
    row = np.array([rows.setdefault(one, len(rows)) for one in users])
    sums = [np.zeros((len(rows), terms.numerators.shape[1])) for _ in range(2)]
    np.add.at(sums[0], row, terms.numerators)
    np.add.at(sums[1], row, terms.denominators)
    return sums[0], sums[1]


def _sum_of_ratios(numerators: Floats, denominators: Floats) -> Floats:
    """Divide and sum over the last axis, the positions."""
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios: Floats = np.asarray(numerators / denominators)
    return np.asarray(ratios.sum(axis=-1), np.float64)
