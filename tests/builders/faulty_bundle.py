"""Bundles that do harm: most verify, and do it once they serve, by nodes that change no output."""

from pathlib import Path
from typing import Any

import numpy as np

from rankstream.bundles.manifest import read_manifest, write_manifest
from tests.builders.bundle import Node, a_bundle, draw_weights, write_candidate_graph

SIDE, PRODUCTS = 600, 1  # of a matrix that is multiplied by itself: about ten milliseconds
FAILS_AT = 40  # candidates


def a_slow_bundle(folder: Path, **options: Any) -> Path:
    """A bundle that takes many times as long as another one."""
    rows: list[Node] = [
        ("Expand", ["query", "shape"], "wide", {}),
        ("Transpose", ["wide"], "high", {"perm": [1, 0]}),
        ("MatMul", ["wide", "high"], "product", {}),
        ("Sigmoid", ["product"], "m0", {}),
    ]
    for at in range(PRODUCTS):
        rows += [("MatMul", [f"m{at}", f"m{at}"], f"p{at}", {}), ("Sigmoid", [f"p{at}"], f"m{at + 1}", {})]
    rows.append(("ReduceMean", [f"m{PRODUCTS}"], "number", {"axes": [0, 1], "keepdims": 0}))
    return _with(folder, rows, {"shape": np.array([SIDE, 8])}, options)


def a_failing_bundle(folder: Path, **options: Any) -> Path:
    """A bundle that fails requests of ``FAILS_AT`` candidates, and no others: it reads row 1 of a table of one."""
    rows: list[Node] = [
        ("Shape", ["candidate_items"], "shape", {}),
        ("Gather", ["shape", "first"], "count", {}),
        ("Sub", ["count", "fails_at"], "off", {}),
        ("Mul", ["off", "off"], "square", {}),
        ("Sub", ["one", "square"], "at_most_one", {}),
        ("Clip", ["at_most_one", "first", "one"], "row", {}),
        ("Gather", ["table", "row"], "number", {}),
    ]
    constants = {"first": np.array(0), "one": np.array(1), "fails_at": np.array(FAILS_AT), "table": np.zeros(1, "f4")}
    return _with(folder, rows, constants, options)


def a_bundle_that_fails_at_once(folder: Path, **options: Any) -> Path:
    """A bundle that fails as soon as it is run, by a shape that no number of candidates has."""
    rows: list[Node] = [
        ("Reshape", ["candidate_items", "shape"], "wide", {}),
        ("ReduceMean", ["wide"], "number", {"axes": [0, 1, 2], "keepdims": 0}),
    ]
    return _with(folder, rows, {"shape": np.array([1 << 20, 1 << 20, 8])}, options)


def _with(folder: Path, rows: list[Node], constants: dict[str, Any], options: dict[str, Any]) -> Path:
    """Write a bundle whose candidate graph adds the scalar ``number`` of these nodes, times 0."""
    a_bundle(folder, **options)
    nodes = [*rows, ("Mul", ["number", "nothing"], "zero", {}), ("Add", ["bias", "zero"], "same_bias", {})]
    weights = draw_weights(options.get("seed", 0))
    write_candidate_graph(folder, weights, nodes, constants | {"nothing": np.zeros((), np.float32)})
    write_manifest(folder, read_manifest(folder))
    return folder
