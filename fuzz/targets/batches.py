"""Batches of records as a broker hands them on, packed by each codec; the checksum is set right again for most."""

from collections.abc import Sequence
from zlib import crc32

from aiokafka.errors import KafkaError
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from aiokafka.record.util import calc_crc32c
from aiokafka.structs import TopicPartition

from fuzz.law import Target
from rankstream.streams.worker import unpacking
from rankstream.streams.worker.unpacking import BoundedPartitionRecords, LedRecords, bound_unpacking
from tests.builders.actions import a_pipeline

KINDS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
TP = TopicPartition("user-actions", 0)
CRC, BEHIND_CRC = slice(17, 21), 21  # in a batch of today's format (KIP-98)
MAGIC = 16
MOST_BYTES = 4 << 20  # that a batch may unpack to here: a damaged one is tried up to that


def a_batch(kind: int, values: Sequence[bytes]) -> bytes:
    """Return a batch of today's format."""
    builder = DefaultRecordBatchBuilder(2, kind, 0, -1, -1, -1, 1 << 20)
    for number, value in enumerate(values):
        builder.append(number, timestamp=5, key=b"u1", value=value, headers=[("source", b"x")])
    return bytes(builder.build())


def an_old_batch(kind: int, values: Sequence[bytes]) -> bytes:
    """Return a batch of the format before."""
    builder = LegacyRecordBatchBuilder(1, kind, 1 << 20)
    for number, value in enumerate(values):
        builder.append(number, timestamp=5, key=b"u1", value=value)
    return bytes(builder.build())


def _sealed(data: bytes) -> bytes:
    """Return a batch with the checksum that fits it, and the length, so that decoding goes on behind them."""
    if len(data) <= BEHIND_CRC or data[MAGIC] != 2 or crc32(data) % 8 == 0:
        return data
    raw = bytearray(data)
    raw[8:12] = (len(raw) - 12).to_bytes(4, "big")
    raw[CRC] = calc_crc32c(bytes(raw[BEHIND_CRC:])).to_bytes(4, "big")
    return bytes(raw)


def _batch(data: bytes) -> None:
    """Each batch comes whole, or a record that says why not stands for what of it can't be read."""
    records = list(BoundedPartitionRecords(TP, LedRecords(_sealed(data)), [], 0, None, None, True, 1))
    a_pipeline().on_actions(records)


def targets() -> list[Target]:
    """Return the targets."""
    bound_unpacking()
    unpacking.UNPACKED_BYTES = MOST_BYTES
    values = [b'{"user_id":"u1","item_id":"a"}' * 3, b"", b"x" * 90]
    old = [an_old_batch(kind, values) for kind in (0, 1, 2, 3)]
    return [
        *(Target(f"batch-{name}", [a_batch(kind, values)], _batch, (KafkaError,)) for name, kind in KINDS.items()),
        Target("batch-old", old, _batch, (KafkaError,)),
    ]
