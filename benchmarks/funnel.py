"""A request for which items are found, beside one that names them, where there are a million items.

    python -m benchmarks.funnel BUNDLE [--items 1000000] [--limit 500] [--requests 200] [--without-graph] [--work DIR]

CPU time of whole requests, one of each kind in turns, so that other work on the machine meets both alike, though it may
take caches away. The bundle's items are joined by made-up ones near to them, published as its item vectors are, with
their index; users have 100 actions on the bundle's own items. What is made lies in ``--work`` and is not made again.

Linking a million rows takes minutes. ``--without-graph`` has faiss compare them all, as an index does for the limits
that no walk is quicker for: a request takes as long or less where there is a graph.
"""

import argparse
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import process_time

import faiss
import numpy as np

from benchmarks.catalogue import AS_OF_MS, a_user
from rankstream.features.embeddings.base import NoVectors
from rankstream.features.embeddings.float16 import Float16s, widen
from rankstream.features.embeddings.table import EmbeddingTable, publish
from rankstream.features.files import CURRENT
from rankstream.features.ids import Id, id_key
from rankstream.features.join import match_user
from rankstream.ranking.bundle import Bundle, open_bundle
from rankstream.ranking.ranker import Ranker
from rankstream.ranking.request import RankingRequest
from rankstream.ranking.served_items import published_items
from rankstream.ranking.serving import ranker_of
from rankstream.retrieval.index.choice import index_version
from rankstream.retrieval.index.hnsw import HnswIndex
from rankstream.retrieval.index.recall import RecallCurve

SPREAD = 0.5  # length of what sets a made-up item off from one of the bundle, in lengths of that
USERS = 20


def publish_many(bundle: Bundle, root: Path, count: int, prepare: Callable[[Path], object] | None) -> None:
    """Publish the bundle's item vectors and made-up ones beside them, ``count`` in all; ``prepare`` makes an index."""
    rng, own = np.random.default_rng(0), widen(bundle.items.vectors)
    near = own[rng.integers(0, len(own), max(0, count - len(own)))]
    noise = rng.standard_normal(near.shape, np.float32) * np.linalg.norm(near, axis=1, keepdims=True)
    made_up = near + SPREAD / own.shape[1] ** 0.5 * noise
    ids: list[Id] = [*bundle.items.ids(np.arange(len(own))), *(f"made-up-{at}" for at in range(len(near)))]
    publish(
        root, ids, np.concatenate([own, made_up]),
        space=bundle.items.space, as_of_ms=bundle.items.as_of_ms, prepare=prepare,
    )  # fmt: skip


def compared(vectors: Float16s) -> HnswIndex:
    """Return an index without a link, which has faiss compare all rows."""
    graph = faiss.IndexHNSWSQ(vectors.shape[1], faiss.ScalarQuantizer.QT_fp16, 4, faiss.METRIC_INNER_PRODUCT)
    storage = faiss.downcast_index(graph.storage)
    storage.train(np.zeros((1, vectors.shape[1]), np.float32))
    storage.add(widen(vectors))
    return HnswIndex(vectors, graph, RecallCurve(()), "all, by faiss")


def measure(ranker: Ranker, bundle: Bundle, limit: int, requests: int) -> dict[str, list[float]]:
    """Return the milliseconds of CPU time of each request, by kind."""
    rng, taken = np.random.default_rng(1), dict[str, list[float]]()
    states = [a_user(bundle, seed) for seed in range(USERS)]
    for number in range(requests + USERS):  # the first of each user find out what later ones remember
        user, state = number % USERS, states[number % USERS]
        asks = RankingRequest(f"r{number}", user, limit=limit, timestamp_ms=AS_OF_MS)
        rows = rng.choice(len(bundle.items), min(limit, len(bundle.items)), replace=False)
        named = RankingRequest(f"r{number}", user, candidates=tuple(bundle.items.ids(rows)), timestamp_ms=AS_OF_MS)
        matched, source = match_user(state, id_key(user), AS_OF_MS, ranker.offline), ranker.source
        assert source is not None
        kinds: dict[str, Callable[[], object]] = {
            f"limit {limit}": partial(ranker.rank, asks, state, AS_OF_MS),
            f"{len(rows)} candidates": partial(ranker.rank, named, state, AS_OF_MS),
            "retrieval alone": partial(ranker.retrieve, asks, matched, source),
        }
        for kind, answer in kinds.items():
            started = process_time()
            answer()
            if number >= USERS:
                taken.setdefault(kind, []).append(1e3 * (process_time() - started))
    return taken


def main() -> None:
    """Print the median and the 99th percentile of each kind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--limit", type=int, default=500)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--without-graph", action="store_true")
    parser.add_argument("--work", type=Path)
    given = parser.parse_args()
    bundle = open_bundle(given.bundle)
    with ExitStack() as stack:
        root = given.work or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if not (root / CURRENT).exists():
            publish_many(bundle, root, given.items, None if given.without_graph else index_version)
        items = published_items(EmbeddingTable.open(root), root, bundle)
        if given.without_graph:
            items = replace(items, index=compared(items.table.vectors))
        ranker = ranker_of(bundle, NoVectors(bundle.manifest.sizes.user_dim), items=items)
        print(f"{len(items.table):,} x {items.table.dim}, index: {items.index.name or 'none, all are compared'}")
        for kind, ms in measure(ranker, bundle, given.limit, given.requests).items():
            print(f"{kind:>20}: p50 {np.median(ms):.1f} ms, p99 {np.quantile(ms, 0.99):.1f} ms of CPU")


if __name__ == "__main__":
    main()
