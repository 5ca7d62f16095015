"""The graph of a table on disk, beside the version that it is of.

::

    root/                            of the table (``features/embeddings/files.py``)
        000007-9c3f5a01e2d4b678/     a version
        hnsw/
            000007-9c3f5a01e2d4b678/
                header.json          the version, what it was built with, its recall, the graph's checksum
                graph.faiss

An index is named by its header's hash, so indexes of one name give the same answers. It is a function of the table, the
configuration and the library: whoever builds it again gets the same name.
"""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
import xxhash
from msgspec import Meta

from rankstream.features.decoding import UNREADABLE
from rankstream.features.embeddings.files import checksum, versions
from rankstream.features.embeddings.table import EmbeddingTable
from rankstream.features.files import whole_folder
from rankstream.retrieval.index.choice import GRAPHS
from rankstream.retrieval.index.hnsw import LIBRARY, HnswConfig, HnswIndex, build_index, graph_bytes, graph_of
from rankstream.retrieval.index.recall import RecallCurve, RecallPoint

FORMAT = 1
HEADER, GRAPH = "header.json", "graph.faiss"
AGAIN = "build it again with `rankstream index build`"


class IndexRefusedError(ValueError):
    """An index that must not be searched; one sentence, which names the file and the remedy."""


class IndexHeader(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What an index was built of and with; no clock is in it, so the same table gives the same header."""

    format: int = FORMAT
    table: str  # version
    count: Annotated[int, Meta(ge=0)]
    dim: Annotated[int, Meta(ge=0)]
    links: Annotated[int, Meta(ge=0)]
    construction_ef: Annotated[int, Meta(ge=0)]
    seed: int
    half: bool
    library: str
    target: float  # recall that the curve's ef were chosen for
    curve: tuple[RecallPoint, ...]
    graph: str  # checksum


@dataclass(frozen=True)
class BuiltIndex:
    """An index, and what is written of it."""

    index: HnswIndex
    header: IndexHeader
    graph: bytes


def build_for(table: EmbeddingTable, config: HnswConfig | None = None) -> BuiltIndex:
    """Build the index of a table and measure its recall."""
    chosen = config or HnswConfig()
    index = build_index(table.vectors, chosen)
    graph = graph_bytes(index.graph)
    header = IndexHeader(
        table=table.version,
        count=len(table),
        dim=table.dim,
        links=chosen.links,
        construction_ef=chosen.construction_ef,
        seed=chosen.seed,
        half=chosen.half,
        library=LIBRARY,
        target=index.curve.target,
        curve=index.curve.points,
        graph=checksum(graph),
    )
    return BuiltIndex(replace(index, name=name_of(msgspec.json.encode(header))), header, graph.tobytes())


def write_index(built: BuiltIndex, root: Path) -> Path:
    """Write an index beside its table's version and delete those whose version is gone; return its folder."""
    folder, header = root / GRAPHS / built.header.table, msgspec.json.encode(built.header)
    if not _holds(folder, header):
        shutil.rmtree(folder, ignore_errors=True)
        with whole_folder(folder) as beside:
            (beside / GRAPH).write_bytes(built.graph)
            (beside / HEADER).write_bytes(header)
    kept = {one.name for one in versions(root)}
    for other in (root / GRAPHS).iterdir():
        if not other.name.startswith(".") and other.name not in kept:
            shutil.rmtree(other, ignore_errors=True)
    return folder


def read_index(table: EmbeddingTable, root: Path) -> HnswIndex | None:
    """Read the index beside a table's version; None where there is none. Raises ``IndexRefusedError``."""
    folder = root / GRAPHS / table.version
    if not (folder / HEADER).is_file():
        return None
    try:
        data, graph = (folder / HEADER).read_bytes(), np.fromfile(folder / GRAPH, np.uint8)
        header = msgspec.json.decode(data, type=IndexHeader)
    except (OSError, *UNREADABLE) as exc:
        raise IndexRefusedError(f"the index {folder} can't be read ({exc}); {AGAIN}") from exc
    if (header.format, header.table, header.count, header.dim) != (FORMAT, table.version, len(table), table.dim):
        raise IndexRefusedError(
            f"the index {folder} is of version {header.table} with {header.count:,} items of {header.dim}, not of "
            f"{table.version} with {len(table):,} of {table.dim}; {AGAIN}"
        )
    if checksum(graph) != header.graph:
        raise IndexRefusedError(f"{folder / GRAPH} was changed on disk (its checksum does not hold); {AGAIN}")
    return HnswIndex(table.vectors, graph_of(graph), RecallCurve(header.curve, header.target), name_of(data))


def name_of(header: bytes) -> str:
    """Return the name of the index with this header."""
    return f"{GRAPHS}-{xxhash.xxh3_64_hexdigest(header)}"


def _holds(folder: Path, header: bytes) -> bool:
    try:
        return (folder / HEADER).read_bytes() == header and (folder / GRAPH).is_file()
    except OSError:
        return False
