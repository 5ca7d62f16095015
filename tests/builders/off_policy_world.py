"""A small world whose truth is known: the value of any policy is a sum, not an estimate.

Users read a list from the top. At each position a user who still looks clicks with a probability of the user and the
item; after each position a user looks on with ``patience``, or only ``sated`` times as often after a click. So clicks
depend on the items above and never on those below: the cascade model (Craswell et al. 2008, "An Experimental Comparison
of Click Position-Bias Models").

Few users, items and positions: all orders of the first positions are listed with their probabilities, by the policies'
own ``propensities``, so values are exact and logs of thousands of requests are sampled at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import numpy.typing as npt

from rankstream.evaluation.off_policy.estimators import Floats
from rankstream.ranking.policies import Limits, Policy

Indexes = npt.NDArray[np.intp]
NO_LIMITS = Limits()


@dataclass(frozen=True)
class Table:
    """Everything that a policy may do in a world: each order of the first ``K`` positions of each user."""

    orders: Indexes  # (O, K) items
    propensities: Floats  # (U, O, K) of each position, given those before

    @property
    def probabilities(self) -> Floats:
        """Return ``(U, O)``; each user's sum to 1."""
        probabilities: Floats = self.propensities.prod(axis=2)
        return probabilities


@dataclass(frozen=True)
class Log:
    """What happened to ``n`` requests."""

    users: Indexes  # (n,)
    chosen: Indexes  # (n,) which of the table's orders
    rewards: Floats  # (n, K) 1 for a click


@dataclass(frozen=True)
class World:
    """Users, items, and how likely a user who looks at an item clicks on it."""

    likes: Floats  # (U, I) probabilities
    patience: float = 0.8
    sated: float = 0.5

    def tabulate(self, policy: Policy, scores: Floats, shown: int) -> Table:
        """List what the policy does with ``scores`` ``(U, I)``."""
        orders = list(permutations(range(self.likes.shape[1]), shown))
        rows = [[policy.propensities(user, order, NO_LIMITS) for order in orders] for user in scores]
        return Table(np.array(orders, np.intp), np.array(rows, np.float64))

    def expected(self, orders: Indexes) -> Floats:
        """Return ``(U, O, K)`` probabilities of a click at each position of each order."""
        likes = self.likes[:, orders]
        looks_on = self.patience * (1 - likes * (1 - self.sated))
        looks = np.cumprod(np.concatenate([np.ones_like(likes[..., :1]), looks_on[..., :-1]], axis=2), axis=2)
        clicks: Floats = looks * likes
        return clicks

    def value(self, table: Table) -> float:
        """Return the expected clicks of a request, every user as likely: exact."""
        clicks = self.expected(table.orders).sum(axis=2)
        return float((table.probabilities * clicks).sum(axis=1).mean())

    def log(self, table: Table, requests: int, rng: np.random.Generator) -> Log:
        """Sample requests of random users, the orders that the policy shows them, and their clicks."""
        users = rng.integers(0, len(self.likes), requests)
        edges = np.cumsum(table.probabilities, axis=1)
        sampled = rng.random(requests) * edges[users, -1]
        chosen = (edges[users] <= sampled[:, None]).sum(axis=1)
        return Log(users, chosen, self._clicks(users, table.orders[chosen], rng))

    def _clicks(self, users: Indexes, orders: Indexes, rng: np.random.Generator) -> Floats:
        likes = np.take_along_axis(self.likes[users], orders, axis=1)
        clicks = np.zeros_like(likes)
        looks = np.ones(len(users), np.bool_)
        for position in range(likes.shape[1]):
            clicks[:, position] = looks & (rng.random(len(users)) < likes[:, position])
            looks &= rng.random(len(users)) < self.patience * np.where(clicks[:, position] > 0, self.sated, 1.0)
        return clicks


def a_world(users: int, items: int, seed: int) -> tuple[World, Floats]:
    """Sample a world, and the scores of a ranker that knows it in part: they correlate with preferences by 0.7."""
    rng = np.random.default_rng(seed)
    preferences = rng.standard_normal((users, items))
    scores = (preferences + rng.standard_normal((users, items))) / np.sqrt(2)
    return World(1 / (1 + np.exp(1.0 - 2.5 * preferences))), scores


def expected_of(predicted: Floats, policy: Policy, scores: Floats, orders: Indexes) -> Floats:
    """Return ``(U, O, K)``: the mean of ``predicted`` ``(U, I, K)`` rewards over what the policy would position next.

    At each position of an order: next after the items that the order has before it.
    """
    count, shown = orders.shape
    prefixes: dict[tuple[int, ...], Floats] = {}
    means = np.empty((len(scores), count, shown))
    for row, order in enumerate(orders.tolist()):
        for position in range(shown):
            prefix = tuple(order[:position])
            if prefix not in prefixes:
                prefixes[prefix] = _mean_of_next(predicted[:, :, position], policy, scores, prefix)
            means[:, row, position] = prefixes[prefix]
    return means


def _mean_of_next(predicted: Floats, policy: Policy, scores: Floats, prefix: Sequence[int]) -> Floats:
    rows = [
        policy.next_propensities(user, prefix, NO_LIMITS) @ rewards
        for user, rewards in zip(scores, predicted, strict=True)
    ]
    return np.array(rows)
