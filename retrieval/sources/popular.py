"""The items that most was done to lately, whoever asks, or first those of the category that the user likes most.

A user's category is the widest one that most of the positive feedback is on, of several the newest. Who has none, or
too few items in it, is proposed what is popular of all.
"""

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from rankstream.content.catalogue import Catalogue
from rankstream.features.embeddings.key_search import Rows
from rankstream.features.embeddings.table import EmbeddingTable
from rankstream.features.ids import Keys
from rankstream.features.matches.columns import UserMatches
from rankstream.retrieval.scope import Scope, scope_of
from rankstream.retrieval.source import Proposals
from rankstream.retrieval.sources.recent_likes import FeedbackPolarity, positive_actions

SOURCE = "popular"
OF_CATEGORY = "popular:category"
FALLBACK = "popular:fallback"  # where no source had anything for the user


class RankedItems(Protocol):
    """What knows how popular items are."""

    @property
    def lately(self) -> Rows:
        """Rows of all items of the table, the most popular first."""
        ...


@dataclass(frozen=True)
class PopularItems:
    """Items in one order for all, or for all who like one category most."""

    items: EmbeddingTable
    popularity: RankedItems
    by_category: FeedbackPolarity | None = None  # whose positive feedback tells it; None: one order for all

    def propose(self, user: UserMatches, limit: int, scope: Scope | None = None) -> Proposals:
        """Return up to ``limit`` items, the most popular first, those of the user's category before all others."""
        scope = scope or scope_of(user)
        narrow = self._of_category(user, scope)
        if narrow is None:
            rows = self.best(limit, scope)
            return Proposals(self.items.ids(rows), [SOURCE] * len(rows))
        first = self.best(limit, narrow)
        others = self.best(limit, scope)
        rows = np.concatenate([first, others[~np.isin(others, first)]])[:limit]
        return Proposals(self.items.ids(rows), [OF_CATEGORY] * len(first) + [SOURCE] * (len(rows) - len(first)))

    def best(self, limit: int, scope: Scope) -> Rows:
        """Return up to ``limit`` rows within the scope; the order is looked through no further than that takes."""
        order, found, at, size = self.popularity.lately, [np.empty(0, np.intp)], 0, limit + len(scope.excluded)
        while at < len(order) and sum(map(len, found)) < limit:
            rows = order[at : at + size]
            allowed = scope.lets_rows(rows) & ~np.isin(self.items.keys[rows], scope.excluded)
            found.append(rows[allowed])
            at, size = at + size, 2 * size
        return np.concatenate(found)[:limit]

    def _of_category(self, user: UserMatches, scope: Scope) -> Scope | None:
        """Return the part of the scope that is of the user's category; None where there is none, or one order for all.

        Nothing is looked up beyond the catalogue, so any version of it and the user's state tell the same.
        """
        if self.by_category is None or scope.stock is None:
            return None
        actions = user.user.actions
        liked = actions.item_keys[positive_actions(actions, self.by_category)]
        category = most_frequent_category(scope.stock.catalogue, liked)
        if category is None:
            return None
        is_its = scope.stock.catalogue.categories[:, 0] == category
        return replace(scope, passed=is_its if scope.passed is None else scope.passed & is_its)


def most_frequent_category(catalogue: Catalogue, liked: Keys) -> int | None:
    """Return the widest category of most of these items, newest first; of equally many, that of the newest item."""
    rows, found = catalogue.look_up(liked)
    if not found.any() or not catalogue.categories.shape[1]:
        return None
    codes = catalogue.categories[rows[found], 0]
    names, firsts, counts = np.unique(codes[codes >= 0], return_index=True, return_counts=True)
    return int(names[np.lexsort((firsts, -counts))[0]]) if len(names) else None
