"""A graph of items and boards with the items' keys: in memory, or as published, mapped and verified to the byte.

::

    root/
        CURRENT                            as of an embedding table (``features/embeddings/files.py``)
        000007-9c3f5a01e2d4b678/
            header.json                    sizes, as-of time, checksums of the columns
            keys.u64                       (n,) keys of the items, sorted
            board_starts.i64  boards.i32   the boards of each item
            item_starts.i64   items.i32    the items of each board

It knows items by their keys alone, so walks find what any version of the item vectors holds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Self

import msgspec
import numpy as np
from msgspec import Meta

from rankstream.features.embeddings import files
from rankstream.features.embeddings.files import KEPT_VERSIONS, BrokenTableError, Column
from rankstream.features.embeddings.key_search import KeySearch
from rankstream.features.ids import Keys
from rankstream.features.matches.tables import Lists, MatchTables
from rankstream.features.schema import Bools, Ints
from rankstream.graph.bipartite import BipartiteGraph, session_graph

FORMAT = 1
KEYS, BOARD_STARTS, BOARDS = "keys.u64", "board_starts.i64", "boards.i32"
ITEM_STARTS, ITEMS = "item_starts.i64", "items.i32"
DTYPES = {KEYS: "<u8", BOARD_STARTS: "<i8", BOARDS: "<i4", ITEM_STARTS: "<i8", ITEMS: "<i4"}
AGAIN = "build the graph again with `rankstream graph build`"


class GraphHeader(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The metadata of a version."""

    format: int = FORMAT
    items: Annotated[int, Meta(ge=0)]  # n
    boards: Annotated[int, Meta(ge=0)]  # m
    as_of_ms: int  # UTC: what happened until then is in it
    checksums: dict[str, str] = {}  # xxh3_128 of each column's file


@dataclass(frozen=True)
class ItemGraph:
    """One version; safe to read from many threads."""

    keys: Keys  # (n,) of the items, sorted
    graph: BipartiteGraph
    version: str | None = None  # None: not published, as that of a bundle's sessions
    as_of_ms: int = 0

    @classmethod
    def of_sessions(cls, tables: MatchTables) -> Self:
        """Return the graph of items and sessions that the match tables hold."""
        return cls(tables.keys, session_graph(tables))

    @classmethod
    def open(cls, root: Path) -> Self:
        """Map the current version and verify it. Raises ``BrokenTableError``."""
        return files.opened_current(root, cls.open_version)

    @classmethod
    def open_version(cls, folder: Path) -> Self:
        """Map one version, the current one or an older one that is still there, and verify it to the byte.

        Raises ``BrokenTableError``.
        """
        header = files.sealed_header(folder, GraphHeader)
        if header.format != FORMAT:
            raise BrokenTableError(f"{folder / files.HEADER} is of format {header.format}, not {FORMAT}; {AGAIN}")
        columns = _mapped(folder, header)
        graph = BipartiteGraph(
            Lists(columns[BOARD_STARTS], columns[BOARDS]), Lists(columns[ITEM_STARTS], columns[ITEMS])
        )
        if not _is_whole(header, columns, graph):
            raise BrokenTableError(f"the graph {folder} has lists that its header does not fit; {AGAIN}")
        opened = cls(columns[KEYS], graph, folder.name, header.as_of_ms)
        opened.prepare()
        return opened

    def __len__(self) -> int:
        return len(self.keys)

    def prepare(self) -> None:
        """Find out now what the first walk would have to, which reads every edge."""
        _ = self._search, self.graph.is_closed, self.graph.max_degree

    @cached_property
    def _search(self) -> KeySearch:
        return KeySearch(self.keys)

    def rows(self, keys: Keys) -> tuple[Ints, Bools]:
        """Return the row of each key and whether it is known; the row of an unknown key is -1."""
        return self._search.rows(keys)


def publish_graph(root: Path, graph: ItemGraph, keep: int = KEPT_VERSIONS) -> Path:
    """Publish a graph as the newest version, whole or not at all; return the version's folder.

    All but the newest ``keep`` versions are deleted. Raises ``ValueError`` for less than two.
    """
    boards, items = graph.graph.boards, graph.graph.items
    header = GraphHeader(items=len(graph), boards=len(items), as_of_ms=graph.as_of_ms)
    columns: dict[str, Column] = {
        KEYS: graph.keys,
        BOARD_STARTS: boards.starts,
        BOARDS: boards.rows,
        ITEM_STARTS: items.starts,
        ITEMS: items.rows,
    }
    with files.publishing(root):
        return files.write_version(root, header, columns, keep)


def _mapped(folder: Path, header: GraphHeader) -> Mapping[str, Column]:
    try:
        columns = {name: files.map_column(folder / name, dtype) for name, dtype in DTYPES.items()}
        files.verify_columns(folder, columns, {name: header.checksums[name] for name in DTYPES}, AGAIN)
    except BrokenTableError:
        raise
    except (OSError, KeyError, ValueError) as exc:
        raise BrokenTableError(f"the graph {folder} can't be opened ({exc}); {AGAIN}") from exc
    return columns


def _is_whole(header: GraphHeader, columns: Mapping[str, Column], graph: BipartiteGraph) -> bool:
    """Return whether no walk can leave the graph: all lists lie within their columns, and all rows within the graph."""
    sizes = (len(columns[KEYS]), len(graph.boards), len(graph.items))
    if sizes != (header.items, header.items, header.boards):
        return False
    return (
        _within(graph.boards, header.boards)
        and _within(graph.items, header.items)
        and bool((np.diff(graph.items.starts) > 0).all())
    )


def _within(lists: Lists, count: int) -> bool:
    starts, rows = lists.starts, lists.rows
    if not len(starts) or starts[0] != 0 or starts[-1] != len(rows) or (np.diff(starts) < 0).any():
        return False
    return not len(rows) or bool(rows.min() >= 0 and rows.max() < count)
