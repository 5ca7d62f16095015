"""A graph made of memberships: each pair once, boards that join nothing or nearly everything left out.

::

    pairs        b1 tea   b1 milk   b2 tea   b3 rice   all tea, milk, rice, ...
    left out     b3: one item joins nothing        all: more than ``max_items`` say nothing of any two of them
    graph        tea: b1 b2   milk: b1             b1: tea milk   b2: tea

An item that is in more than ``max_boards`` keeps the newest of them: a walk leaves it by these alone, though all its
boards still lead to it (Pixie prunes the edges of popular items likewise; section 3.2 of its paper).
"""

from dataclasses import dataclass

import numpy as np

from rankstream.features.ids import Keys
from rankstream.features.matches.tables import Lists
from rankstream.features.schema import Bools, Ints
from rankstream.graph.bipartite import BipartiteGraph
from rankstream.graph.item_graph import ItemGraph
from rankstream.graph.memberships import Memberships


class EmptyGraphError(ValueError):
    """No two items are in one board; one sentence, which says what was given and what to do."""


@dataclass(frozen=True)
class GraphConfig:
    """What is left out."""

    max_items: int = 1_000  # of a board: what joins more says little of any two; the paper prunes by entropy of topics
    max_boards: int = 1_000  # of an item, the newest ones: more hardly change where walks go, and fill memory

    def __post_init__(self) -> None:
        if self.max_items < 2 or self.max_boards < 1:
            raise ValueError(
                f"boards of up to {self.max_items} items and items of up to {self.max_boards} boards wanted; a walk "
                "needs boards of at least 2 and items of at least 1"
            )


@dataclass(frozen=True)
class BuiltGraph:
    """A graph, and what is not in it."""

    graph: ItemGraph
    repeated: int  # pairs that came before
    single: int  # boards of one item
    wide: int  # boards of more than ``max_items``
    pruned: int  # edges from items in more than ``max_boards``

    @property
    def edges(self) -> int:
        """Return how many edges lead from items to boards."""
        return len(self.graph.graph.boards.rows)


def build_graph(pairs: Memberships, as_of_ms: int, config: GraphConfig | None = None) -> BuiltGraph:
    """Return the graph of all pairs, of which later ones are newer. Raises ``EmptyGraphError`` where there is none."""
    config = config or GraphConfig()
    boards, items = _each_pair_once(pairs)
    _, board_of, sizes = np.unique(boards, return_inverse=True, return_counts=True)
    kept = (sizes[board_of] > 1) & (sizes[board_of] <= config.max_items)
    single, wide = int(np.count_nonzero(sizes == 1)), int(np.count_nonzero(sizes > config.max_items))
    if not kept.any():
        raise EmptyGraphError(_why_empty(pairs, single, wide, config))
    keys, item_of = np.unique(items[kept], return_inverse=True)
    which = _numbered_by_age(board_of[kept])
    into = _lists(which, item_of)
    out_of, pruned = _newest(item_of, which, config.max_boards)
    graph = ItemGraph(keys, BipartiteGraph(out_of, into), as_of_ms=as_of_ms)
    return BuiltGraph(graph, len(pairs) - len(items), single, wide, pruned)


def _why_empty(pairs: Memberships, single: int, wide: int, config: GraphConfig) -> str:
    if not len(pairs):
        return "the graph is empty: no item is in any board; name the columns of both with --map, or a later --as-of"
    return (
        f"the graph is empty: of {single + wide:,} boards {single:,} hold one item alone and {wide:,} more than "
        f"{config.max_items:,}; name a column whose values several items share, or raise --max-items"
    )


def _each_pair_once(pairs: Memberships) -> tuple[Ints, Keys]:
    """Return the numbers of the boards and the keys of the items of each pair, in the order that they came last."""
    _, boards = np.unique(pairs.boards, return_inverse=True)
    keys, items = np.unique(pairs.items, return_inverse=True)
    _, from_the_end = np.unique((boards.astype(np.int64) * max(1, len(keys)) + items)[::-1], return_index=True)
    lasts = np.sort(len(items) - 1 - from_the_end)
    return boards[lasts].astype(np.int64), pairs.items[lasts]


def _numbered_by_age(boards: Ints) -> Ints:
    """Return the boards numbered anew from 0, in the order of their newest pair."""
    numbers, last = np.unique(boards[::-1], return_index=True)
    age = np.empty(len(numbers), np.int64)
    age[np.argsort(-last, kind="stable")] = np.arange(len(numbers))
    return age[np.searchsorted(numbers, boards)]


def _lists(of: Ints, rows: Ints) -> Lists:
    """Return the rows of each of ``of``, ascending."""
    order = np.lexsort((rows, of))
    starts = np.concatenate([[0], np.cumsum(np.bincount(of))]).astype(np.int64)
    return Lists(starts, rows[order].astype(np.int32))


def _newest(items: Ints, boards: Ints, count: int) -> tuple[Lists, int]:
    """Return the newest boards of each item, and how many others were left out."""
    every = _lists(items, boards)
    ends = np.repeat(every.starts[1:], np.diff(every.starts))
    kept: Bools = ends - np.arange(len(every.rows)) <= count
    sizes = np.minimum(np.diff(every.starts), count)
    return Lists(np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64), every.rows[kept]), int((~kept).sum())
