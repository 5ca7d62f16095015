"""The ranker's two graphs, whatever runs them: the user's once a request, the candidates' once a batch.

The outputs of the user's graph are inputs of the candidates' graph by name; what they mean is the exporter's choice.
Measured (2 cores of Zen 4): with ONNX Runtime batches of 64 stay in the cache, 5-15 % faster than one call; one thread
per worker and one worker per core beat threads within a call.

A candidate's probabilities are the same to the bit whatever else is scored. Batches are therefore padded to a multiple
of 4: a single row would run as a matrix-vector product (GEMV) instead of GEMM, whose summation order differs in the
last bits (by 6e-8). Four rows cost as much as one. Observed on x86 with AVX-512; a GPU is held to the tolerance of the
golden cases only.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from rankstream.features.schema import CANDIDATE_INPUTS, PADDING_TYPE, USER_INPUTS, Floats, ModelInputs

CHUNK = 64  # candidates in a batch, where the runtime's backend says no other
PADDED_TO = 4  # batches are padded to a multiple of it
PROBABILITIES = "probabilities"

Feeds = Mapping[str, Any]  # tensors by name, as the runtime takes them: arrays of numpy do for each


class Graph(Protocol):
    """One graph, opened by a runtime."""

    name: str  # of its file
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def run(self, feeds: Feeds) -> Feeds:
        """Return all outputs by name."""
        ...


class TwoGraphs:
    """Scores with ``user.onnx`` and ``candidate.onnx``; as safe to call from many threads as its graphs are."""

    def __init__(
        self,
        user: Graph,
        candidates: Graph,
        chunk: int = CHUNK,
        padded_rows: Callable[[int], int] = lambda count: rounded_up(count, PADDED_TO),
    ) -> None:
        self._user, self._candidates, self._chunk, self._padded_rows = user, candidates, chunk, padded_rows
        self._passed_on = [name for name in user.outputs if name in candidates.inputs]
        _refuse(user, set(user.inputs) - set(USER_INPUTS))
        _refuse(candidates, set(candidates.inputs) - set(user.outputs) - set(CANDIDATE_INPUTS))
        self._candidate_inputs = [name for name in CANDIDATE_INPUTS if name in candidates.inputs]

    def score(self, inputs: ModelInputs) -> Floats:
        """Return probabilities ``(N, heads)``; no row depends on the other candidates."""
        shared = self._encode_user(inputs)
        columns = {name: getattr(inputs, name) for name in self._candidate_inputs}
        parts = []
        for start in range(0, max(1, inputs.num_candidates), self._chunk):
            chunk = {name: column[start : start + self._chunk] for name, column in columns.items()}
            parts.append(self._score_chunk(shared, chunk, min(self._chunk, inputs.num_candidates - start)))
        return np.concatenate(parts)

    def _encode_user(self, inputs: ModelInputs) -> dict[str, Any]:
        """Run the user's graph once; return the outputs that each batch takes as inputs."""
        arrays = user_arrays(inputs)
        outputs = self._user.run({name: arrays[name] for name in self._user.inputs})
        return {name: outputs[name] for name in self._passed_on}

    def _score_chunk(self, shared: dict[str, Any], chunk: dict[str, Floats], count: int) -> Floats:
        padded = self._padded_rows(max(1, count))
        if padded > count:
            chunk = {name: _pad(column, padded) for name, column in chunk.items()}
        probabilities: Floats = self._candidates.run(shared | chunk)[PROBABILITIES]
        return probabilities[:count]


def rounded_up(count: int, multiple: int) -> int:
    """Return the smallest multiple that is not below ``count``."""
    return -(-count // multiple) * multiple


def user_arrays(inputs: ModelInputs) -> dict[str, Any]:
    """Return the user graph's inputs by name; a user without actions is one row of padding, as in training."""
    arrays = {name: getattr(inputs, name) for name in USER_INPUTS}
    if not len(inputs.action_types):
        arrays["action_types"] = np.full(1, PADDING_TYPE, np.int64)
        arrays["action_items"] = np.zeros((1, inputs.action_items.shape[1]), np.float32)
    return arrays


def _pad(column: Floats, rows: int) -> Floats:
    padded = np.zeros((rows, column.shape[1]), np.float32)
    padded[: len(column)] = column
    return padded


def _refuse(graph: Graph, unknown: set[str]) -> None:
    if unknown:
        raise ValueError(f"{graph.name} takes {', '.join(sorted(unknown))}, which is no input of the ranker")
