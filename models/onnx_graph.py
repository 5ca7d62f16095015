"""Torch modules as ONNX graphs: written, and verified against torch; it does not know what a graph computes."""

import logging
import warnings
from collections.abc import Sequence
from contextlib import suppress
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from rankstream.bundles.parts import ExportError
from rankstream.features.schema import Floats

MAX_VECTOR_ERROR = 1e-4  # of session and user vectors, whose entries reach 1
OPSET = 20  # LayerNormalization came with 17, Gelu with 20; ONNX Runtime 1.17 and later read it

Model = TypeVar("Model", bound=nn.Module)
Dynamic = dict[str, dict[int, torch.export.Dim]]


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
    _keep_translations()
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
    _drop_traces(path)


@cache
def _keep_translations() -> None:
    """Have the exporter read its translations of operators once, which takes 0.6 s, and not for each graph of a bundle.

    These are private names of the torch that ``pyproject.toml`` pins; without them it reads them each time.
    """
    with suppress(ImportError, AttributeError):
        from torch.onnx._internal.exporter._registration import ONNXRegistry

        registry: Any = ONNXRegistry
        registry.from_torchlib = staticmethod(cache(registry.from_torchlib))


def _drop_traces(path: Path) -> None:
    """Drop the exporter's notes: each node has a stack trace, with the folders of the machine that exported it."""
    model = onnx.load(path)
    graph = model.graph
    for noted in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del noted.metadata_props[:]
    onnx.save(model, path)


def ready(model: Model, dtype: torch.dtype = torch.float32) -> Model:
    """Return a frozen copy of a model in eval mode on the CPU."""
    return deepcopy(model).to("cpu", dtype).eval().requires_grad_(False)


def require_finite(model: nn.Module) -> None:
    """Raise ``ExportError`` for a model with a weight that is not finite."""
    for name, weight in model.named_parameters():
        if not weight.isfinite().all():
            raise ExportError(f"weights {name} of {type(model).__name__} are not finite; train it again, slower")


def random_normal(rng: np.random.Generator, *shape: int) -> Floats:
    """Return standard normal float32 of this shape."""
    return rng.standard_normal(shape).astype(np.float32)


def verify_vector(graph: str, wanted: Tensor, served: Floats) -> None:
    """Raise ``ExportError`` if a graph's output is not torch's."""
    error = float(np.abs(wanted.numpy() - served).max())
    if not error < MAX_VECTOR_ERROR:
        raise ExportError(f"{graph} differs from torch by {error:.1e}; wanted less than {MAX_VECTOR_ERROR:.0e}")
