"""Exploration: randomising a little of the feed's order, and logging how likely it was.

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

The random numbers are a function of (seed, user, request), so the same request is answered by the same feed, live and
in replay.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from rankstream.features.ids import Id, id_bytes
from rankstream.ranking.blend import blend
from rankstream.ranking.utility import Scores

Steps = npt.NDArray[np.intp]
S = TypeVar("S", bound=np.generic)
Uniforms = Callable[[int], Scores]  # count -> as many uniform numbers between 0 and 1; the same ones each time


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
    exactly the probabilities above. ``temperature`` is in units of the score, that is of utility.
    """

    temperature: float

    def __post_init__(self) -> None:
        if not 0 < self.temperature < np.inf:
            raise ValueError(f"temperature {self.temperature} given; wanted more than 0 (for 0 use Greedy)")

    @property
    def text(self) -> str | None:
        """Return ``plackett-luce temperature=0.1``."""
        return f"plackett-luce temperature={self.temperature!r}"

    def place(self, scores: Scores, limits: Limits, uniforms: Uniforms) -> Placed:
        """Order by score plus Gumbel noise."""
        noisy = scores / self.temperature - np.log(-np.log(uniforms(len(scores))))
        order = blend(noisy, limits.groups, limits.max_per_group, limits.top_k)
        return Placed(order, self.propensities(scores, order, limits).tolist())

    def propensities(self, scores: Scores, order: Sequence[int], limits: Limits) -> Scores:
        """Return the softmax over the eligible, summed backwards as logarithms: sums only grow, so nothing cancels."""
        logits = scores / self.temperature
        last_steps = last_eligible(len(scores), order, limits)
        leaving = np.argsort(last_steps, kind="stable")
        log_sums = _accumulate_backwards(logits[leaving], np.logaddexp)
        first = np.searchsorted(last_steps[leaving], np.arange(len(order)))  # of those still eligible at each step
        propensities: Scores = np.exp(logits[np.asarray(order, np.intp)] - log_sums[first])
        return np.minimum(propensities, 1.0)

    def next_propensities(self, scores: Scores, placed: Sequence[int], limits: Limits) -> Scores:
        """Return the softmax over the eligible."""
        logits = np.where(_still_eligible(len(scores), placed, limits), scores / self.temperature, -np.inf)
        weights = np.exp(logits - logits.max())
        probabilities: Scores = weights / weights.sum()
        return probabilities


@dataclass(frozen=True)
class Exploration:
    """A policy and the seed of its random numbers: what a ranker is made with."""

    policy: Policy = Greedy()
    seed: int = 0

    @property
    def text(self) -> str | None:
        """Return policy and seed as the feed records them; None for a deterministic policy."""
        return None if self.policy.text is None else f"{self.policy.text} seed={self.seed}"

    def place(self, scores: Scores, limits: Limits, user_id: Id, request_id: Id) -> Placed:
        """Order the candidates of one request."""
        return self.policy.place(scores, limits, lambda count: uniforms(count, self.seed, user_id, request_id))


NO_EXPLORATION = Exploration()
POLICIES: dict[str, tuple[str, Callable[[float], Policy]]] = {
    "epsilon-greedy": ("epsilon", EpsilonGreedy),
    "plackett-luce": ("temperature", PlackettLuce),
}


def exploration_named(text: str | None) -> Exploration:
    """Return the exploration of an ``Exploration.text``, to the bit. Raises ``ValueError`` for any other text."""
    if text is None:
        return NO_EXPLORATION
    named = re.fullmatch(r"([\w-]+) (\w+)=(\S+) seed=(\d+)", text)
    name, parameter = (named[1], named[2]) if named else ("", "")
    if named is None or name not in POLICIES or POLICIES[name][0] != parameter:
        raise ValueError(f"policy {text!r} given; wanted one as feeds record it: {PlackettLuce(0.1).text} seed=0")
    return Exploration(POLICIES[name][1](float(named[3])), int(named[4]))


def uniforms(count: int, seed: int, user_id: Id, request_id: Id) -> Scores:
    """Return ``(count,)`` numbers between 0 and 1, both excluded; a function of seed, user and request on any machine.

    Made from PCG64's raw output, which numpy promises to keep (NEP 19), unlike that of its ``Generator``.
    """
    named = [id_bytes(user_id), id_bytes(request_id)]
    text = b"".join(len(name).to_bytes(4, "little") + name for name in named)
    digest = blake2b(text, digest_size=16, key=str(seed).encode(), person=b"exploration").digest()
    raw = np.random.PCG64(int.from_bytes(digest, "little")).random_raw(count)
    numbers: Scores = ((raw >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52
    return numbers


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
