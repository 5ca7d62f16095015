"""A graph of items and boards with the items' keys: in memory, or as published, mapped and verified to the byte.

::

    root/
        CURRENT                            as of an embedding table (``features/embeddings/files.py``)
        000007-9c3f5a01e2d4b678/
            header.json                    sizes, as-of time, checksums of the columns
            keys.u64                       (n,) keys of the items, sorted
            board_starts.i64  boards.i32   the boards of each item
            item_starts.i64   items.i32    the items of each board
            board_thresholds.u32  board_others.i32      only of edges with weights: what draws one of a list by weight
            item_thresholds.u32   item_others.i32       (``alias.py``); the header then says what the weights are of
            topics.i32            (n,) only where walks prefer a topic (``bias.py``), a board's items lie by topic then

It knows items by their keys alone, so walks find what any version of the item vectors holds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Self

import msgspec
import numpy as np
from msgspec import UNSET, Meta, UnsetType

from rankstream.features.embeddings import files
from rankstream.features.embeddings.files import KEPT_VERSIONS, BrokenTableError, Column
from rankstream.features.embeddings.key_search import KeySearch
from rankstream.features.ids import Keys
from rankstream.features.matches.tables import Lists, MatchTables, Rows32
from rankstream.features.schema import Bools, Ints
from rankstream.graph.alias import AliasLists
from rankstream.graph.bias import Bias
from rankstream.graph.bipartite import BipartiteGraph, session_graph

FORMAT, WEIGHTED, BIASED = 1, 2, 3  # of plain graphs, of edges with weights, of walks that prefer a topic
KEYS, BOARD_STARTS, BOARDS = "keys.u64", "board_starts.i64", "boards.i32"
ITEM_STARTS, ITEMS = "item_starts.i64", "items.i32"
BOARD_THRESHOLDS, BOARD_OTHERS = "board_thresholds.u32", "board_others.i32"
ITEM_THRESHOLDS, ITEM_OTHERS = "item_thresholds.u32", "item_others.i32"
DTYPES = {KEYS: "<u8", BOARD_STARTS: "<i8", BOARDS: "<i4", ITEM_STARTS: "<i8", ITEMS: "<i4"}
TOPICS = "topics.i32"
DRAWING = {BOARD_THRESHOLDS: "<u4", BOARD_OTHERS: "<i4", ITEM_THRESHOLDS: "<u4", ITEM_OTHERS: "<i4"}
AGAIN = "build the graph again with `rankstream graph build`"


class Weighting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the weights of edges are of."""

    edges: dict[str, float] = {}  # weight of each ``action:column``; what is not there weighs 1
    half_life_ms: int | None = None  # None: age does not matter


class GraphHeader(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The metadata of a version."""

    format: int = FORMAT
    items: Annotated[int, Meta(ge=0)]  # n
    boards: Annotated[int, Meta(ge=0)]  # m
    as_of_ms: int  # UTC: what happened until then is in it
    checksums: dict[str, str] = {}  # xxh3_128 of each column's file
    weighting: Weighting | UnsetType = UNSET  # not in the headers of graphs without weights
    bias: Annotated[float, Meta(ge=0.0, le=1.0)] | UnsetType = UNSET  # not in those of walks that prefer no topic


@dataclass(frozen=True)
class ItemGraph:
    """One version; safe to read from many threads."""

    keys: Keys  # (n,) of the items, sorted
    graph: BipartiteGraph
    version: str | None = None  # None: not published, as that of a bundle's sessions
    as_of_ms: int = 0
    weighting: Weighting | None = None  # None: edges have no weights

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
        weighting = None if header.weighting is UNSET else header.weighting
        wanted = BIASED if header.bias is not UNSET else FORMAT if weighting is None else WEIGHTED
        if header.format != wanted:
            raise BrokenTableError(f"{folder / files.HEADER} is of format {header.format}, not {wanted}; {AGAIN}")
        columns = _mapped(folder, header)
        graph = _graph_of(columns, header)
        if not _is_whole(header, columns, graph):
            raise BrokenTableError(f"the graph {folder} has lists that its header does not fit; {AGAIN}")
        opened = cls(columns[KEYS], graph, folder.name, header.as_of_ms, weighting)
        opened.prepare()
        return opened

    def __len__(self) -> int:
        return len(self.keys)

    def prepare(self) -> None:
        """Find out now what the first walk would have to, which reads every edge."""
        _ = self._search, self.graph.is_closed, self.graph.max_degree
        _ = None if self.graph.bias is None else self.graph.bias.runs

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
    if isinstance(boards, AliasLists) and isinstance(items, AliasLists):
        columns |= {BOARD_THRESHOLDS: boards.thresholds, BOARD_OTHERS: boards.others}
        columns |= {ITEM_THRESHOLDS: items.thresholds, ITEM_OTHERS: items.others}
        weighting = graph.weighting or Weighting()
        header = msgspec.structs.replace(header, format=WEIGHTED, weighting=weighting)
    elif graph.graph.bias is not None:
        columns[TOPICS] = graph.graph.bias.topics
        header = msgspec.structs.replace(header, format=BIASED, bias=graph.graph.bias.share)
    with files.publishing(root):
        return files.write_version(root, header, columns, keep)


def _mapped(folder: Path, header: GraphHeader) -> Mapping[str, Column]:
    dtypes = DTYPES if header.weighting is UNSET else DTYPES | DRAWING
    dtypes = dtypes if header.bias is UNSET else dtypes | {TOPICS: "<i4"}
    try:
        columns = {name: files.map_column(folder / name, dtype) for name, dtype in dtypes.items()}
        files.verify_columns(folder, columns, {name: header.checksums[name] for name in dtypes}, AGAIN)
    except BrokenTableError:
        raise
    except (OSError, KeyError, ValueError) as exc:
        raise BrokenTableError(f"the graph {folder} can't be opened ({exc}); {AGAIN}") from exc
    return columns


def _graph_of(columns: Mapping[str, Column], header: GraphHeader) -> BipartiteGraph:
    boards, items = (columns[BOARD_STARTS], columns[BOARDS]), (columns[ITEM_STARTS], columns[ITEMS])
    if header.bias is not UNSET:
        by_topic = Lists(*items)
        return BipartiteGraph(Lists(*boards), by_topic, Bias(header.bias, columns[TOPICS], by_topic))
    if header.weighting is UNSET:
        return BipartiteGraph(Lists(*boards), Lists(*items))
    return BipartiteGraph(
        AliasLists(*boards, columns[BOARD_THRESHOLDS], columns[BOARD_OTHERS]),
        AliasLists(*items, columns[ITEM_THRESHOLDS], columns[ITEM_OTHERS]),
    )


def _is_whole(header: GraphHeader, columns: Mapping[str, Column], graph: BipartiteGraph) -> bool:
    """Return whether no walk can leave the graph: all lists lie within their columns, and all rows within the graph."""
    sizes = (len(columns[KEYS]), len(graph.boards), len(graph.items))
    if sizes != (header.items, header.items, header.boards):
        return False
    return (
        _within(graph.boards, header.boards)
        and _within(graph.items, header.items)
        and bool((np.diff(graph.items.starts) > 0).all())
        and (graph.bias is None or _is_by_topic(graph.bias, header.items))
    )


def _is_by_topic(bias: Bias, items: int) -> bool:
    if len(bias.topics) != items or bias.topics.min(initial=0) < -1:
        return False
    return bool((np.diff(bias.cells) >= 0).all())


def _within(lists: Lists, count: int) -> bool:
    starts, rows = lists.starts, lists.rows
    if not len(starts) or starts[0] != 0 or starts[-1] != len(rows) or (np.diff(starts) < 0).any():
        return False
    if isinstance(lists, AliasLists):
        if not len(lists.thresholds) == len(lists.others) == len(rows):
            return False
        return _are_rows(rows, count) and _are_rows(lists.others, count)
    return _are_rows(rows, count)


def _are_rows(rows: Rows32, count: int) -> bool:
    return not len(rows) or bool(rows.min() >= 0 and rows.max() < count)
