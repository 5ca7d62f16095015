"""Where in the item space to look for a user's candidates.

Up to two queries: the middle of the items that the user liked lately and, where users live in the item space, the
user's batch vector. Each finds its own neighbours; a source takes the nearest of both.
"""

from dataclasses import dataclass

import numpy as np

from rankstream.features.actions import ActionColumns, Vocabulary
from rankstream.features.embeddings.base import VectorTable
from rankstream.features.schema import Bools, Floats
from rankstream.retrieval.index.base import unit

NEWEST_POSITIVE = 20


@dataclass(frozen=True)
class FeedbackPolarity:
    """What the action types say about an item; those in neither set say a little for it."""

    positive: frozenset[int]
    negative: frozenset[int]


def user_queries(actions: ActionColumns, polarity: FeedbackPolarity, items: VectorTable, user_vector: Floats) -> Floats:
    """Return 0 to 2 unit queries ``(q, I)`` from actions, newest first, and the user's vector."""
    newest = actions.item_keys[_positive_actions(actions, polarity)][:NEWEST_POSITIVE]
    vectors, found = items.look_up(newest)
    queries = []
    if found.any():
        queries.append(vectors[found].mean(axis=0, dtype=np.float32))
    if user_vector.shape == (items.dim,):
        queries.append(user_vector)
    queries = [query for query in queries if np.linalg.norm(query) > 0]
    return unit(np.array(queries, np.float32).reshape(-1, items.dim))


def _positive_actions(actions: ActionColumns, polarity: FeedbackPolarity) -> Bools:
    """Mark the actions that liked something; all that did not dislike, where none did."""
    positive = np.isin(actions.action_types, list(polarity.positive))
    return positive if positive.any() else ~np.isin(actions.action_types, list(polarity.negative))


def polarity_of(vocabulary: Vocabulary, utility: dict[str, float]) -> FeedbackPolarity:
    """Return which actions speak for an item and which against it: those whose head has such a weight."""
    codes = vocabulary.action_codes
    return FeedbackPolarity(
        positive=frozenset(codes[head] for head, weight in utility.items() if head in codes and weight > 0),
        negative=frozenset(codes[head] for head, weight in utility.items() if head in codes and weight < 0),
    )
