"""OpenVINO runs the bundle's graphs: the same numbers within each precision's bound, and the same bits for each row."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import numpy as np
import pytest

from rankstream.ranking.backends.onnx import OnnxBackend
from tests.builders.bundle import a_bundle, draw_weights, tiny_ranker
from tests.builders.wide_graphs import only, some_inputs, write_wide_graphs

if find_spec("openvino") is None:
    pytest.skip("OpenVINO is not installed: pip install 'rankstream[openvino]'", allow_module_level=True)
from rankstream.ranking.backends import openvino as backends
from rankstream.ranking.backends.openvino_runtime import openvino

HAS_BF16 = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
needs_bf16 = pytest.mark.skipif(not HAS_BF16, reason="this processor has no bf16 instructions")
BF16 = pytest.param("bf16", marks=needs_bf16)
BOUNDS = {"float32": 1e-6, "bf16": 0.02, "int8": 0.03}


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """The wide graphs in each precision, compiled once."""
    graphs = write_wide_graphs(tmp_path_factory.mktemp("wide"))
    kinds = [kind for kind in BOUNDS if kind != "bf16" or HAS_BF16]
    return {kind: backends.OpenVinoBackend(*graphs, kind) for kind in kinds} | {"onnx": OnnxBackend(*graphs)}


@pytest.mark.parametrize("precision", ["float32", BF16, "int8"])
def test_a_precision_gives_the_numbers_of_onnx_runtime_within_its_bound_and_no_others(wide, precision):
    inputs = some_inputs()
    difference = np.abs(wide[precision].score(inputs) - wide["onnx"].score(inputs)).max()
    assert difference <= BOUNDS[precision]
    assert (difference > 1e-5) == (precision != "float32")  # it is what it says: rounded, or not


@pytest.mark.parametrize("precision", ["float32", BF16, "int8"])
def test_a_score_does_not_depend_on_the_other_candidates_to_the_bit(wide, precision):
    inputs = some_inputs(candidates=300)
    together = wide[precision].score(inputs)
    for count in (1, 2, 3, 4, 5, 16, 17, 33, 65, 129, 255, 257):
        assert np.array_equal(wide[precision].score(only(inputs, range(300 - count, 300))), together[300 - count :])


@pytest.mark.parametrize("actions", [0, 1, 20])
def test_any_length_of_history_is_scored(tmp_path, actions):
    folder = a_bundle(tmp_path)
    backend = backends.OpenVinoBackend(folder / "user.onnx", folder / "candidate.onnx")
    for candidates in (0, 1, 257):
        inputs = some_inputs(actions, candidates)
        wanted = tiny_ranker(draw_weights(0), inputs)
        assert backend.score(inputs).shape == (candidates, 3)
        np.testing.assert_allclose(backend.score(inputs), wanted, atol=1e-6)


def test_many_threads_score_at_the_same_time(wide):
    requests = [some_inputs(seed=seed) for seed in range(12)]
    alone = [wide["float32"].score(one) for one in requests]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(wide["float32"].score, requests))
    assert all(np.array_equal(one, other) for one, other in zip(alone, together, strict=True))


def test_there_are_six_counts_of_rows():
    assert sorted({backends.padded_rows(count) for count in range(1, 257)}) == [32, 48, 64, 128, 192, 256]
    assert all(count <= backends.padded_rows(count) for count in range(1, 257))


def test_int8_rounds_large_weights_alone(tmp_path):
    model = openvino.Core().read_model(str(write_wide_graphs(tmp_path)[1]))
    assert backends.round_large_weights(model) == 1  # 96 x 768; the others have fewer numbers


def test_rounded_weights_are_at_most_half_a_step_off():
    rows = np.random.default_rng(0).standard_normal((5, 40)).astype(np.float32)
    rows[3] = 0
    integers, scales = backends.rounded(rows)
    assert integers.dtype == np.int8
    assert (np.abs(integers * scales - rows) <= scales / 2 + 1e-7).all()


class WithoutBf16:
    """What OpenVINO says of a processor without bf16 instructions."""

    def get_property(self, device: str, name: str) -> list[str]:
        return ["FP32", "INT8"]


def test_bf16_is_refused_where_the_processor_would_emulate_it_and_int8_does_without():
    with pytest.raises(backends.PrecisionError, match="this processor has no bf16 instructions"):
        backends._settings(WithoutBf16(), "bf16")
    assert backends._settings(WithoutBf16(), "int8")["INFERENCE_PRECISION_HINT"] == "f32"


def test_it_comes_without_the_converter_which_reports_to_its_makers_and_closes_what_is_logged_to():
    import_it = "from rankstream.ranking.backends.openvino import OpenVinoGraph; import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", import_it], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "openvino._pyopenvino" in loaded
    assert not {name for name in loaded if name.startswith(("openvino.tools", "openvino_telemetry", "absl"))}
