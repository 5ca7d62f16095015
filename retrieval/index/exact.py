"""Exact search: every row is compared, block by block. The ground truth that faster indexes are measured against.

Ties go to the lower row, so equal tables give equal neighbours.
"""

from dataclasses import dataclass

import numpy as np

from rankstream.features.embeddings.float16 import Float16s, widen
from rankstream.features.embeddings.key_search import Rows
from rankstream.features.schema import Floats
from rankstream.retrieval.index.base import unit

BLOCK = 4096  # rows widened and multiplied at once: 4 MB of 256 floats


@dataclass(frozen=True)
class ExactIndex:
    """All rows of one version of a table."""

    vectors: Float16s  # (n, I)
    name: None = None  # nothing but the table says what it finds

    def search(self, queries: Floats, limit: int, exclude: Rows) -> Rows:
        """Return up to ``limit`` rows nearest to any of the queries ``(q, I)``, nearest first, none of ``exclude``."""
        similarities = self._similarities(unit(queries))
        similarities[exclude] = -np.inf
        best = top_rows(similarities, min(limit, len(similarities)))
        return best[similarities[best] > -np.inf]

    def _similarities(self, queries: Floats) -> Floats:
        similarities = np.empty(len(self.vectors), np.float32)
        for start in range(0, len(self.vectors), BLOCK):
            block = widen(self.vectors[start : start + BLOCK])
            similarities[start : start + BLOCK] = (block @ queries.T).max(axis=1)
        return similarities


def top_rows(similarities: Floats, count: int) -> Rows:
    """Return the rows of the ``count`` largest, largest first, ties by row."""
    if count <= 0:
        return np.empty(0, np.intp)
    minimum = np.partition(similarities, len(similarities) - count)[len(similarities) - count]
    above, level = np.flatnonzero(similarities > minimum), np.flatnonzero(similarities == minimum)
    rows = np.concatenate([above, level[: count - len(above)]])
    return rows[np.argsort(-similarities[rows], kind="stable")]
