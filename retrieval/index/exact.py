"""Exact retrieval: every item is compared, block by block. The truth that faster sources are measured against.

An item's nearness is the largest inner product with any query, the queries being of unit length. Ties go to the
lower key, so equal tables give equal candidates.
"""

from functools import cached_property

import numpy as np

from rankstream.features.embeddings.float16 import widen
from rankstream.features.embeddings.key_search import Rows
from rankstream.features.embeddings.table import EmbeddingTable
from rankstream.features.ids import Id, Keys
from rankstream.features.schema import Floats
from rankstream.retrieval.index.base import unit

BLOCK = 4096  # items widened and multiplied at once: 4 MB of 256 floats
MIDDLE_OF = 10_000  # items, evenly spread over the table, whose mean stands for all


class ExactRetrieval:
    """Nearest items of one version of the item table."""

    def __init__(self, items: EmbeddingTable) -> None:
        self.items = items

    def propose(self, queries: Floats, limit: int, exclude: Keys) -> list[Id]:
        """Return up to ``limit`` items nearest to any of the queries ``(q, I)``, best first, none of ``exclude``."""
        nearness = self._nearness(unit(queries) if len(queries) else self._middle)
        rows, found = self.items.rows(exclude)
        nearness[rows[found]] = -np.inf
        best = nearest(nearness, min(limit, len(nearness)))
        return self.items.ids(best[nearness[best] > -np.inf])

    def _nearness(self, queries: Floats) -> Floats:
        nearness = np.empty(len(self.items), np.float32)
        for start in range(0, len(self.items), BLOCK):
            block = widen(self.items.vectors[start : start + BLOCK])
            nearness[start : start + BLOCK] = (block @ queries.T).max(axis=1)
        return nearness

    @cached_property
    def _middle(self) -> Floats:
        """One query: the mean of the items."""
        step = max(1, len(self.items) // MIDDLE_OF)
        mean: Floats = widen(self.items.vectors[::step]).mean(axis=0, keepdims=True)
        return unit(mean)


def nearest(nearness: Floats, count: int) -> Rows:
    """Return the rows of the ``count`` largest, best first, ties by row."""
    if count <= 0:
        return np.empty(0, np.intp)
    minimum = np.partition(nearness, len(nearness) - count)[len(nearness) - count]
    above, level = np.flatnonzero(nearness > minimum), np.flatnonzero(nearness == minimum)
    rows = np.concatenate([above, level[: count - len(above)]])
    return rows[np.argsort(-nearness[rows], kind="stable")]
