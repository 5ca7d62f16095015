"""The CPU's backend: two ONNX graphs, the user's once a request, the candidates' in chunks.

The user's graph gives named tensors, the candidates' graph takes them by the same names; what they are is the
exporter's affair. Measured choices (2 cores of Zen 4): chunks of 64 stay in the cache, 5-15 % faster than one call;
one thread a worker and a worker a core beat threads within a call; SkipLayerNormFusion is slower than what it fuses.

A candidate's probabilities are the same to the bit whatever stands beside it. For that, chunks are padded to whole
fours: a candidate alone would meet the request's matrices on another road, a vector's, which adds up in another order
(off by 6e-8). Four rows cost what one does. Seen on x86 with AVX-512; a GPU is only held to the tolerance of
the golden cases.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from rankstream.features.schema import CANDIDATE_INPUTS, PADDING_TYPE, USER_INPUTS, Floats, ModelInputs

CHUNK = 64
WHOLE = 4  # candidates: chunks hold a multiple of it
CPU = ("CPUExecutionProvider",)


def open_graph(path: Path, providers: Sequence[str] = CPU) -> onnxruntime.InferenceSession:
    """Open a graph to be run by one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        str(path), options, providers=list(providers), disabled_optimizers=["SkipLayerNormFusion"]
    )


class OnnxBackend:
    """Scores with ``user.onnx`` and ``candidate.onnx``; safe to call from many threads."""

    def __init__(self, user_graph: Path, candidate_graph: Path, providers: Sequence[str] = CPU) -> None:
        self._user = open_graph(user_graph, providers)
        self._candidates = open_graph(candidate_graph, providers)
        self._user_inputs = {spec.name for spec in self._user.get_inputs()}
        self._user_outputs = [spec.name for spec in self._user.get_outputs()]
        wanted = {spec.name for spec in self._candidates.get_inputs()}
        self._passed_on = [name for name in self._user_outputs if name in wanted]
        _refuse(user_graph, self._user_inputs - set(USER_INPUTS))
        _refuse(candidate_graph, wanted - set(self._user_outputs) - set(CANDIDATE_INPUTS))
        self._candidate_inputs = [name for name in CANDIDATE_INPUTS if name in wanted]

    def score(self, inputs: ModelInputs) -> Floats:
        """Return probabilities ``(N, heads)``; a candidate's never depend on the other candidates."""
        feeds = self._encode_user(inputs)
        columns = {name: getattr(inputs, name) for name in self._candidate_inputs}
        parts = []
        for start in range(0, max(1, inputs.num_candidates), CHUNK):
            chunk = {name: column[start : start + CHUNK] for name, column in columns.items()}
            parts.append(self._score_chunk(feeds, chunk, min(CHUNK, inputs.num_candidates - start)))
        return np.concatenate(parts)

    def _encode_user(self, inputs: ModelInputs) -> dict[str, Any]:
        """Run the user's graph; what it gives is fed to each chunk."""
        feeds = {name: getattr(inputs, name) for name in self._user_inputs}
        if not len(inputs.action_types):  # the graph wants a row: one of padding, as in training
            feeds["action_types"] = np.full(1, PADDING_TYPE, np.int64)
            feeds["action_items"] = np.zeros((1, inputs.action_items.shape[1]), np.float32)
        feeds = {name: feeds[name] for name in self._user_inputs}
        outputs = self._user.run(self._user_outputs, feeds)
        given = dict(zip(self._user_outputs, outputs, strict=True))
        return {name: given[name] for name in self._passed_on}

    def _score_chunk(self, feeds: dict[str, Any], chunk: dict[str, Floats], count: int) -> Floats:
        padded = -(-max(1, count) // WHOLE) * WHOLE
        if padded > count:
            chunk = {name: _pad(column, padded) for name, column in chunk.items()}
        probabilities: Floats = self._candidates.run(["probabilities"], feeds | chunk)[0]
        return probabilities[:count]


def _pad(column: Floats, rows: int) -> Floats:
    padded = np.zeros((rows, column.shape[1]), np.float32)
    padded[: len(column)] = column
    return padded


def _refuse(graph: Path, unknown: set[str]) -> None:
    if unknown:
        raise ValueError(f"{graph.name} takes {', '.join(sorted(unknown))}, which nobody gives")
