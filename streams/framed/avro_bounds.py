"""What a schema of Avro may cost those who decode by it, found by looking at the schema alone.

A decoder of Avro believes its schema and its input: an array of items that take no bytes, of which there are 2**60, or
a record in itself a thousand times, ends the process or never comes back. So a schema is measured before it is used. In
what is let through each byte of input pays for a bounded number of steps, so the size of a value bounds the time and
the memory to decode it::

    steps <= free + 2 * bytes        free: those that no byte pays for, as of records without fields, and of nulls
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MAX_DEPTH = 32  # of types in types
MAX_TYPES = 2_000  # of a schema, named ones counted wherever they are used
MAX_FREE_STEPS = 100  # of a record
MAX_FREE_STEPS_OF_ITEM = 8  # each item of an array may take them, and a byte pays for an item
TAKING_BYTES = ("boolean", "int", "long", "float", "double", "bytes", "string")
PRIMITIVES = ("null", *TAKING_BYTES)
RECORDS = ("record", "error")
NAMED = (*RECORDS, "enum", "fixed")
CONTAINERS = (*RECORDS, "array", "map")
UUID_BYTES = 16
DECIMAL, UUID_TYPE = "decimal", "uuid"


class UnusableSchemaError(Exception):
    """A registered schema that no value is decoded by; the message is a clause that says why."""


@dataclass(frozen=True)
class Cost:
    """What it takes to decode one value of a type."""

    kind: str
    free: int = -1  # steps that no byte pays for; less than 0: bytes pay for some beside it
    takes_bytes: bool = True  # at least one, whatever the value
    types: int = 1  # in it, and itself
    levels: int = 1  # of types in types


@dataclass(frozen=True)
class Definition:
    """A named type, and the namespace that stands around it."""

    schema: Mapping[str, Any]
    namespace: str


class Measure:
    """Measures the types of one schema. Raises ``UnusableSchemaError`` for one that could cost too much."""

    def __init__(self, referenced: Mapping[str, Definition] | None = None) -> None:
        self.definitions = dict(referenced or {})
        self._costs: dict[tuple[str, bool], Cost] = {}
        self._open: list[str] = []

    def cost(self, schema: Any, namespace: str = "", kept: bool = False, depth: int = 0) -> Cost:
        """Return what a type costs; ``kept`` if its values are, so that JSON is made of them."""
        found = Cost("", levels=depth) if depth > MAX_DEPTH else self._cost(schema, namespace, kept, depth)
        if found.levels > MAX_DEPTH:
            raise UnusableSchemaError(f"its types are nested deeper than {MAX_DEPTH}")
        if found.types > MAX_TYPES:
            raise UnusableSchemaError(f"it has more than {MAX_TYPES:,} types, those in records counted where they are")
        if found.free > MAX_FREE_STEPS:
            raise UnusableSchemaError(f"a record of it has more than {MAX_FREE_STEPS} fields that take no bytes")
        return found

    def _cost(self, schema: Any, namespace: str, kept: bool, depth: int) -> Cost:
        if isinstance(schema, str):
            return self._simple(schema, kept) if schema in PRIMITIVES else self._named(schema, namespace, kept, depth)
        if isinstance(schema, list):
            return self._union([self.cost(one, namespace, kept, depth + 1) for one in schema])
        if not isinstance(schema, dict):
            raise UnusableSchemaError(f"it has {str(schema)[:40]!r} where a type is wanted")
        kind = schema.get("type")
        if isinstance(kind, list | dict):
            return self.cost(kind, namespace, kept, depth + 1)
        if kind in ("array", "map"):
            return self._many(kind, schema, namespace, kept, depth)
        if kind in NAMED:
            return self._defined(schema, namespace, kept, depth)
        if kind in PRIMITIVES:
            return self._simple(kind, kept and schema.get("logicalType") != DECIMAL)
        return self._named(str(kind), namespace, kept, depth)

    def _simple(self, kind: str, kept: bool) -> Cost:
        if kind == "null":
            return Cost(kind, free=1, takes_bytes=False)
        if kind == "bytes" and kept:
            raise UnusableSchemaError("a field that is read is of bytes, which JSON has not: make it a string")
        return Cost(kind)

    def _union(self, branches: list[Cost]) -> Cost:
        if not branches:
            raise UnusableSchemaError("it has a union of no types")
        dearest = max(one.free for one in branches)
        return _around("union", dearest - 1, True, branches)

    def _many(self, kind: str, schema: Mapping[str, Any], namespace: str, kept: bool, depth: int) -> Cost:
        item = self.cost(schema.get("items" if kind == "array" else "values"), namespace, kept, depth + 1)
        if kind == "array" and not item.takes_bytes:
            raise UnusableSchemaError("it has an array of items that take no bytes, so a few bytes hold any number")
        if item.free > MAX_FREE_STEPS_OF_ITEM:
            raise UnusableSchemaError(
                f"it has an {kind} of records with more than {MAX_FREE_STEPS_OF_ITEM} fields that take no bytes"
            )
        if kept and item.kind in CONTAINERS:
            raise UnusableSchemaError(f"a field that is read is an {kind} of {item.kind}s: make it one of ids or texts")
        return _around(kind, -1, True, [item])

    def _defined(self, schema: Mapping[str, Any], namespace: str, kept: bool, depth: int) -> Cost:
        name, inner = full_name(schema, namespace)
        self.definitions[name] = Definition(schema, namespace)
        if schema["type"] == "enum":
            return Cost("enum")
        if schema["type"] == "fixed":
            return self._fixed(schema, kept)
        return self._record(name, schema, inner, kept, depth)

    def _fixed(self, schema: Mapping[str, Any], kept: bool) -> Cost:
        size, logical = schema.get("size"), schema.get("logicalType")
        if kept and logical != DECIMAL and (logical, size) != (UUID_TYPE, UUID_BYTES):
            raise UnusableSchemaError("a field that is read is of fixed bytes, which JSON has not: make it a string")
        return Cost("fixed") if isinstance(size, int) and size > 0 else Cost("fixed", free=1, takes_bytes=False)

    def _record(self, name: str, schema: Mapping[str, Any], namespace: str, kept: bool, depth: int) -> Cost:
        if name in self._open:
            raise UnusableSchemaError(f"its record {name} holds itself")
        self._open.append(name)
        fields = [self.cost(one.get("type"), namespace, kept, depth + 1) for one in fields_of(schema)]
        self._open.pop()
        free, takes_bytes = 1 + sum(one.free for one in fields), any(one.takes_bytes for one in fields)
        return _around(schema["type"], free, takes_bytes, fields)

    def _named(self, name: str, namespace: str, kept: bool, depth: int) -> Cost:
        full = f"{namespace}.{name}" if namespace and "." not in name else name
        known = full if full in self.definitions or full in self._open else name
        if known in self._open:
            raise UnusableSchemaError(f"its record {known} holds itself")
        if known not in self.definitions:
            raise UnusableSchemaError(f"its type {name[:80]!r} is defined nowhere in it, nor in what it refers to")
        if (known, kept) not in self._costs:
            definition = self.definitions[known]
            self._costs[known, kept] = self.cost(definition.schema, definition.namespace, kept, depth + 1)
        return self._costs[known, kept]


def _around(kind: str, free: int, takes_bytes: bool, inner: Sequence[Cost]) -> Cost:
    types, levels = sum(one.types for one in inner), max((one.levels for one in inner), default=0)
    return Cost(kind, free, takes_bytes, 1 + types, 1 + levels)


def full_name(schema: Mapping[str, Any], namespace: str) -> tuple[str, str]:
    """Return the name of a named type with its namespace, and the namespace of what stands in it."""
    name = schema.get("name")
    if not isinstance(name, str) or not name:
        raise UnusableSchemaError(f"it has a type {schema.get('type')} without a name")
    if "." in name:
        return name, name.rpartition(".")[0]
    inner = str(schema.get("namespace") or namespace)
    return (f"{inner}.{name}" if inner else name), inner


def fields_of(schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the fields of a record."""
    fields = schema.get("fields")
    if not isinstance(fields, list) or not all(
        isinstance(one, dict) and isinstance(one.get("name"), str) for one in fields
    ):
        raise UnusableSchemaError("it has a record whose fields are no list of fields with names")
    return fields
