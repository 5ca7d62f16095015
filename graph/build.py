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
from rankstream.graph.alias import Weights, alias_lists
from rankstream.graph.bias import Bias
from rankstream.graph.bipartite import BipartiteGraph
from rankstream.graph.item_graph import ItemGraph
from rankstream.graph.memberships import Memberships
from rankstream.graph.topics import Topics, nearest_boards, spreads

ROUNDING = 1e-9  # of topics: a board of just as many is not left out


class EmptyGraphError(ValueError):
    """No two items are in one board; one sentence, which says what was given and what to do."""


@dataclass(frozen=True)
class GraphConfig:
    """What is left out."""

    max_items: int = 1_000  # of a board: what joins more says little of any two
    max_boards: int = 1_000  # of an item, the newest ones: more hardly change where walks go, and fill memory
    max_topics: float | None = None  # that a board may be spread over (``topics.py``); None: any number
    degree_power: float = 1.0  # of an item in d boards, d to this stay, those nearest to its topic; .91 in the paper
    bias: float = 0.0  # share of steps that prefer the topic that a walk began at (``bias.py``)

    def __post_init__(self) -> None:
        if self.max_items < 2 or self.max_boards < 1:
            raise ValueError(
                f"boards of up to {self.max_items} items and items of up to {self.max_boards} boards wanted; a walk "
                "needs boards of at least 2 and items of at least 1"
            )
        if not 0.0 < self.degree_power <= 1.0 or (self.max_topics is not None and not self.max_topics >= 1.0):
            raise ValueError(
                f"boards of up to {self.max_topics} topics and a power of {self.degree_power} of items' boards wanted; "
                "a board has at least 1, and the power is more than 0 and at most 1"
            )
        if not 0.0 <= self.bias <= 1.0:
            raise ValueError(f"a bias of {self.bias} given; wanted a share of the steps, 0 to 1")

    @property
    def by_topics(self) -> bool:
        """Return whether topics of items are needed."""
        return self.max_topics is not None or self.degree_power < 1.0 or self.bias > 0.0


@dataclass(frozen=True)
class BuiltGraph:
    """A graph, and what is not in it."""

    graph: ItemGraph
    repeated: int  # pairs that came before
    single: int  # boards of one item
    wide: int  # boards of more than ``max_items``
    pruned: int  # edges from items in more than ``max_boards``
    spread: int = 0  # boards of more than ``max_topics``
    far: int = 0  # edges of items in many boards that are about something else

    @property
    def edges(self) -> int:
        """Return how many edges lead from items to boards."""
        return len(self.graph.graph.boards.rows)


def build_graph(
    pairs: Memberships, as_of_ms: int, config: GraphConfig | None = None, topics: Topics | None = None
) -> BuiltGraph:
    """Return the graph of all pairs, of which later ones are newer.

    Raises ``EmptyGraphError`` where there is none, and ``ValueError`` where topics are needed and none are given.
    """
    config = config or GraphConfig()
    if config.by_topics and topics is None:
        raise ValueError("topics are to be pruned by or preferred, but no topics of items are given")
    if config.bias and pairs.weights is not None:
        raise ValueError("walks draw by the weights of edges or prefer a topic, not both; leave out one")
    once = _each_pair_once(pairs)
    left, single, wide = _without_sizes(once, config)
    left, spread, far = (left, 0, 0) if topics is None else _pruned_by_topics(left, topics, config)
    if not len(left):
        raise EmptyGraphError(_why_empty(pairs, single, wide, spread, config))
    keys, item_of = np.unique(left.items, return_inverse=True)
    which = _numbered_by_age(left.boards)
    newest = _newest(item_of, which, config.max_boards)
    weights = None if left.weights is None else left.weights[newest]
    out_of = _lists(item_of[newest], which[newest], weights)
    bipartite = BipartiteGraph(out_of, _lists(which, item_of, left.weights))
    if topics is not None and config.bias:
        bipartite = biased(bipartite, topics.of(keys), config.bias)
    graph = ItemGraph(keys, bipartite, as_of_ms=as_of_ms)
    return BuiltGraph(graph, len(pairs) - len(once), single, wide, int((~newest).sum()), spread, far)


def biased(graph: BipartiteGraph, topics: Ints, share: float) -> BipartiteGraph:
    """Return the graph with each board's items by topic ``(n,)``, of which walks prefer their own in that share."""
    boards = np.repeat(np.arange(len(graph.items)), np.diff(graph.items.starts))
    order = np.lexsort((graph.items.rows, topics[graph.items.rows], boards))
    items = Lists(graph.items.starts, graph.items.rows[order])
    return BipartiteGraph(graph.boards, items, Bias(share, topics.astype(np.int32), items))


def _without_sizes(pairs: Memberships, config: GraphConfig) -> tuple[Memberships, int, int]:
    """Return the pairs without boards of one item and of too many, and how many boards of each there were."""
    _, board_of, sizes = np.unique(pairs.boards, return_inverse=True, return_counts=True)
    kept = (sizes[board_of] > 1) & (sizes[board_of] <= config.max_items)
    single, wide = int(np.count_nonzero(sizes == 1)), int(np.count_nonzero(sizes > config.max_items))
    return pairs.rows(np.flatnonzero(kept)), single, wide


def _pruned_by_topics(pairs: Memberships, topics: Topics, config: GraphConfig) -> tuple[Memberships, int, int]:
    """Return the pairs without boards of too many topics and far edges, and how many there were of each.

    Boards that are left with one item go with their far edges.
    """
    spread = 0
    if config.max_topics is not None:
        boards = _numbered_by_age(pairs.boards)
        wide = spreads(boards, topics.of(pairs.items)) > config.max_topics + ROUNDING
        pairs, spread = pairs.rows(np.flatnonzero(~wide[boards])), int(wide.sum())
    if config.degree_power == 1.0:
        return pairs, spread, 0
    _, items = np.unique(pairs.items, return_inverse=True)
    near = nearest_boards(items, _numbered_by_age(pairs.boards), topics.of(pairs.items), config.degree_power)
    left, _, _ = _without_sizes(pairs.rows(np.flatnonzero(near)), config)
    return left, spread, len(pairs) - len(left)


def _why_empty(pairs: Memberships, single: int, wide: int, spread: int, config: GraphConfig) -> str:
    if not len(pairs):
        return "the graph is empty: no item is in any board; name the columns of both with --map, or a later --as-of"
    boards = len(np.unique(pairs.boards))
    topics = f", and {spread:,} are of more than {config.max_topics:g} topics" if spread else ""
    return (
        f"the graph is empty: of {boards:,} boards {single:,} hold one item alone and {wide:,} more than "
        f"{config.max_items:,}{topics}; name a column whose values several items share, or raise --max-items"
        + (" or --max-topics" if spread else "")
    )


def _each_pair_once(pairs: Memberships) -> Memberships:
    """Return each pair once, where it came last, with boards numbered from 0 and the most that it ever weighed."""
    _, boards = np.unique(pairs.boards, return_inverse=True)
    keys, items = np.unique(pairs.items, return_inverse=True)
    cells = boards.astype(np.int64) * max(1, len(keys)) + items
    _, from_the_end, which = np.unique(cells[::-1], return_index=True, return_inverse=True)
    order = np.argsort(-from_the_end, kind="stable")
    lasts = len(items) - 1 - from_the_end[order]
    weights = None
    if pairs.weights is not None:
        most = np.zeros(len(from_the_end))
        np.maximum.at(most, which, pairs.weights[::-1])
        weights = most[order]
    return Memberships(boards[lasts].astype(np.uint64), pairs.items[lasts], weights)


def _numbered_by_age(boards: Keys) -> Ints:
    """Return the boards numbered anew from 0, in the order of their newest pair."""
    numbers, last = np.unique(boards[::-1], return_index=True)
    age = np.empty(len(numbers), np.int64)
    age[np.argsort(-last, kind="stable")] = np.arange(len(numbers))
    return age[np.searchsorted(numbers, boards)]


def _lists(of: Ints, rows: Ints, weights: Weights | None) -> Lists:
    """Return the rows of each of ``of``, ascending, and what draws them by weight where they have any."""
    order = np.lexsort((rows, of))
    starts = np.concatenate([[0], np.cumsum(np.bincount(of))]).astype(np.int64)
    lists = Lists(starts, rows[order].astype(np.int32))
    return lists if weights is None else alias_lists(lists, weights[order])


def _newest(items: Ints, boards: Ints, count: int) -> Bools:
    """Return which edges lead from an item to its newest boards, so many."""
    order = np.lexsort((boards, items))
    ends = np.cumsum(np.bincount(items))[items[order]]
    kept = np.empty(len(items), np.bool_)
    kept[order] = ends - np.arange(len(items)) <= count
    return kept
