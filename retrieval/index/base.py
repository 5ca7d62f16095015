"""What a vector index promises; it knows rows of a table of vectors, no ids.

Every index is held to ``exact.py`` by one suite (``tests/contracts/vector_index.py``).
"""

from typing import Protocol

import numpy as np

from rankstream.features.embeddings.key_search import Rows
from rankstream.features.schema import Floats


class VectorIndex(Protocol):
    """Nearest neighbours by inner product; safe to call from many threads."""

    @property
    def name(self) -> str | None:
        """What its answers depend on besides the table; None for an exact search."""
        ...

    def search(self, queries: Floats, limit: int, exclude: Rows) -> Rows:
        """Return up to ``limit`` rows nearest to any of the queries ``(q, I)``, nearest first, none of ``exclude``.

        A row's similarity is its largest inner product with a query; queries (at least one) are scaled to length 1.
        """
        ...


def unit(vectors: Floats) -> Floats:
    """Scale rows to length 1; rows of zeros stay."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Floats = (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)
    return scaled
