"""Graphs of items and boards for tests."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rankstream.features.ids import Id, id_keys
from rankstream.graph.build import build_graph
from rankstream.graph.item_graph import ItemGraph, publish_graph
from rankstream.graph.memberships import Memberships
from tests.builders.bundle import AS_OF_MS


def memberships(pairs: Sequence[tuple[Id, Id]], weights: Sequence[float] | None = None) -> Memberships:
    """Pairs of a board and an item."""
    weighed = None if weights is None else np.array(weights, np.float64)
    return Memberships(id_keys([board for board, _ in pairs]), id_keys([item for _, item in pairs]), weighed)


def a_graph(
    pairs: Sequence[tuple[Id, Id]], as_of_ms: int = AS_OF_MS, weights: Sequence[float] | None = None
) -> ItemGraph:
    """The graph of pairs of a board and an item."""
    return build_graph(memberships(pairs, weights), as_of_ms).graph


def publish_boards(root: Path, pairs: Sequence[tuple[Id, Id]], as_of_ms: int = AS_OF_MS, keep: int = 100) -> str:
    """Publish the graph of pairs of a board and an item; return the version's name."""
    return publish_graph(root, a_graph(pairs, as_of_ms), keep).name
