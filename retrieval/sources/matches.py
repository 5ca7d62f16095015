"""Items that go together with what a user did: what followed, item-kNN and VMIS-kNN, from the match tables.

Each list counts by its items' shares of its best score, so none outweighs the others by its unit. A user without
actions, or of unknown items, is proposed nothing: mix another source in.
"""

from dataclasses import dataclass

import numpy as np

from rankstream.features.embeddings.table import EmbeddingTable
from rankstream.features.ids import Keys
from rankstream.features.matches.columns import UserMatches
from rankstream.features.schema import Floats
from rankstream.retrieval.scope import Scope, scope_of
from rankstream.retrieval.source import Proposals

SOURCE = "matches"


@dataclass(frozen=True)
class MatchingItems:
    """The items that match a user best, as the request's join has looked them up."""

    items: EmbeddingTable  # whose ids they have

    def propose(self, user: UserMatches, limit: int, scope: Scope | None = None) -> Proposals:
        """Return up to ``limit`` items within the scope, the best matches first."""
        scope = scope or scope_of(user)
        keys, scores = _scores(user)
        kept = ~np.isin(keys, scope.excluded)
        rows, known = self.items.rows(keys[kept])
        scores, rows = scores[kept][known], rows[known]
        passed = scope.lets_rows(rows)
        scores, rows = scores[passed], rows[passed]
        best = np.lexsort((rows, -scores))[:limit]  # of equal scores the order is the table's
        return Proposals(self.items.ids(rows[best]), [SOURCE] * len(best))


def _scores(matches: UserMatches) -> tuple[Keys, Floats]:
    """Return the items of all lists, each once, with the sum of their shares."""
    lists = (*matches.steps, matches.knn, matches.vmis, matches.older)
    rows, which = np.unique(np.concatenate([one.rows for one in lists]), return_inverse=True)
    shares = np.concatenate([one.scores / one.best for one in lists])
    return matches.tables.keys[rows], np.bincount(which, shares, len(rows)).astype(np.float32)
