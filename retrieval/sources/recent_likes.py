"""Items similar to a user's recent positive feedback.

Up to two queries: the mean of the newest items with positive feedback and, where users live in the item space, the
user's vector. Each finds its own neighbours; the nearest to either are proposed. A user without a query is proposed
nothing: what is popular stands in (``ranking/retrieval_mix.py``), which finds more than the neighbours of a mean item.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rankstream.features.actions import ActionColumns, Vocabulary
from rankstream.features.embeddings.table import EmbeddingTable
from rankstream.features.matches.columns import UserMatches
from rankstream.features.schema import Bools, Floats
from rankstream.retrieval.index.base import VectorIndex, unit
from rankstream.retrieval.scope import Scope, scope_of
from rankstream.retrieval.source import Proposals

SOURCE = "recent-likes"
NEWEST_POSITIVE = 20


@dataclass(frozen=True)
class FeedbackPolarity:
    """The action types that are positive feedback and those that are negative; others count where none is positive."""

    positive: frozenset[int]
    negative: frozenset[int]


def polarity_of(vocabulary: Vocabulary, utility: Mapping[str, float]) -> FeedbackPolarity:
    """Return the action types whose head has a positive weight, and those whose head has a negative one."""
    codes = vocabulary.action_codes
    return FeedbackPolarity(
        positive=frozenset(codes[head] for head, weight in utility.items() if head in codes and weight > 0),
        negative=frozenset(codes[head] for head, weight in utility.items() if head in codes and weight < 0),
    )


@dataclass(frozen=True)
class RecentLikes:
    """Neighbours of recent positives, in one version of the item table."""

    items: EmbeddingTable
    index: VectorIndex  # over the same version
    polarity: FeedbackPolarity

    def propose(self, user: UserMatches, limit: int, scope: Scope | None = None) -> Proposals:
        """Return up to ``limit`` items within the scope, nearest to the user's queries."""
        queries = self.queries(user)
        if not len(queries):
            return Proposals([], [])
        rows = self.index.search(queries, limit, (scope or scope_of(user)).barred(self.items))
        return Proposals(self.items.ids(rows), [SOURCE] * len(rows))

    def queries(self, matches: UserMatches) -> Floats:
        """Return 0 to 2 unit queries ``(q, I)``."""
        user = matches.user
        newest = user.actions.item_keys[positive_actions(user.actions, self.polarity)][:NEWEST_POSITIVE]
        vectors, found = self.items.look_up(newest)
        queries = []
        if found.any():
            queries.append(vectors[found].mean(axis=0, dtype=np.float32))
        if user.vector.shape == (self.items.dim,):
            queries.append(user.vector)
        queries = [query for query in queries if np.linalg.norm(query) > 0]
        return unit(np.array(queries, np.float32).reshape(-1, self.items.dim))


def positive_actions(actions: ActionColumns, polarity: FeedbackPolarity) -> Bools:
    """Return which actions are positive; where none is, those that are not negative."""
    positive = np.isin(actions.action_types, list(polarity.positive))
    return positive if positive.any() else ~np.isin(actions.action_types, list(polarity.negative))
