"""Scorers: what can run the ranker's two graphs, by the name that settings and answers give it.

::

    onnxruntime      float32, the default: what golden cases were made with
    openvino         float32
    openvino-bf16    matrix products in bf16, where the processor has them
    openvino-int8    large weights as 8-bit integers, the rest in bf16 or float32
    cuda             float32 on a CUDA card (``cuda.py``; it has never run on one)
    cuda-bf16        bf16 there
    auto             openvino-bf16 where it is right and faster, else onnxruntime (``fastest.py``)

Each is held to the golden cases within a bound of its own. One that can't be had is refused with what to do about it.
Runtimes besides ONNX Runtime are extras, imported only where they are chosen.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rankstream.bundles.golden import Arrays, case_of
from rankstream.bundles.manifest import Manifest
from rankstream.bundles.ranker import CANDIDATE_GRAPH, RANKER_CASE, USER_GRAPH
from rankstream.features.schema import ModelInputs, check_inputs
from rankstream.ranking.backends.base import TOLERANCE, Backend, OpenedPart
from rankstream.ranking.backends.onnx import OnnxBackend

AUTO = "auto"
ONNXRUNTIME = "onnxruntime"
CUDA, CUDA_BF16 = "cuda", "cuda-bf16"
OPENVINO, OPENVINO_BF16, OPENVINO_INT8 = "openvino", "openvino-bf16", "openvino-int8"

# of the user's graph, the candidates' graph, and ONNX Runtime's providers
Open = Callable[[Path, Path, Sequence[str]], Backend]


class ScorerRefusedError(RuntimeError):
    """A scorer that can't be used here; the message is one sentence and says what to do."""


@dataclass(frozen=True)
class Scorer:
    """One way to run the graphs."""

    name: str
    tolerance: float  # of golden probabilities: a rounding error stays below it, a wrong graph does not
    open: Open


def _openvino(precision: str) -> Open:
    def open_backend(user_graph: Path, candidate_graph: Path, providers: Sequence[str]) -> Backend:
        try:
            from rankstream.ranking.backends.openvino import OpenVinoBackend, PrecisionError
        except ImportError as exc:
            raise ScorerRefusedError(
                f"OpenVINO can't be imported ({exc}): pip install 'rankstream[openvino]', or set scorer = {ONNXRUNTIME}"
            ) from exc
        try:
            return OpenVinoBackend(user_graph, candidate_graph, precision)
        except PrecisionError as exc:
            raise ScorerRefusedError(f"{exc}; set scorer = {ONNXRUNTIME}") from exc

    return open_backend


def _cuda(precision: str) -> Open:
    def open_backend(user_graph: Path, candidate_graph: Path, providers: Sequence[str]) -> Backend:
        try:
            import torch

            from rankstream.ranking.backends.cuda import CudaBackend
            from rankstream.ranking.backends.devices import CudaDevice
        except ImportError as exc:
            raise ScorerRefusedError(
                f"torch or onnx can't be imported ({exc}): pip install 'rankstream[cuda]', or set "
                f"scorer = {ONNXRUNTIME}"
            ) from exc
        if not torch.cuda.is_available():
            raise ScorerRefusedError(f"torch finds no CUDA device here; set scorer = {ONNXRUNTIME}")
        return CudaBackend(user_graph, candidate_graph, CudaDevice(), precision)

    return open_backend


SCORERS: Mapping[str, Scorer] = {
    scorer.name: scorer
    for scorer in (
        Scorer(ONNXRUNTIME, TOLERANCE, OnnxBackend),
        Scorer(OPENVINO, TOLERANCE, _openvino("float32")),
        Scorer(OPENVINO_BF16, 0.02, _openvino("bf16")),
        Scorer(OPENVINO_INT8, 0.05, _openvino("int8")),
        Scorer(CUDA, TOLERANCE, _cuda("float32")),
        Scorer(CUDA_BF16, 0.02, _cuda("bf16")),
    )
}


def scorer_named(name: str) -> Scorer:
    """Return the scorer of this name. Raises ``ScorerRefusedError``."""
    if name not in SCORERS:
        raise ScorerRefusedError(f"there is no scorer {name!r} in this version, only {', '.join(SCORERS)}")
    return SCORERS[name]


def open_scorer(name: str, folder: Path, manifest: Manifest, providers: Sequence[str]) -> OpenedPart:
    """Open the ranker of the bundle in ``folder`` with the scorer of this name. Raises ``ScorerRefusedError``."""
    scorer = scorer_named(name)
    backend = scorer.open(folder / USER_GRAPH, folder / CANDIDATE_GRAPH, providers)

    def score(case: Arrays) -> Arrays:
        inputs = case_of(ModelInputs, case)
        check_inputs(inputs, manifest.sizes)
        probabilities = backend.score(inputs)
        if probabilities.shape[1] != len(manifest.heads):
            raise ValueError(f"{probabilities.shape[1]} probabilities a candidate for {len(manifest.heads)} heads")
        return {"probabilities": probabilities}

    return OpenedPart(backend, {RANKER_CASE: score}, scorer.tolerance, scorer.name)
