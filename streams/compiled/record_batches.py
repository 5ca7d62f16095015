"""Record batches of Kafka (format 2) -> columns: no object a record. What is damaged, or unusual, is refused whole.

::

    batch:   base offset 8 | length 4 | epoch 4 | magic 1 | CRC 4 | attributes 2 | last delta 4 | first ms 8 | ...
    record:  length | attributes 1 | time delta | offset delta | key | value | headers       (varints)
"""

import struct
from dataclasses import dataclass

import numpy as np
from numba import int64

from rankstream.streams.columns import NULL, RecordColumns
from rankstream.streams.compiled.integers import varint
from rankstream.streams.compiled.jit import INT, INT_ROWS, INTS, READ_ONLY, inlined, kernel

HEAD = struct.Struct(">qiibIhiqqqhii")
SIZE_AT, SIZE_BYTES = 8, 12  # where a batch says how long the rest of it is; from where that counts
MAGIC = 2
CODEC, LOG_APPEND_TIME = 7, 8  # of the attributes
MIN_RECORD_BYTES = 7


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


@inlined
def _skip_headers(data, at, end):
    """Return where a record's headers end; -1 if they are damaged, or have names that are not ASCII."""
    count, at = varint(data, at, end)
    if at < 0 or count < 0:
        return -1
    for _ in range(count):
        size, at = varint(data, at, end)
        if at < 0 or size < 0 or size > end - at:
            return -1
        for k in range(size):
            if data[at + k] > 127:
                return -1
        size, at = varint(data, at + size, end)
        if at < 0 or size > end - at:
            return -1
        at += max(size, int64(0))
    return at


@inlined
def _skip_bytes(data, at, end, span, column):
    """Note where a key or a value lies; return where it ends, -1 if it is damaged."""
    size, at = varint(data, at, end)
    if at < 0 or size > end - at:
        return -1
    span[column] = at if size >= 0 else NULL
    at += max(size, int64(0))
    span[column + 1] = at
    return at


@kernel(READ_ONLY, INT, INT, INT, INT, INT, INTS, INTS, INT_ROWS)
def read_records(data, at, end, base_offset, first_ms, appended_ms, offsets, times_ms, spans):
    """Set offset, time and place of each record ``(n,)``; return whether they are whole, and all there is."""
    for k in range(len(offsets)):
        size, at = varint(data, at, end)
        if at < 0 or size < MIN_RECORD_BYTES - 1 or size > end - at:
            return False
        stop = at + size
        if data[at] != 0:  # attributes, of which none is known
            return False
        delta, at = varint(data, at + 1, stop)
        times_ms[k] = first_ms + delta if appended_ms < 0 else appended_ms
        if at < 0:
            return False
        delta, at = varint(data, at, stop)
        offsets[k] = base_offset + delta
        if at < 0 or (k > 0 and offsets[k] <= offsets[k - 1]):
            return False
        at = _skip_bytes(data, at, stop, spans[k], 0)
        if at >= 0:
            at = _skip_bytes(data, at, stop, spans[k], 2)
        if at >= 0:
            at = _skip_headers(data, at, stop)
        if at != stop:
            return False
    return at == end


def read_batch(topic: str, partition: int, head: BatchHead, data: bytes, begin: int, end: int) -> RecordColumns | None:
    """Return the records that lie from ``begin`` to ``end``, uncompressed; None if they are not read here."""
    if not 0 < head.count <= (end - begin) // MIN_RECORD_BYTES:
        return None
    offsets, times_ms = np.empty(head.count, np.int64), np.empty(head.count, np.int64)
    spans = np.empty((head.count, 4), np.int64)
    about = head.base_offset, head.first_ms, head.appended_ms, offsets, times_ms, spans
    if not read_records(np.frombuffer(data, np.uint8), begin, end, *about):
        return None
    return RecordColumns(topic, partition, data, offsets, times_ms, spans)
