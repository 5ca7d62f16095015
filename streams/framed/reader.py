"""Framed values of one topic made into JSON, which is then checked and applied as any other.

::

    0 | 7 | Avro      -> the schema 7, once -> its record -> the fields of the topic, by name -> {"user_id": "u1", ...}
    {"user_id": ...}  -> as it is: the first byte says which, so a topic may change over while workers run

JSON is what all behind it reads, the compiled engine too, so a field is refused for the same reasons whatever carried
it. The bytes that were sent stay beside it (``Unframed``), for dead letters and checksums.
"""

import math
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import msgspec
import numpy as np
from msgspec.structs import fields

from rankstream.events.action_event import (
    MAX_ACTION_BYTES,
    Record,
    Rejected,
    Unframed,
    epoch_of,
    unread,
)
from rankstream.features.decoding import UNREADABLE
from rankstream.streams.codec import MAX_REQUEST_BYTES
from rankstream.streams.columns import NULL, RecordColumns
from rankstream.streams.framed.avro import AvroDecoder
from rankstream.streams.framed.avro_bounds import UnusableSchemaError
from rankstream.streams.framed.frame import HEAD, MAGIC, UNDECODABLE, payload_of, schema_id_of
from rankstream.streams.framed.protobuf import ProtobufDecoder
from rankstream.streams.framed.registry import AVRO, JSON, PROTOBUF, MissingSchemaError, Registry, Schema
from rankstream.streams.pipeline import INTERNAL, TRACEBACK_CHARS
from rankstream.streams.schemas import kinds_of
from rankstream.streams.setting_fields import SettingsError
from rankstream.streams.settings import Settings
from rankstream.streams.topics import ACTIONS, Topic

UNKNOWN_SCHEMA, UNUSABLE_SCHEMA = "unknown-schema", "unusable-schema"
CACHED_SCHEMAS = 1_000  # of a topic; a team has some tens
REFUSED_FOR_S = 2.0  # then it is asked for again: it may be registered meanwhile, and its records redriven
LIBRARIES = {AVRO: "fastavro", PROTOBUF: "google.protobuf"}

Decode = Callable[[bytes], Any]  # a framed value to the fields of the topic; raises ``Rejected``
_encode = msgspec.json.Encoder(decimal_format="number").encode


class SchemaReader:
    """What makes framed values of one topic into JSON. Schemas are fetched once an id, and kept."""

    def __init__(
        self,
        registry: Registry,
        topic: Topic,
        clock: Callable[[], float] = time.monotonic,
        cached: int = CACHED_SCHEMAS,
    ) -> None:
        self.registry = registry
        self._names = frozenset(one.name for kind in kinds_of(topic) for one in fields(kind))
        self._max_bytes = MAX_ACTION_BYTES if topic is ACTIONS else MAX_REQUEST_BYTES
        self._clock, self._cached = clock, cached
        self._decoders: OrderedDict[int, tuple[Decode, float]] = OrderedDict()  # and until when

    def known(self, ids: Iterable[int]) -> dict[int, Decode]:
        """Return the decoders of those ids that are known."""
        found: dict[int, Decode] = {}
        for one in ids:
            decode, until_s = self._decoders.get(one, (None, 0.0))
            if decode is not None and self._clock() < until_s:
                self._decoders.move_to_end(one)
                found[one] = decode
        return found

    def learn(self, schema_id: int) -> Decode:
        """Ask the registry for an id, which takes a while, and return its decoder. Raises ``RegistryAwayError``."""
        until_s = self._clock() + REFUSED_FOR_S
        try:
            decode, until_s = decoder_of(self.registry.schema(schema_id), self._names), math.inf
        except MissingSchemaError as exc:
            decode = _refusing(
                UNKNOWN_SCHEMA,
                f"schema {schema_id}: {exc}; is schema_registry the one that its producer registers with? Register it "
                "there, then `rankstream redrive`",
            )
        except UnusableSchemaError as exc:
            decode = _refusing(UNUSABLE_SCHEMA, f"no value is decoded by schema {schema_id}: {exc}")
        self._decoders[schema_id] = decode, until_s
        while len(self._decoders) > self._cached:
            self._decoders.popitem(last=False)
        return decode

    def read(self, records: Sequence[Record]) -> Sequence[Record]:
        """Return records with JSON for values. Raises ``RegistryAwayError``."""
        ids = schema_ids_of(records)
        if not ids:
            return records
        decoders = self.known(ids)
        for one in ids - decoders.keys():
            decoders[one] = self.learn(one)
        return self.unframed(records, decoders)

    def unframed(self, records: Sequence[Record], decoders: Mapping[int, Decode]) -> list[Record]:
        """Return records with JSON for values; the decoders are those of all their ids."""
        found = records.all_headed() if isinstance(records, RecordColumns) else records
        return [self._unframed(one, decoders) for one in found]

    def _unframed(self, record: Record, decoders: Mapping[int, Decode]) -> Record:
        value = record.value
        schema_id = schema_id_of(value)
        if value is None or schema_id is None or len(value) > self._max_bytes:
            return record  # what is too large is refused for that
        try:
            found = json_of(decoders[schema_id](value))
        except Rejected as exc:
            found = unread(str(exc), exc.reason)
        except Exception:  # a bug that one value ran into: it must not end this worker and each of its heirs
            found = unread(traceback.format_exc()[-TRACEBACK_CHARS:], INTERNAL)
        at = record.topic, record.partition, record.offset, record.timestamp, record.key
        return Unframed(*at, found, value, getattr(record, "headers", ()), epoch_of(record))


def open_reader(settings: Settings, topic: Topic) -> SchemaReader | None:
    """Return what reads framed values of a topic; None where they are not expected. Raises ``SettingsError``."""
    if not settings.schema_registry:
        return None
    kind = settings.value_format.upper()
    library = LIBRARIES.get(kind)
    if library is not None and _is_missing(library):
        raise SettingsError(
            f"value_format is {settings.value_format}, which {library} decodes, and it is not installed: pip install "
            f"'rankstream[{settings.value_format}]'"
        )
    return SchemaReader(Registry(settings), topic)


def schema_ids_of(records: Sequence[Record]) -> set[int]:
    """Return the ids of the schemas that these records are framed with."""
    if isinstance(records, RecordColumns):
        return _ids_in(records)
    return {found for one in records if (found := schema_id_of(one.value)) is not None}


def _ids_in(columns: RecordColumns) -> set[int]:
    """Return the same of columns, whose values are looked at where they lie."""
    begins, ends = columns.spans[:, 2], columns.spans[:, 3]
    long_enough = (begins != NULL) & (ends - begins >= HEAD.size)
    data = np.frombuffer(columns.data, np.uint8)
    at = begins[long_enough]
    framed = at[data[at] == MAGIC]
    return {HEAD.unpack_from(columns.data, int(one))[1] for one in framed}


def json_of(row: Any) -> bytes:
    """Return the fields of a value as JSON. Raises ``Rejected`` for a number that JSON has not."""
    if isinstance(row, bytes):
        return row  # JSON behind a frame
    if not _is_finite(row):
        raise Rejected(UNDECODABLE, "it holds a number that is not finite (NaN or infinite): leave the field out")
    try:
        return _encode(row)
    except (ValueError, TypeError, *UNREADABLE) as exc:
        raise Rejected(UNDECODABLE, f"it holds what JSON has not: {exc}") from None


def _is_finite(value: Any) -> bool:
    kind = type(value)
    if kind is float:
        return math.isfinite(value)
    if kind is dict:
        return all(map(_is_finite, value.values()))
    return all(map(_is_finite, value)) if kind is list and value and type(value[0]) in (float, dict, list) else True


def decoder_of(schema: Schema, names: Collection[str]) -> Decode:
    """Return what decodes by a schema. Raises ``UnusableSchemaError``."""
    try:
        if schema.kind == AVRO:
            references = [_parsed(text) for text in schema.references.values()]
            return AvroDecoder(_parsed(schema.text), references, names)
        if schema.kind == PROTOBUF:
            return ProtobufDecoder(schema.text, schema.references, names)
    except ImportError as exc:
        extra = schema.kind.lower()
        raise UnusableSchemaError(f"it is of {schema.kind}, and {exc}: pip install 'rankstream[{extra}]'") from None
    except RecursionError:
        raise UnusableSchemaError("it is nested too deep") from None
    if schema.kind == JSON:
        return payload_of
    raise UnusableSchemaError(f"it is of {schema.kind[:40]!r}, and workers read Avro, Protobuf and JSON")


def _parsed(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except UNREADABLE as exc:
        raise UnusableSchemaError(f"it is not JSON: {exc}") from None


def _refusing(reason: str, message: str) -> Decode:
    def refuse(value: bytes) -> Any:
        raise Rejected(reason, message)

    return refuse


def _is_missing(library: str) -> bool:
    try:
        return find_spec(library) is None
    except ModuleNotFoundError:
        return True
