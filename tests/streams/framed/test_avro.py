import json
from typing import Any
from uuid import UUID

import pytest

from rankstream.events.action_event import Rejected
from rankstream.streams.framed.avro import AvroDecoder
from rankstream.streams.framed.avro_bounds import UnusableSchemaError
from tests.builders.actions import MORNING_MS
from tests.builders.registry import ACTION, avro, framed

pytest.importorskip("fastavro", reason="fastavro is not installed: pip install 'rankstream[avro]'")
NAMES = {one["name"] for one in ACTION["fields"]}
MICROS = {"type": "long", "logicalType": "timestamp-micros"}
HEX = "00112233445566778899aabbccddeeff"


def a_schema(**fields: Any) -> dict[str, Any]:
    named = [{"name": name, "type": of_type} for name, of_type in fields.items()]
    return {"type": "record", "name": "Row", "fields": named}


def decoded(row: dict[str, Any], schema: Any = ACTION, names: set[str] = NAMES) -> dict[str, Any]:
    return AvroDecoder(schema, (), names)(avro(7, row, schema))


def test_fields_come_by_name_and_a_time_as_the_number_that_was_sent():
    row = {"user_id": 7, "action": "save", "timestamp_ms": MORNING_MS, "value": 2.5}
    assert decoded(row) == row  # without those that are null


def test_a_time_in_microseconds_is_one_in_milliseconds_nullable_or_not():
    schema = a_schema(timestamp_ms=["null", MICROS])
    assert decoded({"timestamp_ms": MORNING_MS * 1000 + 999}, schema) == {"timestamp_ms": MORNING_MS}


@pytest.mark.parametrize("logical", ["of-tomorrow", [], {"a": 1}, None])
def test_a_logical_type_that_nobody_knows_is_passed_over(logical):
    schema = a_schema(timestamp_ms={"type": "long", "logicalType": logical})
    assert decoded({"timestamp_ms": 5}, schema) == {"timestamp_ms": 5}


@pytest.mark.parametrize("of_type", [{"type": "string", "logicalType": "uuid"}, "string"])
def test_a_uuid_of_text_is_the_text_that_was_sent(of_type):
    assert decoded({"user_id": "AB-c"}, a_schema(user_id=of_type)) == {"user_id": "AB-c"}


def test_a_uuid_of_16_bytes_is_its_text_in_a_list_too():
    uuid = {"type": "fixed", "name": "U", "size": 16, "logicalType": "uuid"}
    raw = UUID(HEX).bytes
    schema = a_schema(user_id=["null", uuid], candidates={"type": "array", "items": "U"})
    found = decoded({"user_id": raw, "candidates": [raw]}, schema, {"user_id", "candidates"})
    assert found == {"user_id": str(UUID(HEX)), "candidates": [str(UUID(HEX))]}


def test_what_the_topic_has_no_field_for_is_skipped_whatever_it_is():
    lines = {"type": "array", "items": {"type": "record", "name": "Line", "fields": [{"name": "n", "type": "bytes"}]}}
    schema = a_schema(lines=lines, user_id="string", other=["null", "Line"])
    assert decoded({"lines": [{"n": b"x"}] * 3, "user_id": "u", "other": {"n": b""}}, schema) == {"user_id": "u"}


def test_types_of_another_schema_are_found_in_what_it_refers_to():
    reference = {"type": "fixed", "name": "Id", "namespace": "shop", "size": 16, "logicalType": "uuid"}
    schema = a_schema(user_id="shop.Id")
    decode = AvroDecoder(schema, [reference], NAMES)
    assert decode(framed(7, UUID(HEX).bytes)) == {"user_id": str(UUID(HEX))}


@pytest.mark.parametrize("items", ["boolean", "float", {"type": "fixed", "name": "F", "size": 3}])
@pytest.mark.parametrize("kind", ["array", "map"])
def test_a_count_of_more_items_than_there_are_bytes_ends_where_the_bytes_end(kind, items):
    many = b"\x80" * 8 + b"\x10"  # 2**59
    schema = a_schema(skipped={"type": kind, "items": items, "values": items}, user_id="string")
    with pytest.raises(Rejected, match="EOFError"):
        AvroDecoder(schema, (), NAMES)(framed(7, many + bytes(30)))


@pytest.mark.parametrize(
    ("payload", "told"),
    [
        (b"", "EOFError"),
        (b"\x04u", "EOFError"),
        (b"\xff" * 9 + b"\x01", "EOFError"),
        (b"\x04\xff\xfe", "UnicodeDecodeError"),
        (b"\x02u\x00", "1 bytes are left behind"),
    ],
)
def test_what_does_not_decode_is_rejected_and_says_why(payload, told):
    with pytest.raises(Rejected, match=told) as caught:
        AvroDecoder(a_schema(user_id="string"), (), NAMES)(framed(7, payload))
    assert caught.value.reason == "undecodable"


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ("string", "no record"),
        (["null"], "no record"),
        (a_schema(user_id="Nowhere"), "'Nowhere' is defined nowhere"),
        (a_schema(user_id="bytes"), "make it a string"),
        (a_schema(timestamp_ms={"type": "long", "logicalType": "local-timestamp-millis"}), "timestamp-millis"),
        (a_schema(user_id={"type": "enum", "name": "E"}), "no schema of Avro"),
        ({"type": "record", "fields": []}, "without a name"),
        ({"type": "record", "name": "R", "fields": [7]}, "no list of fields"),
    ],
)
def test_a_schema_that_no_value_is_decoded_by_says_why(schema, told):
    with pytest.raises(UnusableSchemaError, match=told):
        AvroDecoder(json.loads(json.dumps(schema)), (), NAMES)
