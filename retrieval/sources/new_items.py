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
        catalogue = scope.stock.catalogue
        rows = self._young(scope, user.user.now_ms)
        rows = rows[~np.isin(catalogue.keys[rows], scope.excluded)]
        order = np.argsort(np.random.PCG64(scope.seed).random_raw(len(rows)), kind="stable")[:limit]
        return Proposals(catalogue.ids(rows[order]), [SOURCE] * len(order))

    def _young(self, scope: Scope, now_ms: int) -> Rows:
        """Return the rows of the catalogue that are young enough and pass, newest first."""
        assert scope.stock is not None
        catalogue = scope.stock.catalogue
        oldest_first = -catalogue.created_ms[catalogue.newest]  # ascending
        first = np.searchsorted(oldest_first, -now_ms, side="left")
        last = np.searchsorted(oldest_first, -(now_ms - self.days * DAY_MS), side="left")
        rows = catalogue.newest[first:last]
        return rows if scope.passed is None else rows[scope.passed[rows]]
