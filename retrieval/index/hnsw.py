"""Approximate search in a graph of neighbours: HNSW (Malkov and Yashunin, 2016), by faiss (extra ``ann``).

A search walks from row to nearer row and keeps the ``ef`` best met on its way: it finds more of the true neighbours the
larger ``ef``, and fewer the more neighbours are asked for. So ``ef`` follows from the limit, by what was measured when
the graph was built (``recall.py``). Where the graph can't keep the recall, or would take longer than comparing every
row, every row is compared, by faiss: that takes a quarter of the time of ``exact.py``.

Between rows of different lengths the largest inner product is no distance, and walks miss short rows. So where lengths
differ each row gets a coordinate more, which makes all equally long and which is 0 in queries (Bachrach et al.,
RecSys'14): inner products stay, and become distances.

faiss only says which rows are near: their similarities are computed from the table as ``exact.py`` does, so their order
is that of the exact search. Rows are stored in float16, as tables have them: nothing is lost.

A graph is a function of its vectors and configuration: built by one thread, from a seed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from rankstream.features.embeddings.float16 import Float16s, widen
from rankstream.features.embeddings.key_search import Rows
from rankstream.features.schema import Floats
from rankstream.retrieval.index.base import unit
from rankstream.retrieval.index.recall import NONE, RecallCurve, measure_curve

AT_ONCE = 65_536  # rows that are widened and added at a time
EXACT_ROWS = 400  # that faiss compares while a walk gets one of ef further: 260 to 600, the more items, the more
FEW_EXCLUDED = 1_000  # rows: of more a bitmap is quicker than a set
SAME_LENGTH = 1.01  # times as long as another, a row is taken for as long: float16 rounds unit vectors by less
LANES = 8  # numbers that are multiplied at once, so widths are multiples of it
LIBRARY = f"faiss {faiss.__version__}"

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class HnswConfig:
    """What a graph is built with."""

    links: int = 32  # of a row on the lowest layer, half of that above: M of the paper; 16 needs a larger ef
    construction_ef: int = 100  # rows kept on the way while a row is linked: more build a better graph, more slowly
    seed: int = 0  # of the layers that rows are on
    half: bool = True  # store float16; False is for comparison (``benchmarks/retrieval.py``)


@dataclass(frozen=True)
class HnswIndex:
    """A graph over all rows of one version of a table; safe to search from many threads."""

    vectors: Float16s  # (n, I), the table's
    graph: Any  # faiss.IndexHNSW
    curve: RecallCurve
    name: str | None = None  # of what it was built with, see ``hnsw_files.py``

    def search(self, queries: Floats, limit: int, exclude: Rows) -> Rows:
        """Return up to ``limit`` rows nearest to any of the queries ``(q, I)``, nearest first, none of ``exclude``."""
        ef = self.curve.ef(limit + len(exclude))
        wanted = 0 if ef is None else min(limit, len(self.vectors) - len(np.unique(exclude)))
        if ef is None or wanted <= 0:
            return self._compare_all(queries, limit, exclude)
        sought = unit(queries)
        met = np.unique(np.concatenate([self.nearest(query, limit, ef, exclude) for query in sought]))
        if len(met) < wanted:  # what is excluded stood in the way
            return self._compare_all(queries, limit, exclude)
        return self._nearest_first(sought, met)[:limit]

    def nearest(self, query: Floats, limit: int, ef: int, exclude: Rows = NONE) -> Rows:
        """Return up to ``limit`` rows that a walk for one unit query ``(I,)`` meets, in any order."""
        params = faiss.SearchParametersHNSW(efSearch=max(ef, limit), sel=self._selector(exclude))
        return self._found(self.graph, query, limit, params)

    def _compare_all(self, queries: Floats, limit: int, exclude: Rows) -> Rows:
        """Return what ``search`` does, of all rows: faiss goes through those that the graph holds."""
        count, sought = min(limit, len(self.vectors)), unit(queries)
        if count <= 0:
            return NONE
        params = faiss.SearchParameters(sel=self._selector(exclude))
        found = [self._found(self._storage, query, count, params) for query in sought]
        return self._nearest_first(sought, np.unique(np.concatenate(found)))[:limit]

    def _found(self, index: Any, query: Floats, limit: int, params: Any) -> Rows:
        padded = np.zeros((1, index.d), np.float32)
        padded[0, : len(query)] = query
        _, rows = index.search(padded, limit, params=params)
        found: Rows = rows[0][rows[0] >= 0].astype(np.intp)
        return found

    def _selector(self, exclude: Rows) -> Any:
        """Return what lets all rows pass but these; None where all do."""
        if not len(exclude):
            return None
        if len(exclude) <= FEW_EXCLUDED:
            return faiss.IDSelectorNot(faiss.IDSelectorBatch(np.ascontiguousarray(exclude, np.int64)))
        let = np.ones(len(self.vectors), np.bool_)
        let[exclude] = False
        return faiss.IDSelectorBitmap(np.packbits(let, bitorder="little"))

    def _nearest_first(self, queries: Floats, rows: Rows) -> Rows:
        """Sort rows by their largest similarity to a query, ties by row; ``rows`` ascend."""
        similarities = (widen(self.vectors[rows]) @ queries.T).max(axis=1)
        ordered: Rows = rows[np.argsort(-similarities, kind="stable")]
        return ordered

    @cached_property
    def _storage(self) -> Any:
        """The rows below the graph, which faiss searches exactly."""
        return faiss.downcast_index(self.graph.storage)


def build_index(vectors: Float16s, config: HnswConfig, max_ef: int | None = None) -> HnswIndex:
    """Link the rows ``(n, I)`` and measure the recall; from ``max_ef`` on the exact search is taken for the quicker."""
    index = HnswIndex(vectors, build_graph(vectors, config), RecallCurve(()))
    most = len(vectors) // EXACT_ROWS if max_ef is None else max_ef
    return replace(index, curve=measure_curve(index.nearest, vectors, most))


def build_graph(vectors: Float16s, config: HnswConfig) -> Any:
    """Link the rows ``(n, I)``, one after the other; return faiss' graph."""
    length = max_length(vectors)
    dim = vectors.shape[1] if length is None else (vectors.shape[1] // LANES + 1) * LANES
    if config.half:
        kind = faiss.ScalarQuantizer.QT_fp16
        graph = faiss.IndexHNSWSQ(dim, kind, config.links, faiss.METRIC_INNER_PRODUCT)
        graph.train(np.zeros((1, dim), np.float32))  # learns nothing, but faiss asks for it
    else:
        graph = faiss.IndexHNSWFlat(dim, config.links, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = config.construction_ef
    graph.hnsw.rng = faiss.RandomGenerator(config.seed)
    with one_thread():
        for start in range(0, len(vectors), AT_ONCE):
            rows = widen(vectors[start : start + AT_ONCE])
            graph.add(rows if length is None else equally_long(rows, length, dim))
    return graph


def max_length(vectors: Float16s) -> float | None:
    """Return the length of the longest row where lengths differ; None where they don't."""
    if not len(vectors):
        return None
    parts = range(0, len(vectors), AT_ONCE)
    lengths = np.concatenate([np.linalg.norm(widen(vectors[at : at + AT_ONCE]), axis=1) for at in parts])
    longest = float(lengths.max())
    return longest if longest > SAME_LENGTH * float(lengths.min()) else None


def equally_long(rows: Floats, length: float, dim: int) -> Floats:
    """Return the rows ``(n, I)`` as ``(n, dim)``, all of this length by one coordinate more; zeros fill the rest."""
    long = np.zeros((len(rows), dim), np.float32)
    long[:, : rows.shape[1]] = rows
    squares = np.square(rows, dtype=np.float64).sum(axis=1)
    long[:, rows.shape[1]] = np.sqrt(np.maximum(length**2 - squares, 0))
    return long


def graph_bytes(graph: Any) -> Bytes:
    """Return a graph as it is written to a file."""
    written: Bytes = faiss.serialize_index(graph)
    return written


def graph_of(written: Bytes) -> Any:
    """Return the graph of ``graph_bytes``. Raises ``RuntimeError`` for anything else."""
    return faiss.deserialize_index(written)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let faiss use one thread inside the block; links depend on the order in which rows come."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
