"""Records as columns: one buffer of bytes, and where each record's key and value lie in it. Knows no numba."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, groupby
from operator import attrgetter
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from rankstream.events.action_event import Record, Recorded
from rankstream.events.column import TextKeys, spans_of_sizes

Ints = npt.NDArray[np.int64]
NULL = -1  # where a key or a value would begin: there is none
MIN_RECORDS = 16  # of a batch: reading fewer as columns takes longer than making them

_offset, _timestamp = attrgetter("offset"), attrgetter("timestamp")
_key, _value = attrgetter("key"), attrgetter("value")


@dataclass(frozen=True, slots=True, eq=False)
class RecordColumns(Sequence[Record]):
    """Records of one partition, in order; each is made only when it is asked for."""

    topic: str
    partition: int
    data: bytes
    offsets: Ints  # (n,)
    times_ms: Ints  # (n,) the records' own
    spans: Ints  # (n, 5) key from and to, value from and to; behind it headers, to

    def __len__(self) -> int:
        return len(self.offsets)

    @overload
    def __getitem__(self, at: int) -> Record: ...
    @overload
    def __getitem__(self, at: slice) -> "RecordColumns": ...
    def __getitem__(self, at: int | slice) -> "Record | RecordColumns":
        if isinstance(at, slice):
            columns = self.offsets[at], self.times_ms[at], self.spans[at]
            return RecordColumns(self.topic, self.partition, self.data, *columns)
        key_at, key_end, value_at, value_end, _ = self.spans[at].tolist()
        key = None if key_at == NULL else self.data[key_at:key_end]
        value = None if value_at == NULL else self.data[value_at:value_end]
        offset, time_ms = int(self.offsets[at]), int(self.times_ms[at])
        return Recorded(self.topic, self.partition, offset, time_ms, key, value)

    def keys(self, rows: Sequence[int] | Ints) -> list[bytes]:
        """Return the keys of some records, all of which have one."""
        data = self.data
        return [data[begin:end] for begin, end in self.spans[rows, :2].tolist()]

    @property
    def users(self) -> TextKeys:
        """Return the keys as a column; those of records without one are not to be looked at."""
        return TextKeys(self.data, self.spans)

    def headed(self, row: int) -> "Headed":
        """Return a record with its headers; none where the records were no batch."""
        return self._headed(int(self.offsets[row]), int(self.times_ms[row]), self.spans[row].tolist())

    def all_headed(self) -> list["Headed"]:
        """Return all records with their headers."""
        rows = zip(self.offsets.tolist(), self.times_ms.tolist(), self.spans.tolist(), strict=True)
        return [self._headed(*row) for row in rows]

    def _headed(self, offset: int, time_ms: int, span: Sequence[int]) -> "Headed":
        key_at, key_end, value_at, value_end, end = span
        key = None if key_at == NULL else self.data[key_at:key_end]
        value = None if value_at == NULL else self.data[value_at:value_end]
        headers = _headers_in(self.data[value_end:end]) if value_end < end else []
        return Headed(self.topic, self.partition, offset, time_ms, key, value, headers)

    @property
    def serialized_value_size(self) -> int:
        """How many bytes the values take."""
        return int((self.spans[:, 3] - np.maximum(self.spans[:, 2], 0)).sum())

    def moved(self, begin: int) -> Ints:
        """Return where keys and values lie once there are ``begin`` bytes before the data."""
        return np.where(self.spans < 0, NULL, self.spans + begin) if begin else self.spans

    def since(self, offset: int) -> "RecordColumns":
        """Return the records from this offset on."""
        return self[int(np.searchsorted(self.offsets, offset)) :]


@dataclass(frozen=True, slots=True)
class Headed(Recorded):
    """A record with its headers."""

    headers: Sequence[tuple[str, bytes | None]] = ()


class AsColumns:
    """A consumer's deserializer of keys: it leaves them as they are, and says that this topic is read as columns."""

    def __init__(self, topic: str, with_headers: bool = False) -> None:
        self.topic = topic
        self.with_headers = with_headers  # which are wanted, so that small batches, too, are read as columns

    @property
    def least(self) -> int:
        """How many records a batch has that is read as columns."""
        return 1 if self.with_headers else MIN_RECORDS

    def __call__(self, key: bytes | None) -> bytes | None:
        """Return the key."""
        return key


def newest_ms_of(records: Sequence[Record]) -> int:
    """Return the latest time of some records; at least one."""
    return int(records.times_ms.max()) if isinstance(records, RecordColumns) else max(map(_timestamp, records))


def columns_of(records: Sequence[Record]) -> RecordColumns:
    """Return records of one partition as columns; at least one."""
    if isinstance(records, RecordColumns):
        return records
    keys, values = list(map(_key, records)), list(map(_value, records))
    data = b"".join(filter(None, chain(keys, values)))
    of_keys = spans_of(keys)
    of_values = spans_of(values, int(of_keys[-1, 1]))
    spans = np.concatenate([of_keys, of_values, of_values[:, 1:]], axis=1)
    return RecordColumns(
        records[0].topic, records[0].partition, data, _ints(_offset, records), _ints(_timestamp, records), spans
    )


def joined(parts: Sequence[RecordColumns]) -> RecordColumns:
    """Return columns one after the other; at least one."""
    first = parts[0]
    if len(parts) == 1:
        return first
    offsets, times_ms = np.concatenate([one.offsets for one in parts]), np.concatenate([one.times_ms for one in parts])
    buffers = {id(one.data): one.data for one in parts}  # each once: all batches of a fetch may lie in one
    begins = dict(zip(buffers, accumulate(map(len, buffers.values()), initial=0), strict=False))
    data = first.data if len(buffers) == 1 else b"".join(buffers.values())
    spans = np.concatenate([one.moved(begins[id(one.data)]) for one in parts])
    return RecordColumns(first.topic, first.partition, data, offsets, times_ms, spans)


def headed(records: Sequence[Record], row: int) -> Record:
    """Return one of these records, with its headers where it had any."""
    return records.headed(row) if isinstance(records, RecordColumns) else records[row]


def in_one(taken: Sequence[Any], with_headers: bool = False) -> Sequence[Record]:
    """Return records and columns, in order, as one sequence: columns where there are any.

    Records that are put into columns lose their headers; where those are wanted, all are records then.
    """
    if not any(isinstance(one, RecordColumns) for one in taken):
        return taken
    if with_headers and not all(isinstance(one, RecordColumns) for one in taken):
        return [one for part in taken for one in (part.all_headed() if isinstance(part, RecordColumns) else [part])]
    runs = groupby(taken, key=lambda one: isinstance(one, RecordColumns))
    return joined([part for whole, run in runs for part in (run if whole else [columns_of(list(run))])])


def _headers_in(data: bytes) -> list[tuple[str, bytes | None]]:
    """Return the headers that lie in these bytes, which were looked through before."""
    count, at = _varint(data, 0)
    found: list[tuple[str, bytes | None]] = []
    for _ in range(count):
        size, begin = _varint(data, at)
        name = data[begin : begin + size].decode()
        size, begin = _varint(data, begin + size)
        at = begin + max(size, 0)
        found.append((name, data[begin:at] if size >= 0 else None))
    return found


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return a signed number of variable length (zigzag), and where it ends."""
    value = shift = 0
    while data[at] > 127:
        value |= (data[at] & 127) << shift
        at, shift = at + 1, shift + 7
    value |= data[at] << shift
    return (value >> 1) ^ -(value & 1), at + 1


def _ints(of: Callable[[Record], int], records: Sequence[Record]) -> Ints:
    return np.fromiter(map(of, records), np.int64, len(records))


def spans_of(parts: Sequence[bytes | None], begin: int = 0) -> Ints:
    """Return from and to ``(n, 2)`` of parts that lie one after the other, from ``begin`` on; None lies nowhere."""
    sizes = np.fromiter((0 if part is None else len(part) for part in parts), np.int64, len(parts))
    spans = spans_of_sizes(sizes, begin)
    if None in parts:
        spans[[part is None for part in parts], 0] = NULL
    return spans
