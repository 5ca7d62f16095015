"""ONNX Runtime on the CPU: two graphs, the user's run once per request, the candidates' once per batch of 64.

The outputs of the user's graph are inputs of the candidates' graph by name; what they mean is the exporter's choice.
Measured (2 cores of Zen 4): batches of 64 stay in the cache, 5-15 % faster than one call; one thread per worker and
one worker per core beat threads within a call; SkipLayerNormFusion is slower than the nodes that it fuses.

A candidate's probabilities are the same to the bit whatever else is scored. Batches are therefore padded to a multiple
of 4: a single row would run as a matrix-vector product (GEMV) instead of GEMM, whose summation order differs in the
last bits (by 6e-8). Four rows cost as much as one. Observed on x86 with AVX-512; a GPU is held to the tolerance of the
golden cases only.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rankstream.bundles.golden import Arrays, case_of
from rankstream.bundles.graphs import CPU, open_graph
from rankstream.bundles.manifest import Manifest
from rankstream.bundles.parts import Part
from rankstream.bundles.ranker import CANDIDATE_GRAPH, RANKER_CASE, USER_GRAPH
from rankstream.features.schema import CANDIDATE_INPUTS, PADDING_TYPE, USER_INPUTS, Floats, ModelInputs, check_inputs
from rankstream.ranking.backends.base import OpenedPart

CHUNK = 64  # candidates in a batch
PADDED_TO = 4  # batches are padded to a multiple of it


class OnnxBackend:
    """Scores with ``user.onnx`` and ``candidate.onnx``; safe to call from many threads."""

    def __init__(self, user_graph: Path, candidate_graph: Path, providers: Sequence[str] = CPU) -> None:
        self._user = open_graph(user_graph, providers)
        self._candidates = open_graph(candidate_graph, providers)
        self._user_inputs = {spec.name for spec in self._user.get_inputs()}
        self._user_outputs = [spec.name for spec in self._user.get_outputs()]
        needed = {spec.name for spec in self._candidates.get_inputs()}
        self._passed_on = [name for name in self._user_outputs if name in needed]
        _refuse(user_graph, self._user_inputs - set(USER_INPUTS))
        _refuse(candidate_graph, needed - set(self._user_outputs) - set(CANDIDATE_INPUTS))
        self._candidate_inputs = [name for name in CANDIDATE_INPUTS if name in needed]

    def score(self, inputs: ModelInputs) -> Floats:
        """Return probabilities ``(N, heads)``; no row depends on the other candidates."""
        feeds = self._encode_user(inputs)
        columns = {name: getattr(inputs, name) for name in self._candidate_inputs}
        parts = []
        for start in range(0, max(1, inputs.num_candidates), CHUNK):
            chunk = {name: column[start : start + CHUNK] for name, column in columns.items()}
            parts.append(self._score_chunk(feeds, chunk, min(CHUNK, inputs.num_candidates - start)))
        return np.concatenate(parts)

    def _encode_user(self, inputs: ModelInputs) -> dict[str, Any]:
        """Run the user's graph once; return the outputs that each batch takes as inputs."""
        feeds = {name: getattr(inputs, name) for name in self._user_inputs}
        if not len(inputs.action_types):  # the graph needs a row: one of padding, as in training
            feeds["action_types"] = np.full(1, PADDING_TYPE, np.int64)
            feeds["action_items"] = np.zeros((1, inputs.action_items.shape[1]), np.float32)
        feeds = {name: feeds[name] for name in self._user_inputs}
        outputs = self._user.run(self._user_outputs, feeds)
        by_name = dict(zip(self._user_outputs, outputs, strict=True))
        return {name: by_name[name] for name in self._passed_on}

    def _score_chunk(self, feeds: dict[str, Any], chunk: dict[str, Floats], count: int) -> Floats:
        padded = -(-max(1, count) // PADDED_TO) * PADDED_TO
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
        raise ValueError(f"{graph.name} takes {', '.join(sorted(unknown))}, which is no input of the ranker")


def open_ranker(folder: Path, part: Part, manifest: Manifest, providers: Sequence[str]) -> OpenedPart:
    """Open the part "ranker" of a bundle: an ``OnnxBackend``."""
    backend = OnnxBackend(folder / USER_GRAPH, folder / CANDIDATE_GRAPH, providers)

    def score(case: Arrays) -> Arrays:
        inputs = case_of(ModelInputs, case)
        check_inputs(inputs, manifest.sizes)
        probabilities = backend.score(inputs)
        if probabilities.shape[1] != len(manifest.heads):
            raise ValueError(f"{probabilities.shape[1]} probabilities a candidate for {len(manifest.heads)} heads")
        return {"probabilities": probabilities}

    return OpenedPart(backend, {RANKER_CASE: score})
