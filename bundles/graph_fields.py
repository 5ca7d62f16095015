"""An ONNX file as messages of fields: protocol buffers' wire format, read strictly; knows no operator.

ONNX Runtime brings no reader of graphs to Python, and the package ``onnx`` is for those who export. A library would
skip what it does not know; here a field that is not listed is refused, so nothing is passed on that nobody looked for.
What comes twice is kept twice: who reads a field looks at all of its values.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Message = Mapping[str, list[Any]]  # values of each field in order: integers, bytes or messages
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # how a value is written
MAX_VARINT_BYTES = 10


class BrokenGraphError(ValueError):
    """Bytes that are no ONNX graph, or have what is not listed; the message says what."""


@dataclass(frozen=True)
class Kind:
    """A message: the names of its fields by number, and which of them are messages themselves."""

    name: str
    fields: Mapping[int, str]
    messages: Mapping[str, "Kind"]


TENSOR = Kind(
    "tensor",
    {1: "dims", 2: "data_type", 4: "floats", 5: "int32s", 7: "int64s", 8: "name", 9: "raw", 12: "doc"}
    | {13: "external_data", 14: "data_location", 16: "notes"},
    {},
)
ATTRIBUTE = Kind(
    "attribute",
    {1: "name", 2: "f", 3: "i", 4: "s", 5: "tensor", 6: "graph", 7: "floats", 8: "ints", 9: "strings", 11: "graphs"}
    | {13: "doc", 20: "type"},
    {"tensor": TENSOR},
)
NODE = Kind(
    "node",
    {1: "inputs", 2: "outputs", 3: "name", 4: "operator", 5: "attributes", 6: "doc", 7: "domain", 9: "notes"},
    {"attributes": ATTRIBUTE},
)
GRAPH = Kind(
    "graph",
    {1: "nodes", 2: "name", 5: "tensors", 10: "doc", 11: "inputs", 12: "outputs", 13: "values", 16: "notes"},
    {"nodes": NODE, "tensors": TENSOR},
)
OPSET = Kind("opset", {1: "domain", 2: "version"}, {})
MODEL = Kind(
    "model",
    {1: "format", 2: "producer", 3: "producer_version", 4: "domain", 5: "version", 6: "doc", 7: "graph", 8: "opsets"}
    | {14: "notes", 25: "functions"},
    {"graph": GRAPH, "opsets": OPSET},
)


def read_message(data: memoryview, kind: Kind = MODEL) -> Message:
    """Return a message with those in it. Raises ``BrokenGraphError``."""
    found: dict[str, list[Any]] = defaultdict(list)
    for number, wire, value in _fields(data):
        name = kind.fields.get(number)
        if name is None:
            raise BrokenGraphError(f"a {kind.name} has a field {number}")
        inner = kind.messages.get(name)
        if inner is None:
            found[name].append(value)
        elif wire == BYTES:
            found[name].append(read_message(value, inner))
        else:
            raise BrokenGraphError(f"a {kind.name} has a number for {name}")
    return found


def integers(values: list[Any]) -> list[int]:
    """Return the signed integers of a field, whether each was written by itself or many packed together."""
    whole = [one for value in values for one in ([value] if isinstance(value, int) else _packed(value))]
    return [one - (1 << 64) if one >= 1 << 63 else one for one in whole]


def texts(values: list[Any]) -> list[str]:
    """Return the texts of a field. Raises ``BrokenGraphError`` for a number."""
    return [value.decode(errors="replace") for value in blobs(values)]


def blobs(values: list[Any]) -> list[bytes]:
    """Return the bytes of a field. Raises ``BrokenGraphError`` for a number."""
    if any(isinstance(value, int) for value in values):
        raise BrokenGraphError("a number where bytes should be")
    return [bytes(value) for value in values]


def _fields(data: memoryview) -> Iterator[tuple[int, int, Any]]:
    """Yield number, wire type and value of each field: an integer where it is written as one, else its bytes."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == VARINT:
            value, at = _varint(data, at)
            yield number, wire, value
            continue
        if wire not in (BYTES, FIXED64, FIXED32):
            raise BrokenGraphError(f"byte {at} begins no field")
        size, at = _varint(data, at) if wire == BYTES else (8 if wire == FIXED64 else 4, at)
        if size > len(data) - at:
            raise BrokenGraphError(f"{size} bytes are said to follow byte {at}, and {len(data) - at} do")
        yield number, wire, data[at : at + size]
        at += size


def _packed(data: memoryview) -> Iterator[int]:
    at = 0
    while at < len(data):
        value, at = _varint(data, at)
        yield value


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """Return the integer that begins at ``at``, and where it ends."""
    value = shift = 0
    for index in range(at, min(at + MAX_VARINT_BYTES, len(data))):
        byte = data[index]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, index + 1
        shift += 7
    raise BrokenGraphError(f"the number at byte {at} does not end")
