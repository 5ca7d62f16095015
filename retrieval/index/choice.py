"""Which index a table is searched with: every row where they are few, else the graph beside it (``hnsw_files.py``).

A process without faiss compares every row. The library is imported where a graph is first wanted, and only here.
"""

import logging
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from rankstream.features.embeddings.table import EmbeddingTable
from rankstream.retrieval.index.base import VectorIndex
from rankstream.retrieval.index.exact import ExactIndex

GRAPHS = "hnsw"  # folder of the graphs, in the table's
EXACT_BELOW = 20_000  # items: to compare that many takes a millisecond
INSTALL = 'pip install "rankstream[ann]"'

log = logging.getLogger(__name__)


def can_build() -> bool:
    """Return whether faiss is installed."""
    return find_spec("faiss") is not None


def open_index(table: EmbeddingTable, root: Path) -> VectorIndex:
    """Return the graph beside a table in ``root``; where there is none, or it can't be trusted, the exact search."""
    exact = ExactIndex(table.vectors)
    if len(table) < EXACT_BELOW:
        return exact
    if not can_build():
        _say_once(INSTALL)
        return exact
    from rankstream.retrieval.index.hnsw_files import IndexRefusedError, read_index

    try:
        return read_index(table, root) or exact
    except IndexRefusedError as exc:
        log.error("%s; until then every item is compared", exc)
        return exact


def wants_graph(table: EmbeddingTable, index: VectorIndex) -> bool:
    """Return whether a graph would search the table more quickly than ``index``, and can be built."""
    return isinstance(index, ExactIndex) and len(table) >= EXACT_BELOW and can_build()


def build_beside(table: EmbeddingTable, root: Path) -> VectorIndex:
    """Return a table's graph: the one in ``root``, or a new one, which takes seconds to minutes and is left there."""
    found = open_index(table, root)
    if not wants_graph(table, found):
        return found
    from rankstream.retrieval.index.hnsw_files import build_for, write_index

    built = build_for(table)
    try:
        write_index(built, root)
    except OSError as exc:
        log.warning("the index of the items can't be kept (%s), so each worker builds its own", exc)
    return built.index


def index_version(folder: Path) -> None:
    """Build the graph of a version before anybody reads it, where its items are many; for publishers."""
    table = EmbeddingTable.open_version(folder)
    if wants_graph(table, ExactIndex(table.vectors)):
        build_beside(table, folder.parent)


@cache
def _say_once(install: str) -> None:
    log.warning("faiss is not installed, so a request without candidates compares every item: %s", install)
