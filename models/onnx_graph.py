"""Torch modules written as ONNX graphs; knows nothing of what they compute."""

import logging
import warnings
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import TypeVar

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from rankstream.features.schema import Floats

OPSET = 20  # LayerNormalization came with 17, Gelu with 20; ONNX Runtime 1.17 and later read it

Model = TypeVar("Model", bound=nn.Module)
Dynamic = dict[str, dict[int, torch.export.Dim]]


class ExportError(ValueError):
    """A model that can't be exported, or whose graphs don't do what it does; the message says which and how far."""


def export_graph(
    module: nn.Module,
    examples: Sequence[Tensor],
    path: Path,
    inputs: Sequence[str],
    outputs: Sequence[str],
    dynamic: Dynamic,
) -> None:
    """Write a module as a graph of one file; ``dynamic`` names the axes of inputs that have no fixed length."""
    shapes = tuple(dynamic.get(name) for name in inputs)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            tuple(examples),
            path,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes=shapes,
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
            optimize=True,
        )


def open_graph(path: Path) -> onnxruntime.InferenceSession:
    """Open a graph on one thread of the CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(
        path, options, providers=["CPUExecutionProvider"], disabled_optimizers=["SkipLayerNormFusion"]
    )


def ready(model: Model, dtype: torch.dtype = torch.float32) -> Model:
    """Return a copy of a model on the CPU, ready to be used."""
    return deepcopy(model).to("cpu", dtype).eval().requires_grad_(False)


MAX_VECTOR_ERROR = 1e-4  # of session and user vectors, whose entries reach 1


def random_normal(rng: np.random.Generator, *shape: int) -> Floats:
    """Return standard normal float32 of this shape."""
    return rng.standard_normal(shape).astype(np.float32)


def verify_vector(graph: str, wanted: Tensor, served: Floats) -> None:
    """Raise ``ExportError`` if a graph's output is not torch's."""
    error = float(np.abs(wanted.numpy() - served).max())
    if not error < MAX_VECTOR_ERROR:
        raise ExportError(f"{graph} differs from torch by {error:.1e}; wanted less than {MAX_VECTOR_ERROR:.0e}")
