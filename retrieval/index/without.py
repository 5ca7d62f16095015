"""An index that never finds some of its rows, such as items that have places of their own.

More rows than were asked for are sought until enough are none of these. To exclude them in the search itself would have
an approximate index look as far as if all of them were the nearest ones.
"""

from dataclasses import dataclass

import numpy as np

from rankstream.features.embeddings.key_search import Rows
from rankstream.features.schema import Floats
from rankstream.retrieval.index.base import VectorIndex


@dataclass(frozen=True)
class WithoutRows:
    """All but some rows of an index."""

    index: VectorIndex
    rows: Rows  # never found

    @property
    def name(self) -> str | None:
        """What its answers depend on besides the table."""
        return self.index.name

    def search(self, queries: Floats, limit: int, exclude: Rows) -> Rows:
        """Return up to ``limit`` rows nearest to any of the queries ``(q, I)``, nearest first, none of ``exclude``."""
        sought = 2 * limit
        while True:
            found = self.index.search(queries, sought, exclude)
            others: Rows = found[~np.isin(found, self.rows)][:limit]
            if len(others) == limit or len(found) < sought:
                return others
            sought *= 2
