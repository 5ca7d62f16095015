"""Fetched batches of actions handed on as columns: what lies in a batch is not made into an object a record.

aiokafka's own loop over batches stays, with its checksums, transactions and bounds; only what a batch yields is one
thing instead of many. A batch that is small, of an old format or damaged yields its records, as ever.

Names of aiokafka used here are not public: it is pinned.
"""

import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import DefaultRecordBatch

from rankstream.streams.batch_head import (
    HEAD,
    MAGIC,
    MAGIC_AT,
    BatchHead,
    is_sound,
    read_head,
)
from rankstream.streams.columns import AsColumns, RecordColumns
from rankstream.streams.compiled.record_batches import read_batch
from rankstream.streams.worker.unpacking import BoundedBatch, BoundedPartitionRecords, BoundedRecords, LedRecords

DECODERS = ("", "gzip_decode", "snappy_decode", "lz4_decode", "zstd_decode")  # by codec, as ``unpacking`` bounds them


class WholeBatch:
    """All records of a batch where aiokafka looks for one: with the offset of the last."""

    def __init__(self, columns: RecordColumns) -> None:
        self.columns = columns
        self.offset = int(columns.offsets[-1])


class ColumnBatch(BoundedBatch):
    """A batch; iterated it yields itself as a whole, where that can be."""

    def __init__(self, batch: Any, tp: Any, data: bytes, begin: int, end: int, least: int) -> None:
        super().__init__(batch, data, begin, end)
        self._tp, self._least = tp, least

    def __iter__(self) -> Iterator[Any]:
        columns = self._columns()
        return super().__iter__() if columns is None else iter([WholeBatch(columns)])

    def validate_crc(self) -> bool:
        """Return whether the batch is as it was written: as aiokafka's, in a tenth of its time."""
        return is_sound(self._data, self._begin, self._end) if self._is_known else bool(self._batch.validate_crc())

    @property
    def _is_known(self) -> bool:
        """Return whether it is long enough to have a head, of the format that is read here."""
        return self._end - self._begin >= HEAD.size and self._data[self._begin + MAGIC_AT] == MAGIC

    def _columns(self) -> RecordColumns | None:
        if not self._is_known:
            return None
        head = read_head(self._data, self._begin)
        if head.count < self._least:
            return None
        body = self._begin + HEAD.size
        if not head.codec:
            return read_batch(self._tp.topic, self._tp.partition, head, self._data, body, self._end)
        return self._unpacked(head, self._data[body : self._end])

    def _unpacked(self, head: BatchHead, packed: bytes) -> RecordColumns | None:
        with suppress(Exception):  # the plain way meets it again, and says what it is
            unpack = getattr(sys.modules[DefaultRecordBatch.__module__], DECODERS[head.codec])
            data = bytes(unpack(packed))
            return read_batch(self._tp.topic, self._tp.partition, head, data, 0, len(data))
        return None


class ColumnRecords(BoundedRecords):
    """The batches of a fetch, each of which knows where it lies."""

    def __init__(self, tp: Any, records: LedRecords, least: int) -> None:
        super().__init__(records)
        self._tp, self._least = tp, least

    def _bounded(self, batch: Any, begin: int, end: int) -> BoundedBatch:
        return ColumnBatch(batch, self._tp, self._records.data, begin, end, self._least)


class ColumnPartitionRecords(BoundedPartitionRecords):
    """aiokafka's records of a partition, a batch at a time."""

    def __init__(self, tp: Any, records: LedRecords, aborted: Any, offset: int, of_keys: AsColumns, *more: Any) -> None:
        super().__init__(tp, records, aborted, offset, of_keys, *more)
        self._records = ColumnRecords(tp, records, of_keys.least)
        self.with_headers = of_keys.with_headers

    def _consumer_record(self, tp: Any, record: Any) -> Any:
        if isinstance(record, WholeBatch):
            return record.columns.since(self.next_fetch_offset)
        return super()._consumer_record(tp, record)


def partition_records(tp: Any, records: LedRecords, aborted: Any, offset: int, of_keys: Any, *more: Any) -> Any:
    """Stand for aiokafka's class of that name: as columns where the consumer's deserializer says so."""
    as_columns = isinstance(of_keys, AsColumns) and of_keys.topic == tp.topic
    kind: Any = ColumnPartitionRecords if as_columns else BoundedPartitionRecords
    return kind(tp, records, aborted, offset, of_keys, *more)


def hand_on_columns() -> None:
    """Have aiokafka's consumers in this process read as columns where they are told to; after ``bound_unpacking``."""
    fetcher.PartitionRecords = partition_records
