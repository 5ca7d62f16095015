"""Values framed with the id of a registered schema, and the schemas themselves: whoever may register is not trusted.

An input is a line that the schema is in, where that is changed too, and the value behind it.
"""

import json
from decimal import Decimal
from typing import Any

from fuzz.law import Target
from rankstream.events.action_event import Rejected
from rankstream.streams import topics
from rankstream.streams.avro_schemas import avro_schema_of
from rankstream.streams.framed.avro import AvroDecoder
from rankstream.streams.framed.avro_bounds import UnusableSchemaError
from rankstream.streams.framed.frame import payload_of
from rankstream.streams.framed.protobuf import ProtobufDecoder
from rankstream.streams.framed.reader import decoder_of, json_of
from rankstream.streams.framed.registry import AVRO, PROTOBUF, Schema
from tests.builders.actions import MORNING_MS
from tests.builders.registry import ACTION, REQUEST, a_proto_file, an_action_message, avro, framed, serialized

LINE = {"type": "record", "name": "Line", "fields": [{"name": "sku", "type": "boolean"}, {"name": "n", "type": "null"}]}
ORDER = {
    "type": "record",
    "name": "Order",
    "fields": [
        {"name": "lines", "type": {"type": "array", "items": LINE}},
        {"name": "request_id", "type": {"type": "fixed", "name": "U", "size": 16, "logicalType": "uuid"}},
        {"name": "user_id", "type": ["string", "long", "null"]},
        {"name": "candidates", "type": {"type": "array", "items": ["long", "U", "string"]}},
        {"name": "timestamp_ms", "type": ["null", {"type": "long", "logicalType": "timestamp-micros"}]},
        {"name": "filters", "type": ["null", {"type": "map", "values": ["double", "null"]}]},
        {"name": "again", "type": ["null", "Line", {"type": "map", "values": "Line"}]},
        {"name": "top_k", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
    ],
}
ORDERED = {
    "lines": [{"sku": True, "n": None}] * 3, "request_id": bytes(range(16)), "user_id": 7,
    "candidates": [9, "a", bytes(16)], "timestamp_ms": MORNING_MS * 1000, "filters": {"price_min": 1.5, "b": None},
    "again": {"a": {"sku": False}}, "top_k": Decimal("3.50"),
}  # fmt: skip
ACTED = {"user_id": "u1", "item_id": 5, "action": "view", "timestamp_ms": MORNING_MS, "value": 2.5}
ASKED = {"request_id": "r1", "user_id": "u1", "limit": None, "candidates": ["a", 9]}
NAMES = {one["name"] for topic in (topics.ACTIONS, topics.REQUESTS) for one in avro_schema_of(topic)["fields"]}
SECOND = b"\x02\x02"  # of the messages of the file


def _is_json(decode: Any, payload: bytes) -> None:
    """Whatever is decoded is a JSON object of the topic's fields."""
    found = json.loads(json_of(decode(framed(7, payload))))
    if not isinstance(found, dict) or not found.keys() <= NAMES:
        raise AssertionError(f"decoded into {str(found)[:80]}")


def _of_avro(data: bytes) -> None:
    _is_json(ORDERS, data)


def _of_protobuf(data: bytes) -> None:
    _is_json(MESSAGES, data)


def _by_schema(kind: str, data: bytes) -> None:
    text, _, payload = data.partition(b"\n")
    _is_json(decoder_of(Schema(kind, text.decode(errors="replace")), NAMES), payload)


def _by_avro_schema(data: bytes) -> None:
    _by_schema(AVRO, data)


def _by_protobuf_schema(data: bytes) -> None:
    _by_schema(PROTOBUF, data)


def _with(schema: Any, row: Any) -> bytes:
    return json.dumps(schema).encode() + b"\n" + payload_of(avro(7, row, schema))


ORDERS = AvroDecoder(ORDER, (), NAMES)
MESSAGES = ProtobufDecoder(serialized(a_proto_file()), {}, NAMES)


def targets() -> list[Target]:
    """Return the targets."""
    at = {"seconds": MORNING_MS // 1000}
    fields = {"user_id": "u1", "item_id": 5, "action": "save", "timestamp_ms": at, "value": {"value": 2.5}, "note": "n"}
    message = SECOND + an_action_message(**fields).SerializeToString()
    schemas = [_with(ACTION, ACTED), _with(REQUEST, ASKED), _with(ORDER, ORDERED)]
    return [
        Target("avro", [payload_of(avro(7, ORDERED, ORDER))], _of_avro, (Rejected,)),
        Target("avro-schema", schemas, _by_avro_schema, (Rejected, UnusableSchemaError)),
        Target("protobuf", [message], _of_protobuf, (Rejected,)),
        Target(
            "protobuf-schema",
            [serialized(a_proto_file()).encode() + b"\n" + message],
            _by_protobuf_schema,
            (Rejected, UnusableSchemaError),
        ),
    ]
