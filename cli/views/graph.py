"""What a graph of items and boards holds, as facts."""

from collections.abc import Mapping

import numpy as np

from rankstream.cli.views.table import Facts
from rankstream.evaluation.time_text import delay_text, time_text
from rankstream.graph.item_graph import ItemGraph, Weighting


def facts_of(graph: ItemGraph) -> dict[str, object]:
    """Return what people want to know of a graph."""
    degrees, sizes = graph.graph.degrees, np.diff(graph.graph.items.starts)
    return {
        "version": graph.version,
        "as_of_ms": graph.as_of_ms,
        "items": len(graph),
        "boards": len(sizes),
        "edges": int(degrees.sum()),
        "boards_of_an_item_median": int(np.median(degrees)) if len(degrees) else 0,
        "boards_of_an_item_most": int(degrees.max(initial=0)),
        "items_of_a_board_median": int(np.median(sizes)) if len(sizes) else 0,
        "items_of_a_board_most": int(sizes.max(initial=0)),
        "bias": None if graph.graph.bias is None else graph.graph.bias.share,
        "weights": None if graph.weighting is None else weights_of(graph.weighting),
    }


def weights_of(weighting: Weighting) -> dict[str, object]:
    """Return what the weights of edges are of; the half-life as people write it."""
    half_life = weighting.half_life_ms
    return {"edges": weighting.edges, "half_life": None if half_life is None else delay_text(half_life)}


def graph_view(facts: Mapping[str, object]) -> Facts:
    """Return what a graph holds, for people."""
    as_of_ms, weights = facts["as_of_ms"], facts["weights"]
    shown = {name: value for name, value in facts.items() if value is not None and name not in ("as_of_ms", "weights")}
    others = {name.replace("_", " "): value for name, value in shown.items()}
    texts = {name: f"{value:,}" if isinstance(value, int) else str(value) for name, value in others.items()}
    as_of = {"as of": time_text(as_of_ms)} if isinstance(as_of_ms, int) else {}
    return Facts(texts | as_of | ({"weights": _weights_text(weights)} if isinstance(weights, dict) else {}))


def _weights_text(weights: Mapping[str, object]) -> str:
    edges, half_life = weights["edges"], weights["half_life"]
    of_edges = [f"{name} {weight:g}" for name, weight in edges.items()] if isinstance(edges, dict) else []
    return ", ".join([*of_edges, *([f"half after {half_life}"] if half_life else [])]) or "1 each"
