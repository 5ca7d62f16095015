"""What another policy would have earned, from the log of one that left something to chance.

A log of ``n`` requests, of each the first ``K`` places (``K`` = 1: a single action)::

    rewards   (n, K)   what the item at each place earned; 0 at places that a short feed lacks
    logged    (n, K)   propensity with which the logging policy put it there, given those before; 1 where lacking
    target    (n, K)   the probability with which the target would have, given the same ones before; 1 where lacking

The value of a policy is the expected sum of a request's rewards. All estimators here weigh place ``k`` by the product
of target / logged over the places 1 to ``k`` (``prefix_weights``). They are unbiased if what an item earns depends on
the items above it, itself and its place, not on those below (the cascade: people read from the top), and if the
logging policy can do all that the target does. With ``whole_list`` weights the first condition is not needed; they
vary far more. Where a request shows one item there is no such condition, and these are the estimators of contextual
bandits:

- inverse propensity score: Horvitz & Thompson 1952; Strehl et al. 2010, "Learning from Logged Implicit Exploration
  Data"; by prefixes of a slate: McInerney et al. 2020, "Counterfactual Evaluation of Slate Recommendations with
  Sequential Reward Interactions" (RIPS);
- self-normalized: Swaminathan & Joachims 2015, "The Self-Normalized Estimator for Counterfactual Learning";
- doubly robust: Dudik, Langford & Li 2011, "Doubly Robust Policy Evaluation and Learning"; by prefixes: Kiyohara et
  al. 2022, "Doubly Robust Off-Policy Evaluation for Ranking Policies under the Cascade Behavior Model".

Every estimator gives ``Terms``, one row a request, so that one bootstrap serves all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rankstream.metrics.bootstrap import bootstrap_weights

Floats = npt.NDArray[np.float64]

DRAWN_AT_ONCE = 1 << 20  # numbers of a bootstrap: memory stays flat however long the log


@dataclass(frozen=True)
class Terms:
    """An estimate by request: the sum over places of (sum of ``above``) / (sum of ``below``), both ``(n, K)``."""

    above: Floats
    below: Floats

    @property
    def value(self) -> float:
        """Return the estimate; not a number where no request says anything of a place."""
        return float(_sum_of_ratios(self.above.sum(axis=0), self.below.sum(axis=0)))


@dataclass(frozen=True)
class Estimate:
    """A value and its interval."""

    value: float
    low: float
    high: float


def prefix_weights(logged: Floats, target: Floats, clip: float | None = None) -> Floats:
    """Return ``(n, K)`` weights of the places: how much likelier the target makes the feed from the top to there.

    ``clip`` is the most that a weight may be (Ionides 2008, "Truncated Importance Sampling"): less variance, for a
    bias towards too low values when rewards are not negative. Raises ``ValueError`` for propensities that are none.
    """
    if logged.shape != target.shape or logged.ndim != 2:
        raise ValueError(f"propensities {logged.shape} and {target.shape} given; wanted both (requests, places)")
    if not ((logged > 0) & (logged <= 1)).all() or not ((target >= 0) & (target <= 1)).all():
        raise ValueError("propensities must be above 0 (the target's 0 or more) and at most 1; log them with the feed")
    weights = np.cumprod(target / logged, axis=1, dtype=np.float64)
    return weights if clip is None else np.minimum(weights, clip)


def whole_list(weights: Floats) -> Floats:
    """Return every place the weight of the whole list: right whatever a reward depends on, and of more variance."""
    return np.repeat(weights[:, -1:], weights.shape[1], axis=1)


def effective_sample_size(weights: Floats) -> Floats:
    """Return ``(K,)``: of how many requests logged by the target itself the weighted ones are worth (Kish 1965)."""
    squares = (weights**2).sum(axis=0)
    sizes: Floats = weights.sum(axis=0) ** 2 / np.where(squares > 0, squares, 1.0)
    return sizes


def as_logged(rewards: Floats) -> Terms:
    """Return the value of the logging policy: what was earned."""
    return Terms(rewards, np.ones_like(rewards))


def inverse_propensity(rewards: Floats, weights: Floats) -> Terms:
    """Weigh each reward by how much likelier the target makes it: unbiased."""
    return Terms(weights * rewards, np.ones_like(rewards))


def self_normalized(rewards: Floats, weights: Floats) -> Terms:
    """Divide by the weights' sum, not by the number of requests: never outside of the rewards seen, a little biased."""
    return Terms(weights * rewards, weights)


def direct(expected: Floats) -> Terms:
    """Believe a model: ``expected`` ``(n, 1)`` is the reward that it expects of the target. As biased as the model."""
    return Terms(expected, np.ones_like(expected))


def doubly_robust(rewards: Floats, weights: Floats, predicted: Floats, expected: Floats) -> Terms:
    """Believe a model and weigh only its errors: unbiased whatever the model says, and sharper the better it is.

    ``predicted`` ``(n, K)`` is the model's reward of the item that was placed, ``expected`` ``(n, K)`` its mean over
    what the target would place there after the same items. The model must not have seen the rewards given here. Why
    any model will do: given the prefix, the target-weighted mean of ``predicted`` is ``expected`` times the weight of
    the prefix before, so both cancel.
    """
    before = np.concatenate([np.ones_like(weights[:, :1]), weights[:, :-1]], axis=1)
    return Terms(weights * (rewards - predicted) + before * expected, np.ones_like(rewards))


def interval(terms: Terms, owners: Sequence[object], *, seed: int, draws: int = 1000, level: float = 0.95) -> Estimate:
    """Return the estimate with its interval when owners (users), not requests, are drawn anew.

    The percentile bootstrap (Efron 1979). It knows only the weights that were seen: where the effective sample size
    is a few dozen, or the target does what the log never shows, the truth lies outside more often than ``level`` says.
    """
    above, below = _by_owner(terms, owners)
    rng, count = np.random.default_rng(seed), len(above)
    at_once = max(1, DRAWN_AT_ONCE // count)
    blocks = (bootstrap_weights(rng, min(at_once, draws - start), count) for start in range(0, draws, at_once))
    drawn = np.concatenate([_sum_of_ratios(times @ above, times @ below) for times in blocks])
    drawn = drawn[np.isfinite(drawn)]
    if not len(drawn):
        return Estimate(terms.value, float("nan"), float("nan"))
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(terms.value, float(low), float(high))


def difference_interval(
    one: Terms, other: Terms, owners: Sequence[object], *, seed: int, draws: int = 1000, level: float = 0.95
) -> Estimate:
    """Return ``one`` minus ``other`` over the same requests: paired, so what both share cancels."""
    both = Terms(np.hstack([one.above, -other.above]), np.hstack([one.below, other.below]))
    return interval(both, owners, seed=seed, draws=draws, level=level)


def _by_owner(terms: Terms, owners: Sequence[object]) -> tuple[Floats, Floats]:
    if not len(terms.above) or len(owners) != len(terms.above):
        raise ValueError(
            f"{len(terms.above)} requests of {len(owners)} owners given; wanted one each, and at least one"
        )
    names: dict[object, int] = {}
    owner = np.array([names.setdefault(one, len(names)) for one in owners])
    sums = [np.zeros((len(names), terms.above.shape[1])) for _ in range(2)]
    np.add.at(sums[0], owner, terms.above)
    np.add.at(sums[1], owner, terms.below)
    return sums[0], sums[1]


def _sum_of_ratios(above: Floats, below: Floats) -> Floats:
    """Divide and sum over the last axis, the places."""
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios: Floats = np.asarray(above / below)
    return np.asarray(ratios.sum(axis=-1), np.float64)
