"""Items near to a user's newest ones in the graph of items and sessions, by random walks (Pixie).

Walks begin at the newest different items of positive feedback, the newer with more steps. They are seeded by the user
and the time, so a request is proposed the same items whenever it is asked again. A user without positive feedback, or
of unknown items, is proposed nothing: mix another source in.
"""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from rankstream.features.embeddings.table import EmbeddingTable
from rankstream.features.matches.columns import UserMatches
from rankstream.features.matches.tables import MatchTables
from rankstream.features.schema import Ints
from rankstream.graph.bipartite import BipartiteGraph, session_graph
from rankstream.graph.walks import WalkConfig, walk
from rankstream.retrieval.scope import Scope, scope_of
from rankstream.retrieval.source import Proposals
from rankstream.retrieval.sources.recent_likes import FeedbackPolarity, positive_actions

SOURCE = "walk"
MAX_QUERIES = 10  # newest different items that walks begin at


@dataclass(frozen=True)
class RandomWalk:
    """Walks on the graph of one version of the match tables."""

    items: EmbeddingTable  # whose ids they have
    tables: MatchTables  # of whose sessions the graph is
    polarity: FeedbackPolarity
    config: WalkConfig = field(default_factory=WalkConfig)

    @cached_property
    def graph(self) -> BipartiteGraph:
        """Return the graph of items and sessions."""
        return session_graph(self.tables)

    def propose(self, user: UserMatches, limit: int, scope: Scope | None = None) -> Proposals:
        """Return up to ``limit`` items within the scope, the most visited first."""
        scope, queries = scope or scope_of(user), self.queries(user)
        weights = 1.0 / np.arange(1, len(queries) + 1)
        rng = np.random.default_rng([user.user.key, user.user.now_ms])
        visited, scores = walk(self.graph, queries, weights, rng, self.config).scores(self.config.boost)
        keys = self.tables.keys[visited]
        rows, known = self.items.rows(keys)
        kept = known & ~np.isin(keys, scope.excluded)
        kept[kept] = scope.lets_rows(rows[kept])
        rows, scores = rows[kept], scores[kept]
        best = np.lexsort((rows, -scores))[:limit]  # of equal scores the order is the table's
        return Proposals(self.items.ids(rows[best]), [SOURCE] * len(best))

    def queries(self, matches: UserMatches) -> Ints:
        """Return the items that walks begin at, as rows of the graph, newest first."""
        actions = matches.user.actions
        liked = actions.item_keys[positive_actions(actions, self.polarity)]
        rows, found = self.tables.rows(liked)
        different, firsts = np.unique(rows[found], return_index=True)
        return different[np.argsort(firsts)][:MAX_QUERIES]
