"""How much memory a fetch may take, whatever it unpacks to: bounds that aiokafka does not have.

A batch is unpacked as a whole. Brokers bound what it takes packed, at 4 MB say, and 400 KB of gzip may unpack to
400 MB: one batch could end this worker and each of its heirs. One that is larger than it should be, or that can't be
read though its checksum holds, is passed over: a record without a key stands for it, whose value says so and becomes a
dead letter. And of what was fetched no more is handed on at once than some megabytes.

Beside it stands which leader wrote what was fetched: its epoch, in the head of each batch, which aiokafka reads over.

Names of aiokafka used here are not public: it is pinned.
"""

import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from aiokafka import codec
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException, KafkaError
from aiokafka.record.default_records import DefaultRecord, DefaultRecordBatch
from aiokafka.record.memory_records import MemoryRecords

from rankstream.events.action_event import DAMAGED_BATCH, NO_EPOCH, TOO_LARGE, unread
from rankstream.streams.batch_head import MAGIC_AT, SIZE_AT, SIZE_BYTES
from rankstream.streams.columns import in_one
from rankstream.streams.header_names import PlainBatch

UNPACKED_BYTES = 64 << 20  # of a batch; producers make them of a megabyte or so
TAKEN_BYTES = 16 << 20  # handed on at once, of one partition
FIRST_RATIO = 16  # by which a batch is expected to grow; JSON grows about tenfold
GZIP = 31  # zlib's window bits for gzip
NO_EPOCHS = NO_EPOCH, NO_EPOCH
EPOCH_AT = slice(12, 16)  # in the head of a batch; before format 2 there was no epoch


class UnpackedTooLargeError(Exception):
    """A batch that unpacks to more than ``UNPACKED_BYTES``, or can't be unpacked at all."""


def unpack_gzip(packed: bytes) -> bytes:
    """Unpack gzip, of one member or several. Raises ``UnpackedTooLargeError``."""
    parts: list[bytes] = []
    rest, room = bytes(packed), UNPACKED_BYTES
    while rest:
        member = zlib.decompressobj(GZIP)
        parts.append(member.decompress(rest, room))
        room -= len(parts[-1])
        if not member.eof or room <= 0:
            raise UnpackedTooLargeError
        rest = member.unused_data
    return b"".join(parts)


def unpack_into(unpack: Callable[[bytes, bytearray], int], packed: bytes) -> bytes:
    """Unpack by a function that fills a buffer and raises where it is too small. Raises ``UnpackedTooLargeError``."""
    size = min(UNPACKED_BYTES, max(1 << 16, FIRST_RATIO * len(packed)))
    while True:
        room = bytearray(size)
        try:
            return bytes(memoryview(room)[: unpack(packed, room)])
        except Exception as exc:  # cramjam's own, for a buffer too small and for damage alike
            if size >= UNPACKED_BYTES:
                raise UnpackedTooLargeError from exc
        size = min(UNPACKED_BYTES, 8 * size)


class BoundedBatch:
    """A batch of aiokafka's; iterated it yields its records, or one that stands for all of them."""

    def __init__(self, batch: Any, data: bytes, begin: int, end: int) -> None:
        self._batch, self._data, self._begin, self._end = batch, data, begin, end

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __iter__(self) -> Iterator[Any]:
        last = -1  # offset of the last record that was read
        try:
            try:
                for record in self._batch:
                    yield record
                    last = record.offset
            except UnicodeDecodeError:  # in a header's name
                yield from (one for one in PlainBatch(self._data[self._begin : self._end]) if one.offset > last)
        except UnpackedTooLargeError:
            yield self._instead(
                f"unpacks to more than {UNPACKED_BYTES >> 20} MB, so it is passed over unread: let its producer make "
                "smaller ones"
            )
        except Exception as exc:  # of struct, zlib, cramjam and of the compiled reader, with no common type
            why = f"{type(exc).__name__}: {exc}"
            yield self._instead(
                f"can't be read on ({why}), so the rest is passed over: see to its producer", DAMAGED_BATCH
            )

    def __next__(self) -> Any:
        return next(self._batch)  # how aiokafka reads a transaction's marker

    def _instead(self, why: str, reason: str = TOO_LARGE) -> DefaultRecord:
        """Return a record at the last offset: reading may begin in the middle of the batch."""
        batch = self._batch
        last = batch.next_offset - 1
        value = unread(f"the batch of offsets {getattr(batch, 'base_offset', last)} to {last} {why}", reason)
        return DefaultRecord(last, batch.max_timestamp or -1, batch.timestamp_type or 0, None, value, [])


def leader_epoch_of(raw: bytes) -> int:
    """Return the epoch of the leader that wrote the first of these batches."""
    if len(raw) <= MAGIC_AT or raw[MAGIC_AT] < 2:
        return NO_EPOCH
    return int.from_bytes(raw[EPOCH_AT], "big", signed=True)


def newest_epoch_of(raw: bytes) -> int:
    """Return the newest epoch of the leaders that wrote these batches."""
    newest, at = NO_EPOCH, 0
    while at + MAGIC_AT < len(raw):
        newest = max(newest, leader_epoch_of(raw[at : at + MAGIC_AT + 1]))
        at += SIZE_BYTES + int.from_bytes(raw[at + SIZE_AT : at + SIZE_BYTES], "big")
    return newest


class LedRecords:
    """The batches of a fetch as aiokafka reads them, their bytes, and which leaders wrote the first and the newest."""

    def __init__(self, raw: bytes) -> None:
        records = MemoryRecords(raw)
        self.data = raw
        self.has_next, self.next_batch, self.size_in_bytes = records.has_next, records.next_batch, records.size_in_bytes
        self.leader_epoch, self.newest_epoch = leader_epoch_of(raw), newest_epoch_of(raw)


class BoundedRecords:
    """The batches of a fetch, each of them bounded."""

    def __init__(self, records: LedRecords) -> None:
        self._records, self._at = records, 0
        self.has_next = records.has_next

    def next_batch(self) -> BoundedBatch:
        """Return the next batch.

        Raises ``CorruptRecordException`` where it is too short to be one, or lies at offsets that no topic has: no
        checksum covers where it begins, and the next fetch begins where it ends.
        """
        begin, data = self._at, self._records.data
        self._at = begin + SIZE_BYTES + int.from_bytes(data[begin + SIZE_AT : begin + SIZE_BYTES], "big")
        try:
            batch = self._records.next_batch()
        except KafkaError:
            raise
        except Exception as exc:  # of the compiled reader: a batch that ends within its own head
            raise CorruptRecordException(f"a batch can't be read ({exc})") from exc
        first, following = getattr(batch, "base_offset", 0), batch.next_offset
        if not 0 <= first < following:  # the compiled reader's sums go round beyond 2**63 - 1
            raise CorruptRecordException(f"a batch is damaged: said to lie at offsets {first} to {following - 1}")
        return self._bounded(batch, begin, self._at)

    def _bounded(self, batch: Any, begin: int, end: int) -> BoundedBatch:
        """Return the batch that lies between these two in the bytes of the fetch."""
        return BoundedBatch(batch, self._records.data, begin, end)


class BoundedPartitionRecords(fetcher.PartitionRecords):  # type: ignore[misc]
    """aiokafka's records of a partition, of batches that are bounded."""

    def __init__(self, tp: Any, records: Any, *more: Any) -> None:
        super().__init__(tp, BoundedRecords(records), *more)
        self.leader_epoch: int = getattr(records, "leader_epoch", NO_EPOCH)
        self.newest_epoch: int = getattr(records, "newest_epoch", NO_EPOCH)

    def _contains_abort_marker(self, batch: Any) -> bool:
        """Return whether a transaction's marker says that it was aborted. Raises ``CorruptRecordException``."""
        try:
            return bool(super()._contains_abort_marker(batch))
        except KafkaError:
            raise
        except Exception as exc:
            raise CorruptRecordException(f"the marker of a transaction can't be read ({exc})") from exc


class BoundedFetchResult(fetcher.FetchResult):  # type: ignore[misc]
    """aiokafka's result of a fetch, which hands on no more than so many bytes at once."""

    _partition_records: Any

    @property
    def epochs(self) -> tuple[int, int]:
        """Return the epochs of the leaders that wrote what was fetched first, and the newest of it."""
        records = self._partition_records
        return NO_EPOCHS if records is None else (records.leader_epoch, records.newest_epoch)

    def getall(self, max_records: int | None = None) -> Sequence[Any]:
        """Return the next records; as aiokafka does, but for the bytes.

        Columns come a batch at a time and may be more than ``max_records``, which the fetcher takes for an error: who
        reads columns sets none.
        """
        if not self.check_assignment(self._topic_partition) or not self.has_more():
            return []
        taken: list[Any] = []
        room, with_headers = TAKEN_BYTES, getattr(self._partition_records, "with_headers", False)
        for record in self._partition_records:
            taken.append(record)
            room -= record.serialized_value_size
            if room <= 0 or (max_records is not None and len(taken) >= max_records):
                self._update_position()
                return in_one(taken, with_headers)
        self._update_position()
        self._partition_records = None
        return in_one(taken, with_headers)


def bound_unpacking() -> None:
    """Have aiokafka's consumers in this process keep to these bounds."""
    fetcher.MemoryRecords = LedRecords
    fetcher.PartitionRecords = BoundedPartitionRecords
    fetcher.FetchResult = BoundedFetchResult
    batches = sys.modules[DefaultRecordBatch.__module__]  # the compiled one, where there is one
    batches.gzip_decode = unpack_gzip  # type: ignore[attr-defined]
    if codec.has_lz4():
        batches.lz4_decode = partial(unpack_into, codec.cramjam.lz4.decompress_into)  # type: ignore[attr-defined]
    if codec.has_zstd():
        batches.zstd_decode = partial(unpack_into, codec.cramjam.zstd.decompress_into)  # type: ignore[attr-defined]
