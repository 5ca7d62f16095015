"""Items near to a user's newest ones in a graph of items and what holds them together, by random walks (Pixie).

Walks begin at the newest different items of positive feedback, the newer with more steps. Which way they go follows
from the request (``Scope.rng``). A user without positive feedback, or of unknown items, is proposed nothing: mix
another source in.
"""

from dataclasses import dataclass, field

import numpy as np

from rankstream.features.embeddings.table import EmbeddingTable
from rankstream.features.matches.columns import UserMatches
from rankstream.features.schema import Ints
from rankstream.graph.item_graph import ItemGraph
from rankstream.graph.walks import WalkConfig, walk
from rankstream.retrieval.scope import Scope, scope_of
from rankstream.retrieval.source import Proposals
from rankstream.retrieval.sources.recent_likes import FeedbackPolarity, positive_actions

SOURCE = "walk"  # in the graph of sessions
BOARDS = "board-walk"  # in a graph that was published
MAX_QUERIES = 10  # newest different items that walks begin at


@dataclass(frozen=True)
class RandomWalk:
    """Walks on one version of a graph."""

    items: EmbeddingTable  # whose ids they have
    graph: ItemGraph
    polarity: FeedbackPolarity
    config: WalkConfig = field(default_factory=WalkConfig)
    name: str = SOURCE

    def propose(self, user: UserMatches, limit: int, scope: Scope | None = None) -> Proposals:
        """Return up to ``limit`` items within the scope, the most visited first."""
        scope, queries = scope or scope_of(user), self.queries(user)
        weights = 1.0 / np.arange(1, len(queries) + 1)
        visits = walk(self.graph.graph, queries, weights, scope.rng(self.name), self.config)
        visited, scores = visits.scores(self.config.boost)
        keys = self.graph.keys[visited]
        rows, known = self.items.rows(keys)
        kept = known & ~np.isin(keys, scope.excluded)
        kept[kept] = scope.lets_rows(rows[kept])
        rows, scores = rows[kept], scores[kept]
        best = np.lexsort((rows, -scores))[:limit]  # of equal scores the order is the table's
        return Proposals(self.items.ids(rows[best]), [self.name] * len(best))

    def queries(self, matches: UserMatches) -> Ints:
        """Return the items that walks begin at, as rows of the graph, newest first."""
        actions = matches.user.actions
        liked = actions.item_keys[positive_actions(actions, self.polarity)]
        rows, found = self.graph.rows(liked)
        different, firsts = np.unique(rows[found], return_index=True)
        return different[np.argsort(firsts)][:MAX_QUERIES]
