"""Items on one side, boards on the other: whatever holds items together, as a session, a basket or a collection.

::

    boards of an item     a: 0 2    b: 0 1 2    c: 1          an edge stands in both lists,
    items of a board      0: a b    1: b c      2: a b        or where lists are pruned, in one
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rankstream.features.matches.tables import Lists, MatchTables
from rankstream.features.schema import Ints
from rankstream.graph.bias import Bias


@dataclass(frozen=True)
class BipartiteGraph:
    """A graph of n items and m boards, in memory or mapped."""

    boards: Lists  # of each item
    items: Lists  # of each board
    bias: Bias | None = None  # None: walks prefer nothing

    @property
    def num_items(self) -> int:
        """Return n."""
        return len(self.boards)

    @cached_property
    def degrees(self) -> Ints:
        """Return the number of boards of each item, ``(n,)``."""
        return np.diff(self.boards.starts)

    @cached_property
    def is_closed(self) -> bool:
        """Return whether each item that is in a board has one that it can be left by, so that no walk can end there."""
        return bool((self.degrees[self.items.rows] > 0).all())

    @cached_property
    def max_degree(self) -> int:
        """Return the most boards that an item has."""
        return int(self.degrees.max(initial=0))


def session_graph(tables: MatchTables) -> BipartiteGraph:
    """Return the graph of items and sessions that the match tables hold.

    An item has its newest sessions alone: of popular items this prunes the older edges.
    """
    return BipartiteGraph(tables.sessions, tables.members)
