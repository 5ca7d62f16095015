"""Schemas of Avro for the topics that others write, made from the structs that decode them.

They hold the names and types that workers read, to be registered as they are or copied from. What Avro can't say, the
limits, stays with the JSON Schemas (``schemas.py``).
"""

from collections.abc import Mapping
from typing import Any

from msgspec import NODEFAULT, inspect

from rankstream.streams.schemas import kinds_of
from rankstream.streams.topics import Topic

NAMESPACE = "rankstream"
SIMPLE: Mapping[type, str] = {
    inspect.StrType: "string",
    inspect.FloatType: "double",
    inspect.BoolType: "boolean",
    inspect.LiteralType: "string",
    inspect.NoneType: "null",
}
MAX_INT = 2**31 - 1
TIME = {"type": "long", "logicalType": "timestamp-millis"}


def avro_schema_of(topic: Topic) -> dict[str, Any]:
    """Return the schema of a topic's values; a field that one of its structs can do without is nullable."""
    of_topic = [_struct(kind) for kind in kinds_of(topic)]
    found = _record(of_topic[0], f"{NAMESPACE}.{of_topic[0].cls.__name__}")
    for other in of_topic[1:]:
        needed = {one.name for one in other.fields if one.required}
        found["fields"] = [one if one["name"] in needed else _nullable(one) for one in found["fields"]]
    return found


def _struct(kind: type) -> inspect.StructType:
    found = inspect.type_info(kind)
    if not isinstance(found, inspect.StructType):
        raise TypeError(f"{kind} is no struct")
    return found


def _record(struct: inspect.StructType, name: str) -> dict[str, Any]:
    doc = " ".join((struct.cls.__doc__ or "").split())
    return {"type": "record", "name": name, "doc": doc, "fields": [_field(one) for one in struct.fields]}


def _field(field: inspect.Field) -> dict[str, Any]:
    doc, of_type = _described(field.type)
    made: dict[str, Any] = {"name": field.name, "type": _type(of_type, field.name)}
    if doc:
        made["doc"] = doc
    if not field.required and field.default is not NODEFAULT:
        made["default"] = list(field.default) if isinstance(field.default, tuple) else field.default
    return made


def _nullable(field: dict[str, Any]) -> dict[str, Any]:
    branches = field["type"] if isinstance(field["type"], list) else [field["type"]]
    return field if "null" in branches else field | {"type": ["null", *branches], "default": None}


def _described(of_type: inspect.Type) -> tuple[str, inspect.Type]:
    """Return what is said of a type, also of the one that is not null, and the type without that."""
    if isinstance(of_type, inspect.Metadata):
        return str((of_type.extra_json_schema or {}).get("description", "")), of_type.type
    if isinstance(of_type, inspect.UnionType):
        docs = [doc for one in of_type.types if (doc := _described(one)[0])]
        return "; ".join(docs), of_type
    return "", of_type


def _type(of_type: inspect.Type, name: str) -> Any:
    _, plain = _described(of_type)
    if isinstance(plain, inspect.UnionType):
        branches = [_type(one, name) for one in plain.types]
        flat = [one for branch in branches for one in (branch if isinstance(branch, list) else [branch])]
        return sorted(flat, key=lambda one: one != "null")  # null first, as its default must be
    if isinstance(plain, inspect.VarTupleType | inspect.ListType):
        return {"type": "array", "items": _type(plain.item_type, name)}
    if isinstance(plain, inspect.StructType):
        return _record(plain, plain.cls.__name__)
    if isinstance(plain, inspect.IntType):
        return _whole_number(plain, name)
    return SIMPLE[type(plain)]


def _whole_number(of_type: inspect.IntType, name: str) -> Any:
    if name.endswith("_ms"):
        return TIME
    return "int" if of_type.le is not None and of_type.le <= MAX_INT else "long"
