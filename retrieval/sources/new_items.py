"""Items of the catalogue that came into being lately, sampled: nothing is known of them that could order them.

They need places of their own. In one pool with warm items their vectors, where they have any, compete with those that
were learned of actions, and either never win or push warm items out.
"""

from dataclasses import dataclass

import numpy as np

from rankstream.features.embeddings.key_search import Rows
from rankstream.features.matches.columns import UserMatches
from rankstream.retrieval.scope import Scope, scope_of
from rankstream.retrieval.source import Proposals

SOURCE = "new"
DAY_MS = 86_400_000


@dataclass(frozen=True)
class NewItems:
    """Items younger than ``days`` at the time of the request, each as likely as any other; none from its future."""

    days: float

    def propose(self, user: UserMatches, limit: int, scope: Scope | None = None) -> Proposals:
        """Return up to ``limit`` of them, in an order sampled by the request's seed; nothing without a catalogue."""
        scope = scope or scope_of(user)
        if scope.stock is None:
            return Proposals([], [])
        catalogue, now_ms = scope.stock.catalogue, user.user.now_ms
        rows = catalogue.created_between(now_ms - self.days * DAY_MS, now_ms)
        if scope.passed is not None:
            rows = rows[scope.passed[rows]]
        rows = rows[~np.isin(catalogue.keys[rows], scope.excluded)]
        rows = rows[_sampled(len(rows), limit, scope.seed)]
        return Proposals(catalogue.ids(rows), [SOURCE] * len(rows))


def _sampled(count: int, limit: int, seed: int) -> Rows:
    """Return up to ``limit`` of ``count`` numbers in a random order, the same for a seed on any machine.

    PCG64's raw output stays what it is (NEP 19), and no two of its numbers are the same but by a chance of 2**-64.
    """
    drawn = np.random.PCG64(seed).random_raw(count)
    first = np.argpartition(drawn, limit)[:limit] if limit < count else np.arange(count)
    return first[np.argsort(drawn[first], kind="stable")]
