"""Graphs made to do harm to who opens them: small files, valid ONNX, with the inputs and outputs of a ranker's."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FOR_EVER = 1 << 50
ROWS_OF_12_GB = 3 << 30  # of one float32
OPSET = 20

Node = onnx.NodeProto


def _model(nodes: Sequence[Node], constants: dict[str, Any], **more: Any) -> onnx.ModelProto:
    """Return a graph of ``x (1,)`` to ``y``."""
    made = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    x, y = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1]), helper.make_empty_tensor_value_info("y")
    opsets = more.pop("opset_imports", [helper.make_opsetid("", OPSET)])
    graph = helper.make_graph(nodes, "hostile", [x], [y], made)
    return helper.make_model(graph, opset_imports=opsets, ir_version=10, **more)


def _branch(name: str) -> onnx.GraphProto:
    made = helper.make_tensor_value_info(name, TensorProto.FLOAT, [1])
    return helper.make_graph([helper.make_node("Identity", ["x"], [name])], name, [], [made])


def a_loop() -> onnx.ModelProto:
    """Return a graph that goes round 2^50 times."""
    inputs = [helper.make_tensor_value_info("round", TensorProto.INT64, [])]
    inputs.append(helper.make_tensor_value_info("on", TensorProto.BOOL, []))
    inputs.append(helper.make_tensor_value_info("v", TensorProto.FLOAT, [1]))
    outputs = [helper.make_tensor_value_info("still_on", TensorProto.BOOL, [])]
    outputs.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [1]))
    nodes = [helper.make_node("Identity", ["on"], ["still_on"]), helper.make_node("Sin", ["v"], ["w"])]
    body = helper.make_graph(nodes, "body", inputs, outputs)
    loop = helper.make_node("Loop", ["rounds", "yes", "x"], ["y"], body=body)
    return _model([loop], {"rounds": np.array(FOR_EVER), "yes": np.array(True)})


def an_if() -> onnx.ModelProto:
    """Return a graph with two graphs in it."""
    branches = {"then_branch": _branch("a"), "else_branch": _branch("b")}
    return _model([helper.make_node("If", ["yes"], ["y"], **branches)], {"yes": np.array(True)})


def a_function() -> onnx.ModelProto:
    """Return a graph that calls a function which comes with it."""
    own = [helper.make_opsetid("", OPSET), helper.make_opsetid("own", 1)]
    body = [helper.make_node("Sin", ["v"], ["w"])]
    function = helper.make_function("own", "Twice", ["v"], ["w"], body, own[:1])
    call = helper.make_node("Twice", ["x"], ["y"], domain="own")
    return _model([call], {}, opset_imports=own[:1], functions=[function])


def of_another_domain() -> onnx.ModelProto:
    """Return a graph with an operator of ONNX Runtime's own."""
    call = helper.make_node("FusedMatMul", ["x", "x"], ["y"], domain="com.microsoft")
    return _model([call], {}, opset_imports=[helper.make_opsetid("", OPSET)])


def of_another_opset() -> onnx.ModelProto:
    """Return a graph of operators as no export has them."""
    return _model([helper.make_node("Sin", ["x"], ["y"])], {}, opset_imports=[helper.make_opsetid("", 9)])


def with_a_tensor_elsewhere() -> onnx.ModelProto:
    """Return a graph whose weight is another file of the machine."""
    model = _model([helper.make_node("Add", ["x", "weight"], ["y"])], {"weight": np.zeros(1, np.float32)})
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="/etc/hostname")
    return model


def a_wide_expand() -> onnx.ModelProto:
    """Return a graph that makes 12 GB of a constant shape."""
    expand = helper.make_node("Expand", ["x", "shape"], ["wide"])
    mean = helper.make_node("ReduceMean", ["wide"], ["y"])
    return _model([expand, mean], {"shape": np.array([ROWS_OF_12_GB])})


def an_expand_of_parts() -> onnx.ModelProto:
    """Return the same, with the shape put together of small numbers."""
    concat = helper.make_node("Concat", ["many", "more"], ["shape"], axis=0)
    expand = helper.make_node("Expand", ["x", "shape"], ["wide"])
    mean = helper.make_node("ReduceMean", ["wide"], ["y"])
    return _model([concat, expand, mean], {"many": np.array([1 << 16]), "more": np.array([3 << 14])})


def of_doubled_shapes(times: int = 1_000) -> onnx.ModelProto:
    """Return a graph whose shape is put together with itself again and again: it would have 2^1000 numbers."""
    nodes = [helper.make_node("Concat", [f"s{at}", f"s{at}"], [f"s{at + 1}"], axis=0) for at in range(times)]
    nodes.append(helper.make_node("Expand", ["x", f"s{times}"], ["y"]))
    return _model(nodes, {"s0": np.array([2])})


def a_wide_pad() -> onnx.ModelProto:
    """Return a graph that pads to 12 GB."""
    pad = helper.make_node("Pad", ["x", "pads"], ["wide"])
    return _model([pad, helper.make_node("ReduceMean", ["wide"], ["y"])], {"pads": np.array([0, ROWS_OF_12_GB])})


def of_other_operators(operator: str) -> onnx.ModelProto:
    """Return a graph that makes 12 GB by an operator that no export has."""
    inputs = {"Range": ["zero", "count", "one"], "ConstantOfShape": ["shape"], "Tile": ["x", "shape"]}[operator]
    made = {"zero": np.array(0), "count": np.array(ROWS_OF_12_GB), "one": np.array(1), "shape": [ROWS_OF_12_GB]}
    used = {name: np.array(made[name]) for name in inputs if name in made}
    return _model([helper.make_node(operator, inputs, ["wide"]), helper.make_node("Shape", ["wide"], ["y"])], used)


def _squared(times: int, rows: int) -> onnx.ModelProto:
    """Return a graph of exported operators alone: a row of weights times itself, and that ``times`` times by itself."""
    nodes = [
        helper.make_node("Add", ["weights", "x"], ["row"]),
        helper.make_node("Reshape", ["row", "down"], ["column"]),
        helper.make_node("MatMul", ["column", "row"], ["m0"]),
        *(helper.make_node("MatMul", [f"m{at}", f"m{at}"], [f"m{at + 1}"]) for at in range(times)),
        helper.make_node("ReduceMean", [f"m{times}"], ["mean"]),
        helper.make_node("Mul", ["mean", "x"], ["y"]),
    ]
    return _model(nodes, {"weights": np.zeros((1, rows), np.float32), "down": np.array([rows, 1])})


def that_grows(rows: int = 55_000) -> onnx.ModelProto:
    """Return a graph whose tensors make 12 GB of each other."""
    return _squared(0, rows)


def that_takes_long(products: int = 200, rows: int = 800) -> onnx.ModelProto:
    """Return a graph that multiplies for seconds."""
    return _squared(products, rows)


REFUSED = {
    "operator 'Loop'": a_loop,
    "operator 'If'": an_if,
    "functions of its own": a_function,
    "operators of the domain 'com.microsoft'": of_another_domain,
    "opset 9": of_another_opset,
    "a tensor in another file": with_a_tensor_elsewhere,
    "makes 3,221,225,472 entries by one Expand": a_wide_expand,
    "makes 3,221,225,472 entries by one Expand ": an_expand_of_parts,
    "makes 3,221,225,472 entries by one Pad": a_wide_pad,
    "operator 'Range'": lambda: of_other_operators("Range"),
    "operator 'ConstantOfShape'": lambda: of_other_operators("ConstantOfShape"),
    "operator 'Tile'": lambda: of_other_operators("Tile"),
}  # by what a refusal says of it


def bytes_of(model: onnx.ModelProto) -> bytes:
    """Return a model as its file."""
    return bytes(model.SerializeToString(deterministic=True))
