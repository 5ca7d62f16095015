"""The items that most was done to lately, whoever asks."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from rankstream.features.embeddings.key_search import Rows
from rankstream.features.embeddings.table import EmbeddingTable
from rankstream.features.matches.columns import UserMatches
from rankstream.retrieval.scope import Scope, scope_of
from rankstream.retrieval.source import Proposals

SOURCE = "popular"
FALLBACK = "popular:fallback"  # where no source had anything for the user


class RankedItems(Protocol):
    """What knows how popular items are."""

    @property
    def lately(self) -> Rows:
        """Rows of all items of the table, the most popular first."""
        ...


@dataclass(frozen=True)
class PopularItems:
    """Items in one order for all."""

    items: EmbeddingTable
    popularity: RankedItems

    def propose(self, user: UserMatches, limit: int, scope: Scope | None = None) -> Proposals:
        """Return up to ``limit`` items, the most popular first."""
        rows = self.best(limit, scope or scope_of(user))
        return Proposals(self.items.ids(rows), [SOURCE] * len(rows))

    def best(self, limit: int, scope: Scope) -> Rows:
        """Return up to ``limit`` rows within the scope; the order is looked through no further than that takes."""
        order, found, at, size = self.popularity.lately, [np.empty(0, np.intp)], 0, limit + len(scope.excluded)
        while at < len(order) and sum(map(len, found)) < limit:
            rows = order[at : at + size]
            allowed = scope.lets_rows(rows) & ~np.isin(self.items.keys[rows], scope.excluded)
            found.append(rows[allowed])
            at, size = at + size, 2 * size
        return np.concatenate(found)[:limit]
