import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankstream.ranking.backends.constant import ConstantBackend
from rankstream.ranking.backends.onnx import OnnxBackend
from tests.builders.bundle import a_bundle, draw_weights, tiny_ranker, write_graph
from tests.builders.wide_graphs import only, some_inputs, write_wide_graphs


@pytest.fixture(scope="module")
def backend(tmp_path_factory):
    folder = a_bundle(tmp_path_factory.mktemp("bundle"))
    return OnnxBackend(folder / "user.onnx", folder / "candidate.onnx")


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
    inputs = some_inputs(actions=5, seed=seed)
    assert np.array_equal(backend.score(only(inputs, rows)), backend.score(inputs)[rows])


def test_sums_add_up_alike_for_one_candidate_and_for_many(tmp_path):
    backend, inputs = OnnxBackend(*write_wide_graphs(tmp_path)), some_inputs(actions=20)
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
