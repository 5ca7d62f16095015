"""ONNX graphs as ONNX Runtime runs them: in serving, and when an exporter verifies them."""

from collections.abc import Sequence
from pathlib import Path

import onnxruntime

CPU = ("CPUExecutionProvider",)


def open_graph(path: Path, providers: Sequence[str] = CPU) -> onnxruntime.InferenceSession:
    """Open a graph to be run by one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # fatal: what fails is raised too, and told in one sentence
    return onnxruntime.InferenceSession(
        str(path), options, providers=list(providers), disabled_optimizers=["SkipLayerNormFusion"]
    )
