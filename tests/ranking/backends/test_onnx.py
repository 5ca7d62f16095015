from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankstream.features.schema import CANDIDATE_INPUTS, random_inputs
from rankstream.ranking.backends.constant import ConstantBackend
from rankstream.ranking.backends.onnx import OnnxBackend
from tests.builders.bundle import SIZES, a_bundle, draw_weights, tiny_ranker, write_graph


@pytest.fixture(scope="module")
def backend(tmp_path_factory):
    folder = a_bundle(tmp_path_factory.mktemp("bundle"))
    return OnnxBackend(folder / "user.onnx", folder / "candidate.onnx")


def some_inputs(actions=5, candidates=130, seed=0):
    return random_inputs(SIZES, actions, candidates, 4, seed)


def only(inputs, rows):
    return replace(inputs, **{name: getattr(inputs, name)[rows] for name in CANDIDATE_INPUTS})


@pytest.mark.parametrize("actions", [0, 1, 20])
@pytest.mark.parametrize("candidates", [0, 1, 16, 63, 64, 65, 200])
def test_the_graphs_compute_their_formulas(backend, actions, candidates):
    inputs = some_inputs(actions, candidates)
    probabilities = backend.score(inputs)
    assert probabilities.shape == (candidates, 3)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities, tiny_ranker(draw_weights(0), inputs), atol=1e-6)


@settings(max_examples=60)
@given(st.lists(st.integers(0, 129), min_size=1, max_size=130), st.integers(0, 3))
def test_a_score_does_not_depend_on_the_other_candidates_to_the_bit(backend, rows, seed):
    inputs = some_inputs(seed=seed)
    assert np.array_equal(backend.score(only(inputs, rows)), backend.score(inputs)[rows])


def a_wide_backend(folder):
    """As in a true ranker, candidates are multiplied by a matrix made once per request: sums depend on their order."""
    rng = np.random.default_rng(0)
    shapes = {"by_action": (8, 96), "first": (11, 20), "scale": (96,), "last": (96, 3)}
    weights = {name: rng.standard_normal(shape, np.float32) for name, shape in shapes.items()}
    by_action = {"by_action": weights.pop("by_action")}
    nodes = [("MatMul", ["action_items", "by_action"], "values", {})]
    write_graph(folder / "user.onnx", nodes, {"action_items": [20, 8]}, {"values": [20, 96]}, by_action)
    nodes = [
        ("Concat", ["candidate_items", "candidate_features"], "together", {"axis": 1}),
        ("MatMul", ["together", "first"], "nearness", {}),
        ("Softmax", ["nearness"], "attention", {"axis": 1}),
        ("MatMul", ["attention", "values"], "attended", {}),
        ("LayerNormalization", ["attended", "scale"], "normed", {}),
        ("MatMul", ["normed", "last"], "logits", {}),
        ("Sigmoid", ["logits"], "probabilities", {}),
    ]
    inputs = {"candidate_items": ["N", 8], "candidate_features": ["N", 3], "values": [20, 96]}
    write_graph(folder / "candidate.onnx", nodes, inputs, {"probabilities": ["N", 3]}, weights)
    return OnnxBackend(folder / "user.onnx", folder / "candidate.onnx")


def test_sums_add_up_alike_for_one_candidate_and_for_many(tmp_path):
    backend, inputs = a_wide_backend(tmp_path), some_inputs(actions=20)
    together = backend.score(inputs)
    for count in range(1, 131):
        assert np.array_equal(backend.score(only(inputs, range(130 - count, 130))), together[130 - count :]), count


def test_a_graph_with_an_unknown_input_is_refused(tmp_path):
    a_bundle(tmp_path)
    write_graph(tmp_path / "user.onnx", [("Relu", ["mood"], "query", {})], {"mood": [8]}, {"query": [8]}, {})
    with pytest.raises(ValueError, match=r"user.onnx takes mood, which is no input of the ranker"):
        OnnxBackend(tmp_path / "user.onnx", tmp_path / "candidate.onnx")


def test_the_null_ranker_scores_all_candidates_the_same():
    assert ConstantBackend((0.5, 0.25)).score(some_inputs(candidates=2)).tolist() == [[0.5, 0.25]] * 2
