import pytest

from rankstream.events.action_event import Rejected
from rankstream.streams.framed.avro_bounds import UnusableSchemaError
from rankstream.streams.framed.protobuf import ProtobufDecoder
from tests.builders.actions import MORNING_MS
from tests.builders.registry import a_proto_file, an_action_message, framed, serialized

pytest.importorskip("google.protobuf", reason="protobuf is not installed: pip install 'rankstream[protobuf]'")
NAMES = {"user_id", "item_id", "action", "timestamp_ms", "value"}
SECOND = b"\x02\x02"  # one index follows: 1
AT = {"seconds": MORNING_MS // 1000, "nanos": 7_900_000}


def decode(payload: bytes) -> dict[str, object]:
    return ProtobufDecoder(serialized(a_proto_file()), {}, NAMES)(framed(7, payload))


def test_fields_come_by_name_and_what_is_not_on_the_wire_is_absent():
    message = an_action_message(user_id="u1", item_id=9, action="save", timestamp_ms=AT, value={"value": 0.0}, note="x")
    expected = {"user_id": "u1", "item_id": 9, "action": "save", "timestamp_ms": MORNING_MS + 7, "value": 0.0}
    assert decode(SECOND + message.SerializeToString()) == expected
    assert decode(SECOND + an_action_message(user_id="u1").SerializeToString()) == {"user_id": "u1"}


def test_no_index_stands_for_the_first_message_of_the_file():
    assert decode(b"\x00" + an_action_message(user_id="u1").SerializeToString()) == {}  # Other has no fields


@pytest.mark.parametrize(
    ("payload", "told"),
    [
        (b"", "ends before"),
        (b"\xff" * 11, "ends before"),
        (b"\x02", "ends before"),
        (b"\x01", "at level -1"),
        (b"\x80\x08", "at level 512"),
        (b"\x02\x08", r"no message at \[4\]"),
        (b"\x04\x02\x02", r"no message at \[1, 1\]"),
        (SECOND + b"\x0a\x09u", "does not decode"),
    ],
)
def test_what_does_not_decode_is_rejected_and_says_why(payload, told):
    with pytest.raises(Rejected, match=told) as caught:
        decode(payload)
    assert caught.value.reason == "undecodable"


def test_a_registry_that_hands_out_the_text_of_a_proto_is_named_as_the_cause():
    with pytest.raises(UnusableSchemaError, match="format=serialized"):
        ProtobufDecoder('syntax = "proto3";', {}, NAMES)


def test_a_file_that_imports_what_there_is_not_is_refused():
    file = a_proto_file()
    file.dependency.append("shop/other.proto")
    with pytest.raises(UnusableSchemaError, match="not whole"):
        ProtobufDecoder(serialized(file), {}, NAMES)


def test_what_it_imports_comes_from_the_registry_under_the_name_it_is_imported_by():
    from google.protobuf import descriptor_pb2

    file = a_proto_file()
    file.dependency.append("shop/other.proto")
    other = descriptor_pb2.FileDescriptorProto(name="written/elsewhere.proto", package="else")
    decoder = ProtobufDecoder(serialized(file), {"shop/other.proto": serialized(other)}, NAMES)
    assert decoder(framed(7, SECOND)) == {}
