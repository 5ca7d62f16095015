"""A ranker's two graphs of the kinds of node that a true one has, and large weights: sums depend on their order."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from rankstream.features.schema import CANDIDATE_INPUTS, ModelInputs, random_inputs
from tests.builders.bundle import SIZES, write_graph

ACTIONS = 20


def write_wide_graphs(folder: Path) -> tuple[Path, Path]:
    """Write both; candidates are multiplied by a matrix made once a request, of exactly ``ACTIONS`` actions."""
    rng = np.random.default_rng(0)
    shapes = {"by_action": (8, 96), "first": (11, 20), "scale": (96,), "large": (96, 768), "last": (768, 3)}
    weights = {name: rng.standard_normal(shape, np.float32) / shape[0] ** 0.5 for name, shape in shapes.items()}
    by_action = {"by_action": weights.pop("by_action")}
    nodes = [("MatMul", ["action_items", "by_action"], "values", {})]
    write_graph(folder / "user.onnx", nodes, {"action_items": [20, 8]}, {"values": [20, 96]}, by_action)
    nodes = [
        ("Concat", ["candidate_items", "candidate_features"], "together", {"axis": 1}),
        ("MatMul", ["together", "first"], "nearness", {}),
        ("Softmax", ["nearness"], "attention", {"axis": 1}),
        ("MatMul", ["attention", "values"], "attended", {}),
        ("LayerNormalization", ["attended", "scale"], "normed", {}),
        ("MatMul", ["normed", "large"], "spread", {}),
        ("Relu", ["spread"], "positive", {}),
        ("MatMul", ["positive", "last"], "logits", {}),
        ("Sigmoid", ["logits"], "probabilities", {}),
    ]
    inputs = {"candidate_items": ["N", 8], "candidate_features": ["N", 3], "values": [20, 96]}
    write_graph(folder / "candidate.onnx", nodes, inputs, {"probabilities": ["N", 3]}, weights)
    return folder / "user.onnx", folder / "candidate.onnx"


def some_inputs(actions: int = ACTIONS, candidates: int = 130, seed: int = 0) -> ModelInputs:
    """Inputs of the tiny bundle's sizes."""
    return random_inputs(SIZES, actions, candidates, 4, seed)


def only(inputs: ModelInputs, rows: Sequence[int]) -> ModelInputs:
    """The same request with some of its candidates."""
    return replace(inputs, **{name: getattr(inputs, name)[list(rows)] for name in CANDIDATE_INPUTS})
