"""A header's name of any bytes, as producers in Go or C may send it, costs neither its record nor those beside it."""

import gzip

import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c
from aiokafka.structs import TopicPartition
from kafka.record.memory_records import MemoryRecords

from rankstream.streams.header_names import read_any_names
from rankstream.streams.worker.unpacking import BoundedPartitionRecords, LedRecords, bound_unpacking

TP = TopicPartition("user-actions", 3)
VALUES = [b"a", b"b", b"c"]
NAME = b"caf\xe9"  # in Latin-1
HEAD_BYTES = 61


def a_batch(kind: str) -> bytes:
    """Three records, of which the second one has that name."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 20)
    for number, value in enumerate(VALUES):
        builder.append(number, timestamp=5, key=b"u1", value=value, headers=[("cafe", b"x")] * (number == 1))
    raw = bytearray(bytes(builder.build()).replace(b"cafe", NAME))
    if kind == "gzip":
        raw[HEAD_BYTES:] = gzip.compress(bytes(raw[HEAD_BYTES:]))
        raw[22] |= 1
        raw[8:12] = (len(raw) - 12).to_bytes(4, "big")
    raw[17:21] = calc_crc32c(bytes(raw[21:])).to_bytes(4, "big")
    return bytes(raw)


@pytest.mark.parametrize("kind", ["none", "gzip"])
def test_a_worker_reads_the_whole_batch(kind: str):
    bound_unpacking()
    records = list(BoundedPartitionRecords(TP, LedRecords(a_batch(kind)), [], 0, None, None, True, 1))
    assert [record.value for record in records] == VALUES
    assert [list(record.headers) for record in records] == [[], [("caf�", b"x")], []]


@pytest.mark.parametrize("kind", ["none", "gzip"])
def test_so_does_a_client_of_kafka_python(kind: str):
    read_any_names()
    (batch,) = MemoryRecords(a_batch(kind))
    records = list(batch)
    assert [record.value for record in records] == VALUES
    assert records[1].headers == [("caf�", b"x")]


def test_a_batch_that_is_damaged_besides_is_a_letter_and_does_not_end_the_process():
    """A length that leads out of the batch: aiokafka's compiled reader of numbers follows it."""
    bound_unpacking()
    raw = bytearray(a_batch("none"))
    raw[raw.index(NAME) - 1] = 0x7E  # the name's length, now beyond the record
    raw[17:21] = calc_crc32c(bytes(raw[21:])).to_bytes(4, "big")
    records = list(BoundedPartitionRecords(TP, LedRecords(bytes(raw)), [], 0, None, None, True, 1))
    assert (records[0].value, getattr(records[-1].value, "reason", None)) == (b"a", "damaged-batch")
