"""A bundle's ONNX graph run by torch: the nodes that exporters write, one function each, on any device and precision.

Floating-point tensors are of one dtype throughout; softmax and layer norm sum in float32 within, and the sigmoid at
the end gives float32. What follows from shapes alone (``Shape``, and what is computed from it) stays in the memory of
this machine: the device is never asked for a value, so that a run can be recorded as a CUDA graph.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor
from torch.nn import functional as F

from rankstream.bundles.graphs import checked_graph

Values = dict[str, Any]
Attributes = Mapping[str, Any]


class UnknownNodeError(ValueError):
    """A graph with a node that is not known here; the message names it."""


class TorchGraph:
    """One graph on one device; as safe to call from many threads as torch is."""

    def __init__(self, path: Path, device: torch.device, dtype: torch.dtype) -> None:
        graph = onnx.load_from_string(checked_graph(path)).graph
        self.name = path.name
        self.inputs = tuple(one.name for one in graph.input)
        self.outputs = tuple(one.name for one in graph.output)
        self.device, self.dtype = device, dtype
        self._nodes = [(one.op_type, tuple(one.input), tuple(one.output), _attributes(one)) for one in graph.node]
        if unknown := sorted({kind for kind, *_ in self._nodes} - set(NODES)):
            raise UnknownNodeError(f"{path.name} has nodes that the CUDA scorer does not know: {', '.join(unknown)}")
        self._weights = {one.name: self._placed(_tensor(one)) for one in graph.initializer}

    def run(self, feeds: Mapping[str, Tensor], moved: Values) -> Values:
        """Return the outputs by name.

        ``moved`` keeps what was moved to the device, which follows from the shapes alone: the same for each run of one
        shape, which then moves nothing.
        """
        values: Values = dict(self._weights)
        values |= {name: feed.to(self.dtype) if feed.is_floating_point() else feed for name, feed in feeds.items()}
        for kind, inputs, outputs, attributes in self._nodes:
            arguments = [values[name] if name else None for name in inputs]
            if kind in ON_DEVICE:
                arguments = self._together(outputs[0], arguments, moved)
            values[outputs[0]] = NODES[kind](self, attributes, *arguments)
        return {name: values[name] for name in self.outputs}

    def _together(self, output: str, arguments: list[Any], moved: Values) -> list[Any]:
        """Move arguments to the device where one of them is there."""
        devices = {one.device for one in arguments if one is not None and one.dim()}
        if len(devices) < 2:
            return arguments
        for at, one in enumerate(arguments):
            if one is not None and one.dim() and one.device != self.device:
                key = f"{self.name}:{output}:{at}"
                if key not in moved:
                    moved[key] = one.to(self.device)
                arguments[at] = moved[key]
        return arguments

    def _placed(self, tensor: Tensor) -> Tensor:
        """Place a weight on the device; whole numbers are shapes and indexes, and stay."""
        return tensor.to(self.device, self.dtype) if tensor.is_floating_point() else tensor


def _gemm(graph: TorchGraph, attributes: Attributes, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    a = a.mT if attributes.get("transA") else a
    b = b.mT if attributes.get("transB") else b
    if attributes.get("alpha", 1.0) != 1.0 or attributes.get("beta", 1.0) != 1.0:
        raise UnknownNodeError(f"{graph.name} has a Gemm that scales; exporters write none")
    return a @ b if c is None else torch.addmm(c, a, b)


def _layer_norm(graph: TorchGraph, attributes: Attributes, x: Tensor, weight: Tensor, bias: Any = None) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], weight, bias, attributes.get("epsilon", 1e-5))


def _gather(graph: TorchGraph, attributes: Attributes, x: Tensor, index: Tensor) -> Tensor:
    axis = attributes.get("axis", 0)
    if not index.dim():
        return x.select(axis, int(index))
    if index.dim() == 1:
        return x.index_select(axis, index)
    found: Tensor = x.index_select(axis, index.flatten()).unflatten(axis % x.dim(), index.shape)
    return found


def _reshape(graph: TorchGraph, attributes: Attributes, x: Tensor, shape: Tensor) -> Tensor:
    sizes = shape.tolist()
    if not attributes.get("allowzero", 0):
        sizes = [x.shape[at] if size == 0 else size for at, size in enumerate(sizes)]
    return x.reshape(sizes)


def _expand(graph: TorchGraph, attributes: Attributes, x: Tensor, shape: Tensor) -> Tensor:
    return x.expand(torch.broadcast_shapes(x.shape, shape.tolist()))


def _shape(graph: TorchGraph, attributes: Attributes, x: Tensor) -> Tensor:
    return torch.tensor(tuple(x.shape)[attributes.get("start", 0) : attributes.get("end")], dtype=torch.int64)


def _pad(graph: TorchGraph, attributes: Attributes, x: Tensor, pads: Tensor, value: Any = None, *axes: Any) -> Tensor:
    if attributes.get("mode", "constant") != "constant" or axes:
        raise UnknownNodeError(f"{graph.name} has a Pad of another mode than the one exporters write")
    begins, ends = pads.view(2, -1).tolist()
    sides = [side for pair in zip(reversed(begins), reversed(ends), strict=True) for side in pair]
    return F.pad(x, sides, value=0.0 if value is None else float(value))


def _reduced(reduce: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def run(graph: TorchGraph, attributes: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
        over = attributes.get("axes") if axes is None else axes.tolist()
        return reduce(x, dim=tuple(over or range(x.dim())), keepdim=bool(attributes.get("keepdims", 1)))

    return run


def _unsqueeze(graph: TorchGraph, attributes: Attributes, x: Tensor, axes: Tensor) -> Tensor:
    for axis in sorted(axes.tolist()):
        x = x.unsqueeze(axis)
    return x


def _squeeze(graph: TorchGraph, attributes: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
    return x.squeeze() if axes is None else x.squeeze(tuple(axes.tolist()))


def _cast(graph: TorchGraph, attributes: Attributes, x: Tensor) -> Tensor:
    is_float = attributes["to"] in (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE)
    return x.to(graph.dtype if is_float else torch.int64)


# What is left of a node's arguments comes in the order of its inputs; one that is not given is None.
NODES: Mapping[str, Callable[..., Tensor]] = {
    "Add": lambda graph, attributes, a, b: a + b,
    "Cast": _cast,
    "Clip": lambda graph, attributes, x, low=None, high=None: torch.clamp(x, low, high),
    "Concat": lambda graph, attributes, *parts: torch.cat(parts, attributes["axis"]),
    "Expand": _expand,
    "Gather": _gather,
    "Gemm": _gemm,
    "Identity": lambda graph, attributes, x: x,
    "LayerNormalization": _layer_norm,
    "Less": lambda graph, attributes, a, b: a < b,
    "MatMul": lambda graph, attributes, a, b: a @ b,
    "Mul": lambda graph, attributes, a, b: a * b,
    "Pad": _pad,
    "ReduceMax": _reduced(torch.amax),
    "ReduceMean": _reduced(torch.mean),
    "Relu": lambda graph, attributes, x: torch.relu(x),
    "Reshape": _reshape,
    "Shape": _shape,
    "Sigmoid": lambda graph, attributes, x: torch.sigmoid(x.float()),
    "Softmax": lambda graph, attributes, x: torch.softmax(x, attributes.get("axis", -1)),
    "Squeeze": _squeeze,
    "Sub": lambda graph, attributes, a, b: a - b,
    "Transpose": lambda graph, attributes, x: x.permute(attributes["perm"]),
    "Unsqueeze": _unsqueeze,
}
# Nodes that compute with all their arguments; those of the others that say a shape are read here.
ON_DEVICE = {"Add", "Concat", "Gather", "Gemm", "LayerNormalization", "Less", "MatMul", "Mul", "Sub"}


def _attributes(node: Any) -> Attributes:
    def value(one: Any) -> Any:
        found = helper.get_attribute_value(one)
        return found.decode() if isinstance(found, bytes) else found

    return {one.name: value(one) for one in node.attribute}


def _tensor(initializer: Any) -> Tensor:
    return torch.from_numpy(np.array(numpy_helper.to_array(initializer)))
