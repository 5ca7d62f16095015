"""Items near to what stands for a user's interests (PinnerSage): several queries, so none is lost in a mean.

Up to three interests are sampled by their importance, without being sampled twice, and the newest item of positive
feedback is asked with, too; each has places in proportion to its importance, the newest item an even share::

    interests now       a 3.1   c 1.0   b .7   d .1     sampled: a, b, c      newest: c'
    places              newest 1/4   a 1/4 ...          what is left is divided 3.1 : 1.0 : .7

Which are sampled follows from the request (``Scope.rng``). A table that knows more than the request's time is not
looked at, nor is one of before an erasure of the user. A user without positive feedback on known items is proposed
nothing: mix another source in.
"""

from dataclasses import dataclass

import numpy as np

from rankstream.features.actions import ActionColumns
from rankstream.features.embeddings.key_search import Rows
from rankstream.features.embeddings.table import EmbeddingTable
from rankstream.features.interests.interests import NO_INTERESTS, UserInterests, carried_on
from rankstream.features.interests.table import InterestTable
from rankstream.features.matches.columns import UserMatches
from rankstream.retrieval.index.base import VectorIndex
from rankstream.retrieval.mix import mixed
from rankstream.retrieval.scope import Scope, scope_of
from rankstream.retrieval.source import Proposals
from rankstream.retrieval.sources.recent_likes import FeedbackPolarity, positive_actions

SOURCE = "interest"  # and its number, from 1, the most important first
NEWEST = f"{SOURCE}:newest"
SAMPLED = 3  # interests that are asked with; beyond three the paper gains little


@dataclass(frozen=True)
class Query:
    """One item that is asked with."""

    source: str
    key: int
    share: float  # of the places


@dataclass(frozen=True)
class InterestNeighbours:
    """Neighbours of interests, in one version of the item table and one of the interests."""

    items: EmbeddingTable
    index: VectorIndex  # over the same version
    interests: InterestTable
    polarity: FeedbackPolarity

    def propose(self, user: UserMatches, limit: int, scope: Scope | None = None) -> Proposals:
        """Return up to ``limit`` items within the scope, those of each query nearest first."""
        scope = scope or scope_of(user)
        queries, barred = self.queries(user, scope.rng(SOURCE)), scope.barred(self.items)
        found = [self._found(query, limit, barred) for query in queries]
        return mixed(found, [query.share for query in queries], limit)

    def queries(self, user: UserMatches, rng: np.random.Generator) -> list[Query]:
        """Return what is asked with: the newest item first, then the sampled interests, the most important first."""
        now = self.now(user)
        if not now.importances.any():
            return []
        weights = now.importances.astype(np.float64)
        possible = int(np.count_nonzero(weights))
        chosen = np.sort(rng.choice(len(now), min(SAMPLED, possible), replace=False, p=weights / weights.sum()))
        total = weights[chosen].sum()
        queries = [
            Query(f"{SOURCE}:{at + 1}", int(now.medoids[at]), float(weights[at] / total) * len(chosen)) for at in chosen
        ]
        newest = self._newest(user)
        if newest is not None and newest not in [query.key for query in queries]:
            queries.insert(0, Query(NEWEST, newest, 1.0))
        return queries

    def now(self, matches: UserMatches) -> UserInterests:
        """Return the user's interests as of the request: the table's, with what was liked since."""
        user, table = matches.user, self.interests
        known = table.of(user.key) if user.forgotten_ms < table.as_of_ms <= user.now_ms else None
        liked = self._liked(matches)
        new = liked if known is None else liked[liked.times_ms > table.as_of_ms]
        return carried_on(
            known or NO_INTERESTS,
            user.now_ms - table.as_of_ms,
            new.item_keys[::-1],
            user.now_ms - new.times_ms[::-1],
            self.items,
            table.header.decay_per_day,
        )

    def _liked(self, matches: UserMatches) -> ActionColumns:
        actions = matches.user.actions
        return actions[positive_actions(actions, self.polarity)]

    def _newest(self, matches: UserMatches) -> int | None:
        """Return the newest item of positive feedback that has a vector."""
        keys = self._liked(matches).item_keys
        _, found = self.items.rows(keys)
        return int(keys[found][0]) if found.any() else None

    def _found(self, query: Query, limit: int, barred: Rows) -> Proposals:
        """Return the items nearest to one query."""
        key = np.array([query.key], np.uint64)
        vectors, _ = self.items.look_up(key)
        rows = self.index.search(vectors, limit, barred)
        (item,) = self.items.ids(self.items.rows(key)[0])
        return Proposals(self.items.ids(rows), [query.source] * len(rows), {query.source: item})
