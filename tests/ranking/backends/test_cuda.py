"""Scoring on a device: the same packing, batches and runs on the CPU as on a card, and the numbers of ONNX Runtime."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from rankstream.bundles.manifest import read_manifest
from rankstream.features.schema import CANDIDATE_INPUTS, USER_INPUTS, random_inputs
from rankstream.ranking.backends.cuda import CudaBackend, DeviceScores
from rankstream.ranking.backends.devices import CpuDevice, CudaDevice
from rankstream.ranking.backends.onnx import OnnxBackend
from rankstream.ranking.backends.torch_graph import TorchGraph, UnknownNodeError
from rankstream.ranking.bundle import BundleRefusedError, open_bundle
from tests.builders.bundle import a_bundle, draw_weights, tiny_ranker, write_graph
from tests.builders.wide_graphs import some_inputs, write_wide_graphs

EXPORTED = Path(__file__).parents[2] / "saved" / "0.1.0" / "run" / "bundle"
BOUNDS = {"float32": 1e-5, "bf16": 0.02}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = a_bundle(tmp_path_factory.mktemp("bundle"))
    return folder / "user.onnx", folder / "candidate.onnx"


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_precision_gives_the_numbers_of_onnx_runtime_within_its_bound(tmp_path, precision):
    graphs, inputs = write_wide_graphs(tmp_path), some_inputs()
    difference = np.abs(CudaBackend(*graphs, CpuDevice(), precision).score(inputs) - OnnxBackend(*graphs).score(inputs))
    assert difference.max() <= BOUNDS[precision]
    assert (difference.max() > 1e-5) == (precision == "bf16")


def test_a_shape_gives_the_same_numbers_the_first_time_recorded_and_among_others(tiny):
    backend = CudaBackend(*tiny, CpuDevice(), "float32")
    for seed in range(3):
        for actions, candidates in ((0, 0), (0, 1), (1, 64), (20, 65), (20, 200)):
            inputs = some_inputs(actions, candidates, seed)
            wanted = tiny_ranker(draw_weights(0), inputs)
            np.testing.assert_allclose(backend.score(inputs), wanted.reshape(candidates, 3), atol=1e-5)


def test_requests_of_one_batch_keep_their_answers_apart_also_those_of_one_shape(tiny):
    scores = DeviceScores(*tiny, CpuDevice(), "float32")
    batch = [some_inputs(5, 10 + seed % 2, seed) for seed in range(6)]
    for _ in range(2):  # the second time all runs are recorded
        for inputs, found in zip(batch, scores.start(batch)(), strict=True):
            np.testing.assert_allclose(found, tiny_ranker(draw_weights(0), inputs), atol=1e-5)


def test_a_batch_larger_than_the_memory_so_far_gets_more(tiny):
    scores = DeviceScores(*tiny, CpuDevice(), "float32")
    batch = [some_inputs(20, 5000, seed) for seed in range(6)]  # 1.3 MB of inputs, and as many of scores
    for inputs, found in zip(batch, scores.start(batch)(), strict=True):
        np.testing.assert_allclose(found, tiny_ranker(draw_weights(0), inputs), atol=1e-5)


def test_many_threads_get_their_own_answers(tiny):
    backend, requests = CudaBackend(*tiny, CpuDevice(), "float32"), [some_inputs(seed=seed) for seed in range(40)]
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(backend.score, requests))
    for inputs, found in zip(requests, answers, strict=True):
        np.testing.assert_allclose(found, tiny_ranker(draw_weights(0), inputs), atol=1e-5)
    assert sum(size * count for size, count in backend.batches.items()) == 40


def test_a_batch_that_fails_gives_back_its_memory(tiny):
    scores = DeviceScores(*tiny, CpuDevice(), "float32")
    wrong = some_inputs(5, 3)
    wrong.user_vector.resize(7, refcheck=False)
    for _ in range(5):  # more often than there are stagings
        with pytest.raises(RuntimeError):
            scores.start([wrong])
    scores.start([some_inputs(5, 3)])()


def test_a_trained_rankers_graphs_ask_the_device_for_no_value_and_move_nothing_to_it_after_the_first_run():
    """On torch's device ``meta`` tensors have no values: asking for one fails, and so do operands of two devices."""
    device, moved = torch.device("meta"), {}
    user, candidates = (TorchGraph(EXPORTED / name, device, torch.bfloat16) for name in ("user.onnx", "candidate.onnx"))
    sizes = read_manifest(EXPORTED).sizes
    inputs = random_inputs(sizes, 3, 64, 2, 0)
    arrays = {name: torch.from_numpy(getattr(inputs, name)).to(device) for name in (*USER_INPUTS, *CANDIDATE_INPUTS)}
    moved_at: list[int] = []
    for _ in range(2):
        shared = user.run({name: arrays[name] for name in user.inputs}, moved)
        found = candidates.run({name: (shared | arrays)[name] for name in candidates.inputs}, moved)
        moved_at.append(len(moved))
    assert found["probabilities"].shape == (64, len(read_manifest(EXPORTED).heads))
    assert found["probabilities"].dtype == torch.float32
    assert 0 < moved_at[0] == moved_at[1]


def test_a_graph_with_a_node_that_is_not_known_is_refused_by_its_name(tmp_path):
    write_graph(tmp_path / "user.onnx", [("Sin", ["context"], "query", {})], {"context": [8]}, {"query": [8]}, {})
    with pytest.raises(UnknownNodeError, match=r"user.onnx has nodes that the CUDA scorer does not know: Sin"):
        TorchGraph(tmp_path / "user.onnx", torch.device("cpu"), torch.float32)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")
def test_without_a_card_the_scorer_is_refused(tmp_path):
    with pytest.raises(BundleRefusedError, match="torch finds no CUDA device here; set scorer = onnxruntime"):
        open_bundle(a_bundle(tmp_path), scorer="cuda-bf16")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is here")
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_card_gives_the_numbers_of_onnx_runtime(tmp_path, precision):
    graphs = write_wide_graphs(tmp_path)
    card, onnx = CudaBackend(*graphs, CudaDevice(), precision), OnnxBackend(*graphs)
    for seed in range(4):  # the first run, its recording, and recorded ones
        difference = np.abs(card.score(some_inputs(seed=seed)) - onnx.score(some_inputs(seed=seed)))
        assert difference.max() <= BOUNDS[precision]
