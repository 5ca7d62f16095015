"""What a graph saves over comparing every item, and what it misses: all compared by numpy or by faiss, and HNSW.

    python -m benchmarks.retrieval --items 10000,43000,300000 [--bundle DIR ...] [--without-graphs]

One thread, and its CPU time, so that other work on the machine does not count, though it may take caches away: ratios
in one run are more reliable than the times. Vectors are made up, in clusters as items are, or those of bundles. Each
query is searched by all, one after the other. Recall is held to the exact search, on queries that the graph was not
measured with.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from time import thread_time

import faiss
import numpy as np

from rankstream.bundles.item_tables import ITEMS
from rankstream.features.embeddings.float16 import Float16s, widen
from rankstream.features.embeddings.key_search import Rows
from rankstream.features.embeddings.table import EmbeddingTable
from rankstream.features.schema import Floats
from rankstream.retrieval.index.base import unit
from rankstream.retrieval.index.exact import ExactIndex
from rankstream.retrieval.index.hnsw import HnswConfig, HnswIndex, build_graph, graph_bytes, one_thread
from rankstream.retrieval.index.recall import NONE, RecallJudge, RecallPoint, measure_curve, queries_like_users

LIMITS = (100, 500, 1_000)
DIM = 64
OF_A_CLUSTER = 200  # items, on average; sizes follow a power law, as those of categories do
SPREAD = 0.7  # length of what an item adds to its cluster's centre
SEED = 30  # of the queries; curves are measured with others


@dataclass(frozen=True)
class Searched:
    """A way to search: how it finds rows, and what it took to make."""

    name: str
    search: Callable[[Floats, int], Rows]
    seconds: float = 0.0
    megabytes: float = 0.0


def clusters(count: int, dim: int = DIM, seed: int = 0) -> Float16s:
    """Draw unit vectors around centres."""
    rng = np.random.default_rng(seed)
    centres = unit(rng.standard_normal((max(10, count // OF_A_CLUSTER), dim)).astype(np.float32))
    weights = 1.0 / np.arange(1, len(centres) + 1) ** 0.6
    of = rng.choice(len(centres), count, p=weights / weights.sum())
    noise = rng.standard_normal((count, dim)).astype(np.float32) * (SPREAD / dim**0.5)
    return unit(centres[of] + noise).astype(np.float16)


def flat(vectors: Float16s) -> Searched:
    """Return faiss' exact search over float32."""
    started = thread_time()
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(widen(vectors))
    return Searched(
        "all, faiss, fp32 (flat)",
        lambda query, limit: index.search(query[None], limit)[1][0],
        thread_time() - started,
        4 * vectors.size / 1e6,
    )


def hnsw(vectors: Float16s, config: HnswConfig, name: str) -> tuple[Searched, Sequence[RecallPoint]]:
    """Return a graph that is walked whatever that takes, and the ``ef`` of each limit."""
    started = thread_time()
    graph = build_graph(vectors, config)
    seconds = thread_time() - started
    index = HnswIndex(vectors, graph, measure_curve(lambda *_: NONE, vectors[:0]))
    index = replace(index, curve=measure_curve(index.nearest, vectors, limits=LIMITS))
    size = len(graph_bytes(graph)) / 1e6
    efs = {point.limit: point.ef for point in index.curve.points}
    return Searched(
        name, lambda query, limit: index.nearest(query, limit, efs[limit]), seconds, size
    ), index.curve.points


def scan(vectors: Float16s) -> Searched:
    """Return what is searched where no walk is worth it: all rows in float16, by faiss."""
    started = thread_time()
    storage = faiss.IndexScalarQuantizer(vectors.shape[1], faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    storage.train(np.zeros((1, vectors.shape[1]), np.float32))
    storage.add(widen(vectors))
    return Searched(
        "all, faiss, fp16",
        lambda query, limit: storage.search(query[None], limit)[1][0],
        thread_time() - started,
        2 * vectors.size / 1e6,
    )


def table(name: str, vectors: Float16s, queries: int, graphs: bool) -> None:
    """Print a table of one set of vectors."""
    judge = RecallJudge(vectors, queries_like_users(vectors, queries, SEED), min(LIMITS[-1], len(vectors)))
    exact = ExactIndex(vectors)
    ways = [
        Searched("all, numpy", lambda query, limit: exact.search(query[None], limit, NONE), 0, 2 * vectors.size / 1e6),
        flat(vectors),
        scan(vectors),
    ]
    points: Sequence[RecallPoint] = ()
    if graphs:
        half, points = hnsw(vectors, HnswConfig(), "HNSW, fp16")
        ways += [half, hnsw(vectors, HnswConfig(half=False), "HNSW, fp32")[0]]
    print(f"\n{name}: {len(vectors):,} x {vectors.shape[1]}, {queries} queries, one thread\n")
    print("| | built in s | MB | " + " | ".join(f"limit {limit:,}: recall, queries/s" for limit in LIMITS) + " |")
    print("|---|---:|---:|" + "---:|" * len(LIMITS))
    cells = {way.name: [f"{way.seconds:.1f}", f"{way.megabytes:.0f}"] for way in ways}
    for limit in LIMITS:
        found, took = searched(judge, ways, limit)
        for way in ways:
            rate = 1 / median(took[way.name])
            cells[way.name].append(f"{judge.recall(found[way.name], limit):.3f}, {rate:,.0f}")
    for way, row in cells.items():
        print(f"| {way} | " + " | ".join(row) + " |")
    if points:
        print("\nef of the fp16 graph: " + ", ".join(f"{one.limit:,}: {one.ef:,}" for one in points))


def searched(
    judge: RecallJudge, ways: list[Searched], limit: int
) -> tuple[dict[str, list[Rows]], dict[str, list[float]]]:
    """Search each query by all ways, in turns; return what they found and the seconds they took."""
    found: dict[str, list[Rows]] = {way.name: [] for way in ways}
    took: dict[str, list[float]] = {way.name: [] for way in ways}
    for query in judge.queries:
        for way in ways:
            started = thread_time()
            rows = way.search(query, limit)
            took[way.name].append(thread_time() - started)
            found[way.name].append(rows)
    return found, took


def main() -> None:
    """Print a table for each number of items and each bundle."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--items", default="10000,43000,300000")
    options.add_argument("--bundle", type=Path, action="append", default=[])
    options.add_argument("--queries", type=int, default=100)
    options.add_argument("--without-graphs", action="store_true")
    given = options.parse_args()
    graphs = not given.without_graphs
    with one_thread():
        for folder in given.bundle:
            table(f"items of {folder}", EmbeddingTable.open(folder / ITEMS).vectors, given.queries, graphs)
        for count in [int(one) for one in given.items.split(",") if one]:
            table("made-up clusters", clusters(count), given.queries, graphs)


if __name__ == "__main__":
    main()
