"""Items that nobody has acted on yet, by what they are: those whose description is nearest to what the user likes.

Their vectors are made of the catalogue alone (``models/items/described.py``). They have places of their own and none
among the warm ones: such vectors are vaguer than those learned of actions, and in one pool the vague ones, which are
near to everything, push warm items out.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rankstream.features.embeddings.float16 import Float16s
from rankstream.features.embeddings.key_search import Rows
from rankstream.features.embeddings.table import EmbeddingTable
from rankstream.features.matches.columns import UserMatches
from rankstream.retrieval.index.exact import ExactIndex
from rankstream.retrieval.scope import Scope, scope_of
from rankstream.retrieval.source import Proposals
from rankstream.retrieval.sources.recent_likes import RecentLikes

SOURCE = "described"


@dataclass(frozen=True)
class DescribedNeighbours:
    """The described items of one version of the item table, all compared: they are few beside those acted on."""

    items: EmbeddingTable
    rows: Rows  # of the described items, ascending
    likes: RecentLikes  # asks for the user, in the same version

    def propose(self, user: UserMatches, limit: int, scope: Scope | None = None) -> Proposals:
        """Return up to ``limit`` items within the scope, nearest to what the user likes; nothing without such."""
        scope, queries = scope or scope_of(user), self.likes.queries(user)
        if not len(queries):
            return Proposals([], [])
        barred = np.flatnonzero(~scope.lets_rows(self.rows) | np.isin(self.items.keys[self.rows], scope.excluded))
        rows = self.rows[self._index.search(queries, limit, barred)]
        return Proposals(self.items.ids(rows), [SOURCE] * len(rows))

    @cached_property
    def _index(self) -> ExactIndex:
        vectors: Float16s = self.items.vectors[self.rows]
        return ExactIndex(vectors)
