"""Items that nobody has acted on yet, by what they are: those whose description is nearest to what the user likes.

Their vectors are made of the catalogue alone (``models/items/described.py``). They have places of their own and none
among the warm ones: such vectors are vaguer than those learned of actions, and in one pool the vague ones, which are
near to everything, push warm items out. Of two that are as near, the one whose like is popular comes first.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rankstream.features.embeddings.float16 import widen
from rankstream.features.embeddings.key_search import Rows
from rankstream.features.embeddings.table import EmbeddingTable
from rankstream.features.matches.columns import UserMatches
from rankstream.features.schema import Floats
from rankstream.retrieval.index.base import unit
from rankstream.retrieval.index.exact import top_rows
from rankstream.retrieval.scope import Scope, scope_of
from rankstream.retrieval.source import Proposals
from rankstream.retrieval.sources.recent_likes import RecentLikes

SOURCE = "described"
POPULARITY_WEIGHT = 0.05  # of cosine, for each standard deviation of the popularity to expect; .1 is alike, .4 worse


@dataclass(frozen=True)
class DescribedNeighbours:
    """The described items of one version of the item table, all compared: they are few beside those acted on."""

    items: EmbeddingTable
    rows: Rows  # (m,) of the described items, ascending
    likes: RecentLikes  # asks for the user, in the same version
    popularity: Floats  # (m,) to expect of them

    def propose(self, user: UserMatches, limit: int, scope: Scope | None = None) -> Proposals:
        """Return up to ``limit`` items within the scope, nearest to what the user likes; nothing without such."""
        scope, queries = scope or scope_of(user), self.likes.queries(user)
        if not len(queries):
            return Proposals([], [])
        scores = (self._vectors @ queries.T).max(axis=1) + self._prior
        barred = ~scope.lets_rows(self.rows) | np.isin(self.items.keys[self.rows], scope.excluded)
        scores[barred] = -np.inf
        best = top_rows(scores, min(limit, len(scores)))
        rows = self.rows[best[scores[best] > -np.inf]]
        return Proposals(self.items.ids(rows), [SOURCE] * len(rows))

    @cached_property
    def _vectors(self) -> Floats:
        return unit(widen(self.items.vectors[self.rows]))

    @cached_property
    def _prior(self) -> Floats:
        spread = float(self.popularity.std())
        usual = self.popularity.mean()
        prior: Floats = (POPULARITY_WEIGHT * (self.popularity - usual) / (spread or 1.0)).astype(np.float32)
        return prior
