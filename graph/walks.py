"""Random walks from several items at once (Pixie: Eksombatchai et al., WWW 2018), thousands of walkers in step.

A walk goes from an item to a random one of its boards, and on to a random item of that, by the edges' weights where
they have any; after each such step it ends with probability ``restart``. What is visited often from the user's items
is near to them. Walkers are rows of arrays: a step of all of them is two look-ups, and those whose walk ended leave the
arrays::

    walkers   a a a b b      step      x y a c c      some end      y a c      step ...
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rankstream.features.matches.tables import Lists, Rows32
from rankstream.features.schema import Ints
from rankstream.graph.alias import SLOT, AliasLists
from rankstream.graph.bipartite import BipartiteGraph

Float64s = npt.NDArray[np.float64]
Pairs = npt.NDArray[Any]  # whole numbers ``query * n + item``, as short as hold them all
DENSE = 64  # rows of the graph for each visited item, up to which all rows are counted


@dataclass(frozen=True)
class WalkConfig:
    """How far is walked; Pinterest's figure behind each, and docs/log.md for why ours is another."""

    steps: int = 10_000  # of all queries together, N; about 100,000
    restart: float = 0.8  # probability that a walk ends after a step, alpha; .5 in the post of 2018
    batches: int = 5  # after each of these parts, queries that have found enough stop
    stop_items: int = 2_000  # a query stops when so many items, n_p; 2,000
    stop_visits: int = 4  # have so many visits, n_v; 4. 0: no query stops early
    together: bool = False  # all queries stop, when so many items have so many visits from all of them (post of 2018)
    boost: bool = False  # multi-hit booster: items visited from several queries count more

    def __post_init__(self) -> None:
        if not 0.0 < self.restart <= 1.0:
            raise ValueError(f"a restart of {self.restart} given; wanted more than 0 and at most 1")
        if self.steps < 1 or self.batches < 1:
            raise ValueError(f"{self.steps} steps in {self.batches} batches given; wanted at least 1 of each")


@dataclass(frozen=True)
class Visits:
    """How often each item was visited from each query; pairs that were not are left out."""

    queries: Ints  # (v,) which query
    items: Ints  # (v,) rows of the graph
    counts: Ints  # (v,)

    @property
    def steps(self) -> int:
        """Return how many steps were taken."""
        return int(self.counts.sum())

    def scores(self, boost: bool) -> tuple[Ints, Float64s]:
        """Return each visited item once, ascending, and its visits from all queries: their sum.

        With ``boost`` (section 3.1 (3) of the paper), the square of the sum of their roots.
        """
        counts: Float64s = np.sqrt(self.counts) if boost else self.counts.astype(np.float64)
        if int(self.items.max(initial=0)) < DENSE * len(self.items):  # counting all rows beats sorting the visited ones
            of_all: Float64s = np.bincount(self.items, counts).astype(np.float64, copy=False)
            items: Ints = np.flatnonzero(of_all)
            scores = of_all[items]
        else:
            items, which = np.unique(self.items, return_inverse=True)
            scores = np.bincount(which, counts).astype(np.float64, copy=False)
        return items, scores**2 if boost else scores


def steps_of(degrees: Ints, weights: Float64s, max_degree: int, steps: int) -> Ints:
    """Return how many of the ``steps`` each query ``(q,)`` gets, by its weight and its number of boards.

    Popular items need more steps for steady counts, but not in the ratio of their degrees: ``d (C - log d)``, equation
    2 of the paper. With its C the most popular item of all would get none: here C is larger by 1, so that more boards
    always mean more steps. And shares are normalised with their weights, so that all add up to ``steps``.
    """
    known = np.maximum(degrees, 1)
    scaled = weights * np.where(degrees > 0, known * (1.0 + np.log(max(1, max_degree)) - np.log(known)), 0.0)
    total = scaled.sum()
    return np.ceil(steps * scaled / total).astype(np.int64) if total > 0 else np.zeros(len(degrees), np.int64)


def walk(
    graph: BipartiteGraph, queries: Ints, weights: Float64s, rng: np.random.Generator, config: WalkConfig
) -> Visits:
    """Walk from the items ``queries`` ``(q,)``, each once, by their ``weights``; those without a board are left out.

    Which boards and items are gone to follows from ``rng`` alone: the same generator visits the same.
    """
    degrees = graph.degrees[queries]
    walks = steps_of(degrees, weights, graph.max_degree, config.steps) * config.restart / config.batches
    counted: tuple[Pairs, Ints] = np.zeros(0, np.int64), np.zeros(0, np.int64)
    waiting: list[Pairs] = []  # visits that need not be counted yet, as no query stops by itself
    visits = np.zeros(graph.num_items if config.together else 0, np.int32)  # of each item from all queries
    running = degrees > 0
    for _ in range(config.batches):
        if not running.any():
            break
        begun = np.where(running, np.ceil(walks), 0).astype(np.int64)
        which = np.repeat(np.arange(len(queries)), begun)
        waiting.append(_walked(graph, len(queries), which, queries[which], rng, config.restart))
        if config.together:
            np.add.at(visits, waiting[-1] % graph.num_items, 1)
            if config.stop_visits and np.count_nonzero(visits >= config.stop_visits) >= config.stop_items:
                break
        elif config.stop_visits:
            counted = _merged(*counted, waiting.pop())
            running &= ~_found_enough(*counted, graph.num_items, len(queries), config)
    pairs, counts = _merged(*counted, np.concatenate(waiting)) if waiting else counted
    queries_of, items = np.divmod(pairs.astype(np.int64), max(1, graph.num_items))
    return Visits(queries_of, items, counts)


def _walked(
    graph: BipartiteGraph, queries: int, which: Ints, at: Ints, rng: np.random.Generator, restart: float
) -> Pairs:
    """Walk from ``at`` until every walk has ended; return ``query * n + item`` of each visit."""
    visited = []
    pairs = np.uint32 if queries * graph.num_items < 1 << 32 else np.int64  # half as long, sorted twice as quickly
    topics = None if graph.bias is None else graph.bias.topics.take(at)
    while len(at):
        boards = _hop(graph.boards, at, rng)
        at = _hop(graph.items, boards, rng) if topics is None else _biased_hop(graph, boards, topics, rng)
        visited.append((which * graph.num_items + at).astype(pairs))
        goes_on = rng.random(len(at)) >= restart
        if not graph.is_closed:
            goes_on &= graph.degrees[at] > 0
        at, which = at[goes_on], which[goes_on]
        topics = None if topics is None else topics[goes_on]
    return np.concatenate(visited)


def _hop(lists: Lists, rows: Ints, rng: np.random.Generator) -> Ints:
    """Return a random entry of the list of each row, none of which is empty; by weight where the lists have any."""
    starts = lists.starts.take(rows)
    drawn = rng.random(len(rows)) * (lists.starts.take(rows + 1) - starts)
    slots = drawn.astype(np.int64)
    picked = starts + slots
    if isinstance(lists, AliasLists):
        own = (drawn - slots) * SLOT < lists.thresholds.take(picked)
        return np.where(own, lists.rows.take(picked), lists.others.take(picked)).astype(np.int64)
    return lists.rows.take(picked).astype(np.int64)


def _biased_hop(graph: BipartiteGraph, boards: Ints, topics: Rows32, rng: np.random.Generator) -> Ints:
    """Return a random item of each board, more often one of the topic that the walk began at."""
    if graph.bias is None:
        return _hop(graph.items, boards, rng)
    starts, lengths = graph.bias.ranges(boards, topics, rng)
    picked = starts + (rng.random(len(boards)) * lengths).astype(np.int64)
    return graph.items.rows.take(picked).astype(np.int64)


def _merged(pairs: Pairs, counts: Ints, visited: Pairs) -> tuple[Pairs, Ints]:
    """Return the counts with those of the pairs visited now."""
    new, times = np.unique(visited, return_counts=True)
    if not len(pairs):
        return new, times
    at = np.searchsorted(pairs, new)
    known = pairs[np.minimum(at, len(pairs) - 1)] == new
    counts = counts.copy()
    counts[at[known]] += times[known]
    return np.insert(pairs, at[~known], new[~known]), np.insert(counts, at[~known], times[~known])


def _found_enough(
    pairs: Pairs, counts: Ints, num_items: int, num_queries: int, config: WalkConfig
) -> npt.NDArray[np.bool_]:
    """Return which queries have ``stop_items`` items of ``stop_visits`` visits."""
    often = pairs[counts >= config.stop_visits] // num_items
    return np.bincount(often, minlength=num_queries) >= config.stop_items
