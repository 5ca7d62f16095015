"""OpenVINO on the CPU: the same two graphs in float32, in bf16, or with the large weights as 8-bit integers.

bf16 is computed by instructions that only newer processors have (AVX512_BF16, AMX); others would emulate it, so it is
refused there. The user's graph stays in float32: it is a hundredth of the work, and what it makes is read by every
candidate. All inputs, outputs and softmax sums are float32 in any precision.

With int8, weights of at least 65,536 numbers (crosses and MLP) are rounded to 8 bits with a scale for each output, and
what they are multiplied with in groups of 32 at run time: groups lie within a row, so no candidate depends on another,
as it would with one scale for a whole batch.

Each shape, a length of history with a number of rows, costs 6 to 12 ms of CPU when it first comes, and up to 4 MB from
then on: rows are padded to six counts, so that there are few. The least is 32: on processors without AVX-512 products
of 16 rows and fewer are summed in another order than those of more, and a score would depend on how many are asked for.

A compiled graph is run by one thread at a time; each further thread that scores at the same time compiles its own.
"""

from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rankstream.bundles.graphs import checked_graph
from rankstream.ranking.backends.openvino_runtime import openvino, opset13
from rankstream.ranking.backends.two_graphs import Feeds, TwoGraphs, rounded_up

FLOAT32, BF16, INT8 = PRECISIONS = ("float32", "bf16", "int8")
LARGE = 65_536  # numbers of a weight that int8 rounds: for smaller ones rounding the inputs costs what it saves
CHUNK = 256  # candidates in a batch: 1.03 times as fast as 64 with 100 actions, 1.3 times with 5 to 20
LEAST_ROWS = 32  # of a batch
GROUP = 32  # numbers of a row that share a scale at run time
ONE_THREAD = {
    "INFERENCE_NUM_THREADS": 1,
    "NUM_STREAMS": 1,
    "ENABLE_CPU_PINNING": False,  # which core a worker runs on is the system's business
    "PERFORMANCE_HINT": "LATENCY",
}


class PrecisionError(ValueError):
    """A precision that this processor can't compute; the message is one sentence."""


class OpenVinoGraph:
    """One graph as OpenVINO runs it; safe to call from many threads."""

    def __init__(self, path: Path, precision: str = FLOAT32) -> None:
        self.name = path.name
        self._core = openvino.Core()
        self._settings = ONE_THREAD | _settings(self._core, precision)
        self._model = self._core.read_model(checked_graph(path))
        if precision == INT8:
            round_large_weights(self._model)
        self.inputs = tuple(port.get_any_name() for port in self._model.inputs)
        self.outputs = tuple(port.get_any_name() for port in self._model.outputs)
        self._idle = deque([self._compiled()])

    def run(self, feeds: Feeds) -> Feeds:
        """Return all outputs by name."""
        try:
            request = self._idle.pop()
        except IndexError:
            request = self._compiled()
        try:
            results = request.infer(dict(feeds), share_inputs=True)
            return dict(zip(self.outputs, results.to_tuple(), strict=True))
        finally:
            self._idle.append(request)

    def _compiled(self) -> Any:
        return self._core.compile_model(self._model, "CPU", self._settings).create_infer_request()


class OpenVinoBackend(TwoGraphs):
    """Scores with ``user.onnx`` and ``candidate.onnx``; safe to call from many threads. Raises ``PrecisionError``."""

    def __init__(self, user_graph: Path, candidate_graph: Path, precision: str = FLOAT32) -> None:
        super().__init__(OpenVinoGraph(user_graph), OpenVinoGraph(candidate_graph, precision), CHUNK, padded_rows)


def padded_rows(count: int) -> int:
    """Return how many rows so many candidates are padded to: a multiple of 16, above 64 one of 64, and 32 at least."""
    return max(LEAST_ROWS, rounded_up(count, 16 if count <= 64 else 64))


def round_large_weights(model: Any) -> int:
    """Replace large weights of matrix products by 8-bit integers and a scale for each output; return how many."""
    products = [node for node in model.get_ordered_ops() if _has_large_weight(node)]
    for node in products:
        weights = node.input_value(1).get_node().data
        rows = weights if node.get_attributes()["transpose_b"] else weights.T  # (outputs, inputs)
        integers, scales = rounded(np.asarray(rows, np.float32))
        restored = opset13.multiply(opset13.convert(opset13.constant(integers), "f32"), opset13.constant(scales))
        product = opset13.matmul(node.input_value(0), restored, node.get_attributes()["transpose_a"], True)
        node.output(0).replace(product.output(0))
    return len(products)


def rounded(rows: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Return ``rows`` as integers from -127 to 127, and the scale of each ``(rows, 1)`` that gives them back."""
    largest = np.abs(rows).max(axis=1, keepdims=True)
    scales = np.where(largest > 0, largest, 1).astype(np.float32) / np.float32(127)
    return np.ascontiguousarray(np.rint(rows / scales).astype(np.int8)), scales


def _has_large_weight(node: Any) -> bool:
    if node.get_type_name() != "MatMul":
        return False
    weights = node.input_value(1).get_node()
    return bool(weights.get_type_name() == "Constant" and weights.data.ndim == 2 and weights.data.size >= LARGE)


def _settings(core: Any, precision: str) -> dict[str, Any]:
    """Return what a precision asks of OpenVINO. Raises ``PrecisionError`` where the processor has no instructions."""
    has_bf16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if precision == BF16 and not has_bf16:
        raise PrecisionError("this processor has no bf16 instructions (AVX512_BF16 or AMX)")
    halved = precision == BF16 or (precision == INT8 and has_bf16)
    group = GROUP if precision == INT8 else 0
    return {"INFERENCE_PRECISION_HINT": "bf16" if halved else "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": group}
