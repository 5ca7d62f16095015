"""A tiny but whole model bundle, the same on every call, written in milliseconds.

The graphs are written by hand with ``onnx.helper``; the golden outputs come from the same formulas in numpy.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from rankstream.bundles.golden import Golden, arrays_of, write_golden
from rankstream.bundles.item_tables import ITEM_FEATURES, ITEMS, table_part
from rankstream.bundles.manifest import Manifest, write_manifest
from rankstream.bundles.ranker import golden_inputs, ranker_case, ranker_part
from rankstream.bundles.sessions import EncodeCase, FoldCase, SessionSizes, sessions_part
from rankstream.features.actions import Vocabulary
from rankstream.features.embeddings.table import publish
from rankstream.features.ids import Id
from rankstream.features.schema import FeatureSizes, Floats, ModelInputs

VOCABULARY = Vocabulary(("view", "click", "save", "hide"), ("home", "search"))
HEADS = ("save", "click", "hide")
UTILITY = {"save": 3.0, "click": 1.0, "hide": -5.0}
SIZES = FeatureSizes(num_actions=20, item_dim=8, user_dim=8, session_dim=4, item_features=2)
STATE_SIZE = 6
ITEM_SPACE, USER_SPACE = "tiny-items", "tiny-users"
AS_OF_MS = 1_700_000_000_000
OPSET = 18


def a_bundle(
    folder: Path,
    *,
    model_version: str = "tiny-1",
    num_items: int = 200,
    vocabulary: Vocabulary = VOCABULARY,
    utility: dict[str, float] | None = None,
    with_sessions: bool = True,
    seed: int = 0,
    calibrated: Sequence[str] | None = None,
    sizes: FeatureSizes = SIZES,
) -> Path:
    """Write a bundle of items 1 to ``num_items`` into ``folder`` and return it; ``seed`` samples other weights.

    Other ``sizes`` may have a wider context only.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ids = range(1, num_items + 1)
    publish(folder / "items", ids, vectors_of(num_items, 8, 1), space=ITEM_SPACE, as_of_ms=AS_OF_MS)
    publish(folder / "item_features", ids, vectors_of(num_items, 2, 2), space=ITEM_SPACE, as_of_ms=AS_OF_MS)
    weights = draw_weights(seed, sizes.context)
    golden = {"ranker": [ranker_case(case, tiny_ranker(weights, case)) for case in golden_inputs(sizes, 4)]}
    parts = [table_part(ITEMS, 8), table_part(ITEM_FEATURES, 2), ranker_part(sizes, calibrated=calibrated)]
    write_ranker(folder, weights)
    if with_sessions:
        _write_sessions(folder, weights)
        golden |= _golden_sessions(weights)
        parts.append(sessions_part(SessionSizes(tag=(1 << 63) + seed + 1, state_size=STATE_SIZE, dim=4)))
    write_golden(folder / "golden.npz", golden)
    write_manifest(
        folder,
        Manifest(
            model_version=model_version,
            created_at="2026-01-01T00:00:00Z",
            vocabulary=vocabulary,
            heads=HEADS,
            utility=utility or UTILITY,
            sizes=sizes,
            item_space=ITEM_SPACE,
            user_space=USER_SPACE,
            trained_until_ms=AS_OF_MS,
            metrics={},
            parts=tuple(parts),
            opset=OPSET,
            versions={"onnx": onnx.__version__},
            files={},
        ),
    )
    return folder


def a_user_table(root: Path, ids: Sequence[Id], seed: int = 3, space: str = USER_SPACE) -> Path:
    """Publish user vectors that fit the bundle into ``root`` and return it."""
    publish(root, ids, vectors_of(len(ids), 8, seed), space=space, as_of_ms=AS_OF_MS)
    return root


def vectors_of(count: int, dim: int, seed: int) -> Floats:
    """Draw vectors that float16 holds exactly."""
    return np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float16).astype(np.float32)


def draw_weights(seed: int, context: int = SIZES.context) -> dict[str, Floats]:
    """Draw the weights of all four graphs."""
    rng = np.random.default_rng(seed)
    shapes = {
        "by_item": (8, 3), "by_feature": (3, 3), "by_context": (context, 3), "by_session": (4, 3), "by_type": (5, 3),
        "fold_state": (6, 6), "fold_items": (8, 6), "encode_state": (6, 4), "encode_items": (8, 4),
    }  # fmt: skip
    return {name: (rng.standard_normal(shape) * 0.5).astype(np.float32) for name, shape in shapes.items()}


def tiny_ranker(weights: dict[str, Floats], inputs: ModelInputs) -> Floats:
    """Return the probabilities, by the formulas of the two graphs."""
    types = inputs.action_types if len(inputs.action_types) else np.zeros(1, np.int64)
    items = inputs.action_items if len(inputs.action_items) else np.zeros((1, 8), np.float32)
    query = items.mean(axis=0) + inputs.user_vector
    bias = inputs.context @ weights["by_context"] + inputs.session_vector @ weights["by_session"]
    bias += weights["by_type"][types].mean(axis=0)
    logits = inputs.candidate_items * query @ weights["by_item"]
    logits += inputs.candidate_features @ weights["by_feature"] + bias
    return (1 / (1 + np.exp(-logits))).astype(np.float32)


def write_ranker(folder: Path, weights: dict[str, Floats]) -> None:
    """Write the two graphs of the ranker."""
    used = {name: weights[name] for name in ("by_context", "by_session", "by_type")}
    nodes = [
        ("ReduceMean", ["action_items"], "mean_item", {"axes": [0], "keepdims": 1}),
        ("Add", ["mean_item", "user_vector"], "query", {}),
        ("Gather", ["by_type", "action_types"], "types", {}),
        ("ReduceMean", ["types"], "mean_type", {"axes": [0], "keepdims": 1}),
        ("MatMul", ["context", "by_context"], "from_context", {}),
        ("MatMul", ["session_vector", "by_session"], "from_session", {}),
        ("Add", ["from_context", "from_session"], "from_both", {}),
        ("Add", ["mean_type", "from_both"], "bias", {}),
    ]
    inputs = {
        "action_types": ["T"], "action_items": ["T", 8], "user_vector": [8], "session_vector": [4],
        "context": [len(weights["by_context"])],
    }  # fmt: skip
    write_graph(folder / "user.onnx", nodes, inputs, {"query": [1, 8], "bias": [1, 3]}, used)
    write_candidate_graph(folder, weights)


def write_candidate_graph(
    folder: Path, weights: dict[str, Floats], more: Sequence["Node"] = (), constants: dict[str, Any] | None = None
) -> None:
    """Write the graph of the candidates; ``more`` nodes, if any, make ``same_bias`` of ``bias``."""
    nodes = [
        *more,
        ("Mul", ["candidate_items", "query"], "products", {}),
        ("MatMul", ["products", "by_item"], "from_items", {}),
        ("MatMul", ["candidate_features", "by_feature"], "from_features", {}),
        ("Add", ["from_items", "from_features"], "from_both", {}),
        ("Add", ["from_both", "same_bias" if more else "bias"], "logits", {}),
        ("Sigmoid", ["logits"], "probabilities", {}),
    ]
    inputs = {
        "query": [1, 8], "bias": [1, 3], "candidate_items": ["N", 8],
        "candidate_features": ["N", len(weights["by_feature"])],
    }  # fmt: skip
    used = {name: weights[name] for name in ("by_item", "by_feature")} | (constants or {})
    write_graph(folder / "candidate.onnx", nodes, inputs, {"probabilities": ["N", 3]}, used)


def _write_sessions(folder: Path, weights: dict[str, Floats]) -> None:
    nodes = [
        ("MatMul", ["states", "fold_state"], "from_state", {}),
        ("MatMul", ["pooled", "fold_items"], "from_items", {}),
        ("Add", ["from_state", "from_items"], "sum", {}),
        ("Tanh", ["sum"], "new_states", {}),
    ]
    used = {name: weights[name] for name in ("fold_state", "fold_items")}
    inputs = {"states": ["n", 6], "pooled": ["n", 8]}
    write_graph(folder / "session_fold.onnx", nodes, inputs, {"new_states": ["n", 6]}, used)
    nodes = [
        ("ReduceMean", ["opened"], "mean_item", {"axes": [0], "keepdims": 1}),
        ("MatMul", ["state", "encode_state"], "from_state", {}),
        ("MatMul", ["mean_item", "encode_items"], "from_items", {}),
        ("Add", ["from_state", "from_items"], "sum", {}),
        ("Tanh", ["sum"], "row", {}),
        ("Squeeze", ["row"], "session_vector", {"axes": [0]}),
    ]
    used = {name: weights[name] for name in ("encode_state", "encode_items")}
    inputs = {"state": [1, 6], "opened": ["t", 8]}
    write_graph(folder / "session_encode.onnx", nodes, inputs, {"session_vector": [4]}, used)


def _golden_sessions(weights: dict[str, Floats]) -> Golden:
    def fold(states: Floats, pooled: Floats) -> Floats:
        return np.tanh(states @ weights["fold_state"] + pooled @ weights["fold_items"])

    states, pooled = vectors_of(33, 6, 4), vectors_of(33, 8, 5)
    encoded = []
    for closed, opened in ((0, 0), (0, 3), (2, 0), (3, 5)):
        state = states[0]
        for session in pooled[:closed]:
            state = fold(state, session)
        items = np.concatenate([np.zeros((1, 8), np.float32), pooled[:opened]])
        vector = np.tanh(state @ weights["encode_state"] + items.mean(axis=0) @ weights["encode_items"])
        encoded.append(EncodeCase(states[0], pooled[:closed], pooled[:opened], vector))
    folded = FoldCase(states, pooled, fold(states, pooled))
    return {"fold": [arrays_of(folded)], "encode": [arrays_of(case) for case in encoded]}


Node = tuple[str, list[str], str, dict[str, object]]


def write_graph(
    path: Path,
    nodes: Sequence[Node],
    inputs: dict[str, list[int | str]],
    outputs: dict[str, list[int | str]],
    weights: dict[str, Any],
) -> None:
    """Write a graph of (operator, inputs, output, attributes); ``axes`` are inputs since opset 18."""
    constants = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    made = []
    for operator, takes, makes, attributes in nodes:
        if "axes" in attributes:
            constants.append(numpy_helper.from_array(np.array(attributes["axes"], np.int64), f"{makes}_axes"))
            takes = [*takes, f"{makes}_axes"]
        others = {name: value for name, value in attributes.items() if name != "axes"}
        made.append(helper.make_node(operator, takes, [makes], **others))
    graph = helper.make_graph(made, path.stem, _specs(inputs), _specs(outputs), constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString(deterministic=True))


def _specs(shapes: dict[str, list[int | str]]) -> list[onnx.ValueInfoProto]:
    kinds = {"action_types": TensorProto.INT64}
    return [helper.make_tensor_value_info(name, kinds.get(name, TensorProto.FLOAT), s) for name, s in shapes.items()]
