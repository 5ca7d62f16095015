"""Avro by a registered schema: the bytes of a record to the fields that a topic has, by name.

fastavro decodes. Before it the schema is measured (``avro_bounds.py``), and cut down to the fields that are read: what
else a record holds is skipped and never made into objects. Logical types are taken off, so that a time comes as the
number that was sent, and turned into what JSON has: a time into milliseconds, a UUID of 16 bytes into text.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from io import BytesIO
from typing import Any
from uuid import UUID

from rankstream.events.action_event import Rejected
from rankstream.streams.framed.avro_bounds import (
    DECIMAL,
    RECORDS,
    UUID_TYPE,
    Definition,
    Measure,
    UnusableSchemaError,
    fields_of,
    full_name,
)
from rankstream.streams.framed.frame import UNDECODABLE, payload_of

PARTS_OF_A_MS = {"timestamp-micros": 1_000, "timestamp-nanos": 1_000_000}
NOT_UTC = ("date", "time-millis", "time-micros", "local-timestamp-millis", "local-timestamp-micros")
Row = dict[str, Any]
Convert = Callable[[Any], Any]


_read = BytesIO.read  # once for each byte of a number: looking for it by ``super()`` takes as long again


class Payload(BytesIO):
    """Bytes whose end is an error: fastavro skips 2**60 booleans behind it, one by one, and no signal wakes it."""

    def read(self, size: int | None = -1) -> bytes:
        """Return so many bytes. Raises ``EOFError`` where there are fewer."""
        found = _read(self, size)
        if len(found) != size:
            raise EOFError(f"{size} bytes wanted, {len(found)} left")
        return found


class AvroDecoder:
    """Decodes values of one schema into the fields ``names``."""

    def __init__(self, schema: Any, references: Sequence[Any], names: Collection[str]) -> None:
        """Measure and parse a schema; it, and what it refers to, as decoded JSON.

        Raises ``UnusableSchemaError``, and ``ImportError`` without fastavro.
        """
        import fastavro

        definitions = _measured(schema, references, names)
        self._read: Callable[..., Any] = fastavro.schemaless_reader
        self._written = self._wanted = _parsed(fastavro, schema, references)
        kept = [one for one in self._written["fields"] if one["name"] in names]
        if len(kept) < len(self._written["fields"]):
            self._wanted = {**self._written, "fields": kept}
        fields = [one for one in fields_of(schema) if one["name"] in names]
        found = {one["name"]: _converter(one["type"], full_name(schema, "")[1], definitions) for one in fields}
        self._converters = {name: convert for name, convert in found.items() if convert is not None}

    def __call__(self, value: bytes) -> Row:
        """Return the fields of a framed value that are not null. Raises ``Rejected``."""
        payload = Payload(payload_of(value))
        try:
            row = self._read(payload, self._written, None if self._wanted is self._written else self._wanted)
        except Exception as exc:  # of many kinds, as each byte may be anything
            raise Rejected(UNDECODABLE, f"it does not decode by its schema: {type(exc).__name__}: {exc}") from None
        left = payload.getbuffer().nbytes - payload.tell()
        if left:
            raise Rejected(UNDECODABLE, f"{left} bytes are left behind a record of its schema; is it of another?")
        found: Row = {name: one for name, one in row.items() if one is not None}
        for name in self._converters.keys() & found.keys():
            found[name] = self._converters[name](found[name])
        return found


def _measured(schema: Any, references: Sequence[Any], names: Collection[str]) -> Mapping[str, Definition]:
    """Return the named types of a schema that is safe to decode by. Raises ``UnusableSchemaError``."""
    definitions: dict[str, Definition] = {}
    for one in references:
        measure = Measure(definitions)
        measure.cost(one)
        definitions = measure.definitions
    measure = Measure(definitions)
    measure.cost(schema)
    if not isinstance(schema, dict) or schema.get("type") not in RECORDS:
        raise UnusableSchemaError("it is no record, which has fields")
    namespace = full_name(schema, "")[1]
    for one in fields_of(schema):
        if one["name"] in names:
            measure.cost(one["type"], namespace, kept=True)
    return measure.definitions


def _parsed(fastavro: Any, schema: Any, references: Sequence[Any]) -> dict[str, Any]:
    named: dict[str, Any] = {}
    try:
        for one in references:
            fastavro.parse_schema(_without_logical_types(one), named)
        found: dict[str, Any] = fastavro.parse_schema(_without_logical_types(schema), named)
    except Exception as exc:
        raise UnusableSchemaError(f"it is no schema of Avro: {type(exc).__name__}: {str(exc)[:200]}") from None
    return found


def _without_logical_types(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_without_logical_types(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    dropped = "logicalType" in schema and schema["logicalType"] != DECIMAL
    return {
        name: _without_logical_types(one) if name in ("type", "items", "values", "fields") else one
        for name, one in schema.items()
        if not (dropped and name == "logicalType")
    }


def _converter(schema: Any, namespace: str, definitions: Mapping[str, Definition]) -> Convert | None:
    """Return what makes a field's values what JSON has, where they are not. Raises ``UnusableSchemaError``."""
    for one in _branches(schema, namespace, definitions):
        logical = str(one.get("logicalType"))  # which whoever registers may have made anything
        if logical in NOT_UTC:
            raise UnusableSchemaError(f"a field that is read is a {logical}: make it a timestamp-millis, which is UTC")
        if logical in PARTS_OF_A_MS:
            return _whole_ms(PARTS_OF_A_MS[logical])
        if logical == UUID_TYPE and one.get("type") == "fixed":
            return _texts_of_uuids
    return None


def _branches(schema: Any, namespace: str, definitions: Mapping[str, Definition]) -> Iterator[Mapping[str, Any]]:
    """Yield the types that a value of this one may have, and those of its items."""
    if isinstance(schema, list):
        for one in schema:
            yield from _branches(one, namespace, definitions)
    elif isinstance(schema, str):
        full = f"{namespace}.{schema}" if namespace and "." not in schema else schema
        known = definitions.get(full) or definitions.get(schema)
        if known is not None and known.schema.get("type") == "fixed":
            yield known.schema
    elif isinstance(schema.get("type"), list | dict):
        yield from _branches(schema["type"], namespace, definitions)
    else:
        yield schema
        if schema.get("type") == "array":
            yield from _branches(schema["items"], namespace, definitions)


def _whole_ms(parts: int) -> Convert:
    return lambda value: value // parts if type(value) is int else value


def _texts_of_uuids(value: Any) -> Any:
    if isinstance(value, list):
        return [_texts_of_uuids(one) for one in value]
    return str(UUID(bytes=value)) if isinstance(value, bytes) else value
