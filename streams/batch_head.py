"""The head of a record batch (format 2): what it says, and the checksum of what follows. Knows no numba.

::

    base offset 8 | length 4 | epoch 4 | magic 1 | CRC 4 | attributes 2 | last delta 4 | first ms 8 | newest ms 8 | ...
    producer id 8 | producer epoch 2 | base sequence 4 | count 4 | records

The checksum is CRC-32C of all from the attributes on. The one of the package ``crc32c`` uses the processor's own
instruction: 0.04 ms a megabyte, where aiokafka's takes 0.6.
"""

import struct
from dataclasses import dataclass

from crc32c import crc32c

HEAD = struct.Struct(">qiibIhiqqqhii")
CRC = struct.Struct(">I")
PRODUCER = struct.Struct(">qhi")
SIZE_AT, SIZE_BYTES = 8, 12  # where a batch says how long the rest of it is; from where that counts
MAGIC_AT, CRC_AT, SUMMED_FROM, PRODUCER_AT = 16, 17, 21, 43
MAGIC = 2
CODEC, LOG_APPEND_TIME, TRANSACTIONAL = 7, 8, 16  # of the attributes
NOBODY = (-1, -1, 0)  # instead of a producer's id, its epoch and the number of the first record


@dataclass(frozen=True)
class BatchHead:
    """What is needed of the head of a batch."""

    base_offset: int
    magic: int
    codec: int  # 0: not compressed
    first_ms: int
    appended_ms: int  # of all records; -1: each has its own time
    count: int


def read_head(data: bytes, at: int) -> BatchHead:
    """Return the head of the batch that begins at ``at``."""
    base, _, _, magic, _, attributes, _, first_ms, max_ms, _, _, _, count = HEAD.unpack_from(data, at)
    appended_ms = max_ms if attributes & LOG_APPEND_TIME else -1
    return BatchHead(base, magic, attributes & CODEC, first_ms, appended_ms, count)


def is_sound(data: bytes, begin: int, end: int) -> bool:
    """Return whether a batch's checksum is that of its bytes."""
    (told,) = CRC.unpack_from(data, begin + CRC_AT)
    return bool(crc32c(memoryview(data)[begin + SUMMED_FROM : end]) == told)


def put_head(batch: bytearray, count: int, now_ms: int, transactional: bool) -> None:
    """Write the head of an uncompressed batch of that many records, all of one time; without its checksum."""
    attributes = TRANSACTIONAL if transactional else 0
    size = len(batch) - SIZE_BYTES
    HEAD.pack_into(batch, 0, 0, size, -1, MAGIC, 0, attributes, count - 1, now_ms, now_ms, *NOBODY, count)


def put_checksum(batch: bytearray) -> None:
    """Write the checksum of a batch that is whole otherwise."""
    CRC.pack_into(batch, CRC_AT, crc32c(memoryview(batch)[SUMMED_FROM:]))
