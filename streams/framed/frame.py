"""The frame around a value: what serializers of a Confluent-compatible registry put before it.

::

    0 | id of the schema, 4 bytes, big-endian | Avro
    0 | id of the schema, 4 bytes, big-endian | which message of the .proto: varints | Protobuf
    0 | id of the schema, 4 bytes, big-endian | JSON

No JSON begins with byte 0, so the first byte of each record says which it is, and a topic may hold both.
"""

import struct

from rankstream.events.action_event import NO_JSON, Rejected

MAGIC = NO_JSON[0]
HEAD = struct.Struct(">BI")
MAX_NESTING = 32  # of a message in others
MAX_SHIFT = 63
UNDECODABLE = "undecodable"  # the reason of what does not decode by its schema


def schema_id_of(value: bytes | None) -> int | None:
    """Return the id in front of a framed value; None for JSON, and for what is neither."""
    if value is None or len(value) < HEAD.size or value[0] != MAGIC:
        return None
    schema_id: int = HEAD.unpack_from(value)[1]
    return schema_id


def payload_of(value: bytes) -> bytes:
    """Return what stands behind the id."""
    return value[HEAD.size :]


def message_path(payload: bytes) -> tuple[tuple[int, ...], bytes]:
    """Return which message of a .proto file it is, by index at each level, and the message. Raises ``Rejected``."""
    count, at = _varint(payload, 0)
    if not 0 <= count <= MAX_NESTING:
        raise Rejected(UNDECODABLE, f"the value names a message at level {count} of its .proto; is it Protobuf?")
    path = []
    for _ in range(count):
        index, at = _varint(payload, at)
        path.append(index)
    return tuple(path) or (0,), payload[at:]  # none at all stands for the first message


def _varint(payload: bytes, at: int) -> tuple[int, int]:
    """Return a signed number of variable length (zigzag), and where it ends. Raises ``Rejected``."""
    value = shift = 0
    while at < len(payload) and shift <= MAX_SHIFT:
        byte = payload[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return (value >> 1) ^ -(value & 1), at
    raise Rejected(UNDECODABLE, "the value ends before it says which message of its .proto it is; is it Protobuf?")
