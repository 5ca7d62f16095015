"""How many requests a core walks for, on graphs like those of users: made up, popular items and boards by power laws.

    python -m benchmarks.walks --edges 1000000,10000000 --requests 200

One thread, and its CPU time, so that other work on the machine does not count, though it may take caches away: ratios
in one run are more reliable than the times. A request begins at ten different items, popular ones more often, and takes
100,000 steps, as Pixie does. Early stop is judged by what it leaves out: its share of the steps, and how many of the
first 1,000 items of a whole run it finds. That run has another seed: what stops early has walks in common with the
whole run of its own, and finds more of that than it knows.
"""

import argparse
import resource
from collections.abc import Callable
from dataclasses import dataclass, replace
from time import thread_time

import numpy as np
import numpy.typing as npt

from rankstream.features.schema import Ints
from rankstream.graph.bipartite import BipartiteGraph
from rankstream.graph.build import GraphConfig, build_graph
from rankstream.graph.item_graph import ItemGraph
from rankstream.graph.memberships import Memberships
from rankstream.graph.walks import Visits, WalkConfig, walk

QUERIES = 10  # items that a request begins at
STEPS = 100_000
TOP = 1_000
STOPS = {  # when walks stop early: at so many items of so many visits
    "2,000 of 4": {"stop_items": 2_000, "stop_visits": 4},  # of a query, which stops by itself: the paper's
    "200 of 4": {"stop_items": 200, "stop_visits": 4},
    "1,000 of 6, together": {"stop_items": 1_000, "stop_visits": 6, "together": True},
    "500 of 8, together": {"stop_items": 500, "stop_visits": 8, "together": True},
}
EDGES_AN_ITEM = 10  # on average
POPULAR, LARGE = 0.75, 0.5  # exponents of the power laws of items and of boards
AIM = 75  # requests/s a core


@dataclass(frozen=True)
class Walked:
    """What one way to walk took of CPU time, and what it found."""

    seconds: npt.NDArray[np.float64]  # of each request
    steps: float  # of a request, on average
    tops: list[set[int]]  # the first ``TOP`` items of each request

    @property
    def rate(self) -> float:
        """Return requests a second of CPU time."""
        return len(self.seconds) / float(self.seconds.sum())

    def milliseconds(self, quantile: float) -> float:
        """Return a quantile of the requests' CPU time."""
        return 1e3 * float(np.quantile(self.seconds, quantile))

    def overlap(self, other: "Walked") -> float:
        """Return how much of the other's first items are among these."""
        return float(np.mean([len(a & b) / max(1, len(b)) for a, b in zip(self.tops, other.tops, strict=True)]))


def draw(rng: np.random.Generator, count: int, among: int, exponent: float) -> npt.NDArray[np.uint64]:
    """Draw numbers below ``among``, the first ones more often by a power law, and scatter them as keys are."""
    weights = np.cumsum(np.arange(1, among + 1, dtype=np.float64) ** -exponent)
    rows = np.searchsorted(weights, rng.random(count) * weights[-1])
    return rng.permutation(among).astype(np.uint64)[rows]


def made_up(edges: int, seed: int = 0) -> Memberships:
    """Return so many pairs, some of them twice."""
    rng, size = np.random.default_rng(seed), edges // EDGES_AN_ITEM
    return Memberships(draw(rng, edges, size, LARGE), draw(rng, edges, size, POPULAR))


def some_queries(graph: ItemGraph, requests: int, seed: int = 1) -> list[Ints]:
    """Return the rows that each request begins at: of random edges, so that popular items come more often."""
    rng, rows = np.random.default_rng(seed), graph.graph.items.rows
    return [np.unique(rows[rng.integers(0, len(rows), QUERIES)]).astype(np.int64) for _ in range(requests)]


def measure(graph: BipartiteGraph, queries: list[Ints], config: WalkConfig, seed: int = 2) -> Walked:
    """Walk for each request."""
    seconds, steps, tops = [], 0, []
    for number, query in enumerate(queries):
        started = thread_time()
        visits = walk(graph, query, 1.0 / np.arange(1, len(query) + 1), np.random.default_rng([seed, number]), config)
        first = _first(visits, config.boost)
        seconds.append(thread_time() - started)
        steps += visits.steps
        tops.append(first)
    return Walked(np.array(seconds), steps / len(queries), tops)


def _first(visits: Visits, boost: bool) -> set[int]:
    items, scores = visits.scores(boost)
    return set(items[np.argsort(-scores, kind="stable")[:TOP]].tolist())


def timed(make: Callable[[], ItemGraph]) -> tuple[ItemGraph, float]:
    """Return what is made, and the CPU time that it takes."""
    started = thread_time()
    made = make()
    return made, thread_time() - started


def report(edges: int, requests: int) -> None:
    """Print one graph's rows."""
    pairs = made_up(edges)
    graph, seconds = timed(lambda: build_graph(pairs, 0, GraphConfig()).graph)
    lists, megabytes = (graph.graph.boards, graph.graph.items), graph.keys.nbytes / 1e6
    megabytes += sum(one.starts.nbytes + one.rows.nbytes for one in lists) / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(
        f"{len(lists[0].rows):,} edges of {len(graph):,} items in {len(lists[1]):,} boards: built in {seconds:.1f} s, "
        f"{megabytes:,.0f} MB; peak memory so far {peak:,.0f} MB"
    )
    weights = np.random.default_rng(3).pareto(1.0, edges) + 1e-3
    weighted = build_graph(replace(pairs, weights=weights), 0).graph
    for one in (graph, weighted):
        one.prepare()  # as opening a published one does
    queries = some_queries(graph, requests)
    for restart in (0.8, 0.5):
        whole = WalkConfig(steps=STEPS, restart=restart, stop_visits=0)
        every, again = (measure(graph.graph, queries, whole, seed) for seed in (2, 3))
        rows = {"all steps": every}
        for name, stop in STOPS.items():
            rows[name] = measure(graph.graph, queries, replace(whole, **stop))
        rows["by weights"] = measure(weighted.graph, queries, whole)
        for name, one in rows.items():
            print(f"  restart {restart}, {name:20}: {_row(one, every, again)}")


def _row(one: Walked, every: Walked, again: Walked) -> str:
    return ", ".join(
        (
            f"{one.rate:.1f} requests/s (aim {AIM}; {one.rate / every.rate:.2f} of all steps')",
            f"p50 {one.milliseconds(0.5):.1f} ms",
            f"p99 {one.milliseconds(0.99):.1f} ms",
            f"{one.steps:,.0f} steps",
            f"{one.steps / every.steps:.0%} of all",
            f"{one.overlap(again):.2f} of the first {TOP:,} of another seed's (all steps: {every.overlap(again):.2f})",
            f"{one.overlap(every):.2f} of its own seed's, whose walks it shares",
        )
    )


def main() -> None:
    """Print what walks take on graphs of several sizes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edges", default="1000000,10000000")
    parser.add_argument("--requests", type=int, default=200)
    given = parser.parse_args()
    for edges in given.edges.split(","):
        report(int(edges), given.requests)


if __name__ == "__main__":
    main()
