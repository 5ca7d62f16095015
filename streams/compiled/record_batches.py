"""Record batches of Kafka (format 2) -> columns: no object a record. What is damaged, or unusual, is refused whole.

::

    batch:   head (``../batch_head.py``) | record | record | ...
    record:  length | attributes 1 | time delta | offset delta | key | value | headers       (varints)
"""

import numpy as np
from numba import int64

from rankstream.streams.batch_head import BatchHead
from rankstream.streams.columns import NULL, RecordColumns
from rankstream.streams.compiled.integers import varint
from rankstream.streams.compiled.jit import INT, INT_ROWS, INTS, READ_ONLY, inlined, kernel

MIN_RECORD_BYTES = 7


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
        spans[k, 4] = stop
        if at != stop:
            return False
    return at == end


def read_batch(topic: str, partition: int, head: BatchHead, data: bytes, begin: int, end: int) -> RecordColumns | None:
    """Return the records that lie from ``begin`` to ``end``, uncompressed; None if they are not read here."""
    if not 0 < head.count <= (end - begin) // MIN_RECORD_BYTES:
        return None
    offsets, times_ms = np.empty(head.count, np.int64), np.empty(head.count, np.int64)
    spans = np.empty((head.count, 5), np.int64)
    about = head.base_offset, head.first_ms, head.appended_ms, offsets, times_ms, spans
    if not read_records(np.frombuffer(data, np.uint8), begin, end, *about):
        return None
    return RecordColumns(topic, partition, data, offsets, times_ms, spans)
