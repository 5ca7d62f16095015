"""Policies: how scores become an order, and how likely that order was.

A policy fills the feed's positions one after the other. At each position the *eligible* candidates are those not
placed yet whose group is not full; the propensity of a placed item is the probability with which this policy puts it
there, given the items before it (position-wise, conditional)::

    position        1                  2                      3
    item            b                  a                      d
    propensity      P(b)               P(a | b)               P(d | b, a)

So the first one is the marginal probability of the first position, which estimators of a single action need; the
product of the first k is the probability of these k items in this order, which estimators of slates need
(``evaluation/off_policy/estimators.py``). It is exact with ``max_per_group`` too, as the caps only decide what is
eligible, and with ``top_k``, which stops early. Marginals of later positions are not known: for Plackett-Luce each is
a sum over all orders.

Knows nothing of users, requests and seeds: ``exploration.py`` does.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from rankstream.features.ids import Id
from rankstream.ranking.blend import blend
from rankstream.ranking.utility import Scores

Steps = npt.NDArray[np.intp]
S = TypeVar("S", bound=np.generic)
Uniforms = Callable[[int], Scores]  # count -> as many uniform numbers between 0 and 1; the same ones each time

NORMAL_DECILES = 2.5631031310892007  # from the first to the last decile of the standard normal distribution
ROUNDING = 1e-6  # share of the range of scores below which differences are those of float32, not of the model
HOPELESS = -1e4  # of a logit: exp of it is 0, and no noise makes up for it


@dataclass(frozen=True, slots=True)
class Limits:
    """What the request asks of the feed besides the best items first."""

    groups: Sequence[Id] | None = None  # of each candidate
    max_per_group: int | None = None
    top_k: int | None = None


@dataclass(frozen=True, slots=True)
class Placed:
    """The feed's order, and how likely each item was at its position."""

    order: list[int]  # indices of the candidates
    propensities: list[float] | None = None  # None from a deterministic policy


class Policy(Protocol):
    """How scores become an order."""

    @property
    def text(self) -> str | None:
        """Name and parameters as the feed records them; None for a deterministic policy."""
        ...

    def place(self, scores: Scores, limits: Limits, uniforms: Uniforms) -> Placed:
        """Order candidates of these scores ``(N,)``."""
        ...

    def propensities(self, scores: Scores, order: Sequence[int], limits: Limits) -> Scores:
        """Return ``(K,)`` probabilities with which this policy would place ``order``, each given those before."""
        ...

    def next_propensities(self, scores: Scores, placed: Sequence[int], limits: Limits) -> Scores:
        """Return ``(N,)`` probabilities of each candidate to be placed next, after ``placed``; they sum to 1."""
        ...


@dataclass(frozen=True)
class Greedy:
    """The best first, always."""

    @property
    def text(self) -> str | None:
        """Return None: there is nothing to record of a deterministic policy."""
        return None

    def place(self, scores: Scores, limits: Limits, uniforms: Uniforms) -> Placed:
        """Order by score; no propensities, as all of them are 1."""
        return Placed(blend(scores, limits.groups, limits.max_per_group, limits.top_k))

    def propensities(self, scores: Scores, order: Sequence[int], limits: Limits) -> Scores:
        """Return 1 where the best of the eligible was placed, and 0 where not."""
        return _is_best(scores, order, last_eligible(len(scores), order, limits)).astype(np.float64)

    def next_propensities(self, scores: Scores, placed: Sequence[int], limits: Limits) -> Scores:
        """Return 1 for the best of the eligible, 0 for the others."""
        probabilities = np.zeros(len(scores))
        probabilities[np.argmax(np.where(_still_eligible(len(scores), placed, limits), scores, -np.inf))] = 1.0
        return probabilities


@dataclass(frozen=True)
class EpsilonGreedy:
    """At each position, with probability ``epsilon`` any eligible candidate, uniformly; else the best of them."""

    epsilon: float

    def __post_init__(self) -> None:
        if not 0 < self.epsilon <= 1:
            raise ValueError(f"epsilon {self.epsilon} given; wanted more than 0 and at most 1 (for 0 use Greedy)")

    @property
    def text(self) -> str | None:
        """Return ``epsilon-greedy epsilon=0.1``."""
        return f"epsilon-greedy epsilon={self.epsilon!r}"

    def place(self, scores: Scores, limits: Limits, uniforms: Uniforms) -> Placed:
        """Take the item of each position from one of two queues: the best first, or an order drawn once.

        The next eligible item of a random order is uniform over the eligible, whatever was placed before: the order is
        that of exponential clocks of one rate, which have no memory.
        """
        count = len(scores)
        steps = count if limits.top_k is None else min(limits.top_k, count)
        drawn = uniforms(steps + count)
        best, at_random = (_eligible(queue, limits) for queue in (-scores, drawn[steps:]))
        taken: Counter[Id] = Counter()
        order: list[int] = []
        placed: set[int] = set()
        for explores in (drawn[:steps] < self.epsilon).tolist():
            index = (at_random if explores else best)(placed, taken)
            if index is None:
                break
            order.append(index)
            placed.add(index)
            if limits.groups is not None:
                taken[limits.groups[index]] += 1
        return Placed(order, self.propensities(scores, order, limits).tolist())

    def propensities(self, scores: Scores, order: Sequence[int], limits: Limits) -> Scores:
        """Return ``epsilon / eligible``, and ``1 - epsilon`` more where the best of the eligible was placed."""
        last_steps = last_eligible(len(scores), order, limits)
        eligible = _accumulate_backwards(np.bincount(last_steps, minlength=len(order) + 1), np.add)[: len(order)]
        propensities: Scores = self.epsilon / eligible + (1 - self.epsilon) * _is_best(scores, order, last_steps)
        return propensities

    def next_propensities(self, scores: Scores, placed: Sequence[int], limits: Limits) -> Scores:
        """Return epsilon in equal shares for the eligible, and the rest for the best of them."""
        eligible = _still_eligible(len(scores), placed, limits)
        shares: Scores = self.epsilon * eligible / eligible.sum()
        return shares + (1 - self.epsilon) * Greedy().next_propensities(scores, placed, limits)


@dataclass(frozen=True)
class PlackettLuce:
    """At each position an eligible item with probability proportional to exp(score / temperature).

    Plackett (1975) and Luce (1959). Sorting scores / temperature plus standard Gumbel noise draws the whole order at
    once (Gumbel-max; Yellott 1977; Kool et al. 2019, "Stochastic Beams and Where to Find Them", for the first k): the
    noisy scores rank like exponential clocks, which have no memory, so skipping those whose group is full yields
    exactly the probabilities above. ``temperature`` is in units of the score, that is of utility: how much it explores
    depends on how far apart a model's scores are. Workers serve ``RelativePlackettLuce`` since; feeds that were served
    by this rule are read, verified and evaluated by it.
    """

    temperature: float

    def __post_init__(self) -> None:
        _check_temperature(self.temperature)

    @property
    def text(self) -> str | None:
        """Return ``plackett-luce temperature=0.1``."""
        return f"plackett-luce temperature={self.temperature!r}"

    def place(self, scores: Scores, limits: Limits, uniforms: Uniforms) -> Placed:
        """Order by score plus Gumbel noise."""
        order = _in_sampled_order(scores / self.temperature, limits, uniforms)
        return Placed(order, self.propensities(scores, order, limits).tolist())

    def propensities(self, scores: Scores, order: Sequence[int], limits: Limits) -> Scores:
        """Return the softmax over the eligible."""
        last_steps = last_eligible(len(scores), order, limits)
        return _softmax_by_step(scores / self.temperature, order, last_steps, np.argsort(last_steps, kind="stable"))

    def next_propensities(self, scores: Scores, placed: Sequence[int], limits: Limits) -> Scores:
        """Return the softmax over the eligible."""
        return _softmax(scores / self.temperature, _still_eligible(len(scores), placed, limits))


@dataclass(frozen=True)
class RelativePlackettLuce:
    """``PlackettLuce`` with its temperature in units of the spread of the request's scores (``spread``).

    So it explores alike whatever a model's scores are: for ``a * scores + b`` with a > 0 every probability is the same.
    Equal scores, all of them, are in random order. A score of -inf comes after every finite one, in random order too.
    Propensities are to the bit those of the same candidates in any other order, so that a log that does not know in
    which order a request named them can be compared with what was served.
    """

    temperature: float

    def __post_init__(self) -> None:
        _check_temperature(self.temperature)

    @property
    def text(self) -> str | None:
        """Return ``plackett-luce relative-temperature=0.1``."""
        return f"plackett-luce relative-temperature={self.temperature!r}"

    def place(self, scores: Scores, limits: Limits, uniforms: Uniforms) -> Placed:
        """Order by logit plus Gumbel noise."""
        order = _in_sampled_order(self._logits(scores), limits, uniforms)
        return Placed(order, self.propensities(scores, order, limits).tolist())

    def propensities(self, scores: Scores, order: Sequence[int], limits: Limits) -> Scores:
        """Return the softmax over the eligible."""
        logits, last_steps = self._logits(scores), last_eligible(len(scores), order, limits)
        return _softmax_by_step(logits, order, last_steps, np.lexsort((logits, last_steps)))

    def next_propensities(self, scores: Scores, placed: Sequence[int], limits: Limits) -> Scores:
        """Return the softmax over the eligible."""
        return _softmax(self._logits(scores), _still_eligible(len(scores), placed, limits))

    def _logits(self, scores: Scores) -> Scores:
        """Return scores over the temperature, 0 for the best of them and finite for all."""
        unit = self.temperature * spread(scores)
        if not unit:
            return np.where(np.isfinite(scores), 0.0, HOPELESS)
        with np.errstate(over="ignore"):
            logits: Scores = (scores - scores.max()) / unit
        possible = np.isfinite(logits)
        return np.where(possible, logits, logits[possible].min() + HOPELESS)


def spread(scores: Scores) -> float:
    """Return a standard deviation of the finite scores that outliers don't move; 0 where all are equal.

    It is the range from the first to the last decile over that of the normal distribution, as the inter-quartile range
    is used for it (Rousseeuw & Croux 1993, "Alternatives to the Median Absolute Deviation"). The quartiles would be
    equal, and the spread none, where half of the candidates score alike, as those do that a model does not know. Where
    even the deciles are equal, but for the rounding of float32, it is the range of all scores instead.
    """
    finite = scores[np.isfinite(scores)]
    if not len(finite):
        return 0.0
    low, first, last, high = np.quantile(finite, [0.0, 0.1, 0.9, 1.0]).tolist()
    inner, whole = last - first, high - low
    return float(inner if inner > ROUNDING * whole else whole) / NORMAL_DECILES


def last_eligible(count: int, order: Sequence[int], limits: Limits) -> Steps:
    """Return each candidate's last step of ``order``, from 0, at which it was eligible; ``len(order)`` if still."""
    last_steps = np.full(count, len(order), np.intp)
    if limits.groups is not None and limits.max_per_group is not None:
        full_at = _full_at([limits.groups[index] for index in order], limits.max_per_group)
        last_steps[:] = [full_at.get(group, len(order)) for group in limits.groups]
    last_steps[np.asarray(order, np.intp)] = np.arange(len(order))
    return last_steps


def _still_eligible(count: int, placed: Sequence[int], limits: Limits) -> npt.NDArray[np.bool_]:
    eligible: npt.NDArray[np.bool_] = last_eligible(count, placed, limits) == len(placed)
    return eligible


def _full_at(groups: Sequence[Id], maximum: int) -> dict[Id, int]:
    """Return the step at which each group reached its maximum."""
    taken: Counter[Id] = Counter()
    full = {}
    for step, group in enumerate(groups):
        taken[group] += 1
        if taken[group] == maximum:
            full[group] = step
    return full


def _is_best(scores: Scores, order: Sequence[int], last_steps: Steps) -> npt.NDArray[np.bool_]:
    """Return for each step whether the best of the eligible was placed; of equal scores, the earlier candidate."""
    ranks = np.empty(len(scores), np.intp)
    ranks[np.argsort(-scores, kind="stable")] = np.arange(len(scores))
    best = np.full(len(order) + 1, len(scores), np.intp)
    np.minimum.at(best, last_steps, ranks)
    is_best: npt.NDArray[np.bool_] = ranks[np.asarray(order, np.intp)] == _accumulate_backwards(best, np.minimum)[:-1]
    return is_best


def _accumulate_backwards(values: npt.NDArray[S], operation: np.ufunc) -> npt.NDArray[S]:
    """Return at each index the operation over the values from there to the end."""
    accumulated: npt.NDArray[S] = operation.accumulate(values[::-1])[::-1]
    return accumulated


def _eligible(keys: Scores, limits: Limits) -> Callable[[set[int], Counter[Id]], int | None]:
    """Return a queue, smallest key first; each call returns the next that is neither placed nor of a full group.

    What was skipped once is never eligible again, so the queue is walked once.
    """
    queue: Iterator[int] = iter(np.argsort(keys, kind="stable").tolist())
    groups, maximum = limits.groups, limits.max_per_group

    def next_eligible(placed: set[int], taken: Counter[Id]) -> int | None:
        for index in queue:
            if index not in placed and (groups is None or maximum is None or taken[groups[index]] < maximum):
                return index
        return None

    return next_eligible


def _check_temperature(temperature: float) -> None:
    if not 0 < temperature < np.inf:
        raise ValueError(f"temperature {temperature} given; wanted more than 0 (for 0 use Greedy)")


def _in_sampled_order(logits: Scores, limits: Limits, uniforms: Uniforms) -> list[int]:
    """Return the order of the logits plus standard Gumbel noise."""
    noisy = logits - np.log(-np.log(uniforms(len(logits))))
    return blend(noisy, limits.groups, limits.max_per_group, limits.top_k)


def _softmax_by_step(logits: Scores, order: Sequence[int], last_steps: Steps, leaving: Steps) -> Scores:
    """Return for each step the softmax of the item placed, over those still eligible.

    ``leaving`` are all candidates in the order of ``last_steps``. Summed backwards as logarithms: sums only grow, so
    nothing cancels.
    """
    log_sums = _accumulate_backwards(logits[leaving], np.logaddexp)
    first = np.searchsorted(last_steps[leaving], np.arange(len(order)))  # of those still eligible at each step
    propensities: Scores = np.exp(logits[np.asarray(order, np.intp)] - log_sums[first])
    return np.minimum(propensities, 1.0)


def _softmax(logits: Scores, eligible: npt.NDArray[np.bool_]) -> Scores:
    logits = np.where(eligible, logits, -np.inf)
    weights = np.exp(logits - logits.max())
    probabilities: Scores = weights / weights.sum()
    return probabilities
