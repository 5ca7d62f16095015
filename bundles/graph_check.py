"""What a graph may hold before ONNX Runtime sees it: what ``rankstream train`` exports, and nothing else.

A checksum says that a file is what was exported, not that it is harmless: who can write a bundle can write checksums. A
graph that loops 2^50 times, or makes 12 GB of a constant, would hold a worker for as long. So there is a list:

    operators    those of the exported models, of ONNX's own domain and the versions that are exported;
                 none that holds a graph of its own (Loop, If, Scan), no functions
    tensors      in the file itself, none elsewhere; a shape that is written there makes no more than so many entries

How large tensors become by each other is not looked at: that is bounded when the graph runs (``graphs.py``).
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from rankstream.bundles.graph_fields import BrokenGraphError, Message, blobs, integers, read_message, texts

EXPORTED = frozenset({
    "Add", "Cast", "Clip", "Concat", "Conv", "Cos", "Div", "Expand", "Gather", "GatherND", "Gelu", "Gemm",
    "LayerNormalization", "Less", "MatMul", "Mul", "Pad", "ReduceL2", "ReduceMax", "Relu", "Reshape", "Shape",
    "Sigmoid", "Sin", "Slice", "Softmax", "Split", "Squeeze", "Sub", "Tanh", "Transpose", "Trilu", "Unsqueeze",
    "Where",
})  # fmt: skip
OPERATORS = EXPORTED | {"ReduceMean"}  # for graphs written by hand: a mean makes nothing larger
OPSETS = range(18, 21)
DOMAINS = ("", "ai.onnx")  # two names of ONNX's own
MAX_NODES = 10_000  # the exports have hundreds
MAX_ENTRIES = 1 << 24  # of a tensor whose shape is written in the graph: 64 MB of float32
SIZED_BY = {"Expand": 1, "Pad": 1}  # operators that make a tensor of the size that one of their inputs says: which one

MAX_SHAPE_BYTES = 512  # of a tensor that may be a shape
MOST = 1 << 62  # entries are not counted further
INTEGERS: dict[int, np.dtype[Any]] = {
    6: np.dtype("<i4"),
    7: np.dtype("<i8"),
}  # types of elements that are whole numbers


class HarmfulGraphError(ValueError):
    """A graph that is not of the kind that is exported; the message is the rest of a sentence about its file."""


def check_graph(data: bytes) -> None:
    """Raise ``HarmfulGraphError`` for what is no graph, or holds more than exported graphs do."""
    try:
        model = read_message(memoryview(data))
        _check_model(model)
        for graph in model["graph"]:
            _check_graph(graph)
    except BrokenGraphError as exc:
        raise HarmfulGraphError(f"is no ONNX graph as they are exported: {exc}") from exc


def _check_model(model: Message) -> None:
    if model["functions"]:
        raise HarmfulGraphError("has functions of its own; wanted none")
    for opset in model["opsets"]:
        _check_domains(texts(opset["domain"]))
        for version in integers(opset["version"]):
            if version not in OPSETS:
                raise HarmfulGraphError(f"is of opset {version}; wanted {OPSETS.start} to {OPSETS.stop - 1}")


def _check_graph(graph: Message) -> None:
    nodes, tensors = graph["nodes"], graph["tensors"]
    if len(nodes) > MAX_NODES:
        raise HarmfulGraphError(f"has {len(nodes):,} operators; wanted at most {MAX_NODES:,}")
    for node in nodes:
        _check_node(node)
    for tensor in tensors:
        _check_tensor(tensor)
    _check_sizes(nodes, {name: _entries(tensor) for tensor in tensors for name in texts(tensor["name"])})


def _check_domains(domains: Iterable[str]) -> None:
    for domain in domains:
        if domain not in DOMAINS:
            raise HarmfulGraphError(f"has operators of the domain {domain[:40]!r}; wanted ONNX's own alone")


def _check_node(node: Message) -> None:
    _check_domains(texts(node["domain"]))
    for operator in texts(node["operator"]):
        if operator not in OPERATORS:
            raise HarmfulGraphError(f"has an operator {operator[:40]!r}, which no exported model has")
    for attribute in node["attributes"]:
        if attribute["graph"] or attribute["graphs"]:
            raise HarmfulGraphError("has a graph within a graph; wanted none")
        for tensor in attribute["tensor"]:
            _check_tensor(tensor)


def _check_tensor(tensor: Message) -> None:
    if tensor["external_data"] or any(integers(tensor["data_location"])):
        raise HarmfulGraphError("has a tensor in another file; wanted all in its own")


def _entries(tensor: Message) -> int:
    """Return how many entries a tensor has whose shape this one is; 1 where it is none."""
    dtype = INTEGERS.get(next(iter(integers(tensor["data_type"])), 0))
    if dtype is None or sum(map(len, blobs(tensor["raw"]))) > MAX_SHAPE_BYTES:
        return 1
    raw = b"".join(blobs(tensor["raw"]))
    sizes: list[int] = np.frombuffer(raw[: len(raw) // dtype.itemsize * dtype.itemsize], dtype).tolist()
    return _product([*sizes, *integers(tensor["int32s"]), *integers(tensor["int64s"])])


def _product(sizes: Iterable[int]) -> int:
    """Return the product of sizes, of which 0 and -1 say nothing; no more than ``MOST``."""
    entries = 1
    for size in sizes:
        entries = min(MOST, entries * max(1, abs(size)))
    return entries


def _check_sizes(nodes: Iterable[Message], tensors: Mapping[str, int]) -> None:
    """Refuse tensors that are large by shapes in the graph, alone or put together of others."""
    entries = dict(tensors)
    for node in nodes:  # in the order in which they run
        operator, inputs = "".join(texts(node["operator"])), texts(node["inputs"])
        if operator == "Concat":
            entries |= {name: _product(entries.get(one, 1) for one in inputs) for name in texts(node["outputs"])}
        if operator in SIZED_BY:
            made = _product(entries.get(name, 1) for name in inputs[SIZED_BY[operator] :][:1])
            if made > MAX_ENTRIES:
                raise HarmfulGraphError(f"makes {made:,} entries by one {operator}; wanted {MAX_ENTRIES:,} at most")
