"""Record batches that are finished before aiokafka sees them: thousands of states of a checkpoint in a few calls.

::

    PackedStates --> FinishedBatch | FinishedBatch | ... | the last one, with the position behind the states
                         send_batch, in place of aiokafka's BatchBuilder: same accumulator, numbers and transaction

The producer stays aiokafka's in all that matters: it numbers a batch as it takes it from the queue
(``_set_producer_state``), retries it with the same number, and it alone knows the transaction. Only the bytes are made
here, and they are those that its own builder makes. Names of aiokafka used here are not public: it is pinned.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from aiokafka import AIOKafkaProducer
from aiokafka.record.util import encode_varint

from rankstream.streams.batch_head import HEAD, PRODUCER, PRODUCER_AT, put_checksum, put_head
from rankstream.streams.packed_states import PackedStates
from rankstream.streams.pipeline import wall_clock_ms

ROOM_BYTES = 64  # of a record beside key and value

Headers = Sequence[tuple[str, bytes]]


@dataclass(frozen=True)
class Shape:
    """What all batches of a producer have in common."""

    max_bytes: int  # below which one stays that has more than one record, as aiokafka has it
    transactional: bool


@dataclass(frozen=True)
class Ending:
    """A record that stands behind all others: a position."""

    key: bytes
    value: bytes
    headers: Headers


class FinishedBatch:
    """Stands for a ``BatchBuilder`` that takes nothing more."""

    def __init__(self, data: bytearray, count: int, now_ms: int, transactional: bool) -> None:
        """Take the bytes of a batch with room for its head, all of whose records have one time."""
        self._data, self._count = data, count
        put_head(data, count, now_ms, transactional)

    def record_count(self) -> int:
        """Return how many records it has."""
        return self._count

    def size(self) -> int:
        """Return its bytes."""
        return len(self._data)

    def closed(self) -> bool:
        """Return that it takes no more."""
        return True

    def close(self) -> None:
        """Do nothing."""

    def append(self, **record: object) -> None:
        """Take no record: None is how a batch says that it is full."""

    def _set_producer_state(self, producer_id: int, producer_epoch: int, base_sequence: int) -> None:
        PRODUCER.pack_into(self._data, PRODUCER_AT, producer_id, producer_epoch, base_sequence)

    def _build(self) -> bytearray:
        put_checksum(self._data)
        return self._data


def shape_of(producer: AIOKafkaProducer) -> Shape | None:
    """Return what a producer's batches are like; None where it makes them itself, as it compresses them."""
    accumulator, manager = producer._message_accumulator, producer._txn_manager
    if accumulator._compression_type:
        return None
    return Shape(accumulator._batch_size, manager is not None and manager.transactional_id is not None)


def finished_batches(
    states: PackedStates, ending: Ending | None, shape: Shape, clock: Callable[[], int] = wall_clock_ms
) -> Iterator[FinishedBatch]:
    """Yield batches of all states, and the ending behind them. A state larger than a batch has one of its own."""
    first = 0
    while first < len(states):
        begun, (first, batch) = first, _records(states, first, shape.max_bytes)
        count, last = first - begun, b""
        if ending is not None and first == len(states):
            last = record_bytes(ending, count)
            if len(batch) + len(last) < shape.max_bytes:
                batch, count, ending = batch + last, count + 1, None
        yield FinishedBatch(batch, count, clock(), shape.transactional)
    if ending is not None:
        yield FinishedBatch(bytearray(HEAD.size) + record_bytes(ending, 0), 1, clock(), shape.transactional)


def _records(states: PackedStates, first: int, max_bytes: int) -> tuple[int, bytearray]:
    """Return the first row that is left, and the records before it, with room for a head."""
    least = HEAD.size + ROOM_BYTES + len(states.keys_of[first]) + int(states.ends[first]) - states.begin(first)
    room = np.empty(max(max_bytes, least), np.uint8)
    left, end = states.put_records(states, first, HEAD.size, max_bytes, room)
    return left, bytearray(room[:end])


def record_bytes(record: Ending, number: int) -> bytes:
    """Return a record of a batch, with its length before it."""
    body = bytearray((0, 0))  # attributes, time
    encode_varint(number, body.append)
    for part in (record.key, record.value):
        encode_varint(len(part), body.append)
        body += part
    encode_varint(len(record.headers), body.append)
    for name, value in record.headers:
        for part in (name.encode(), value):
            encode_varint(len(part), body.append)
            body += part
    size = bytearray()
    encode_varint(len(body), size.append)
    return bytes(size + body)


def batches_of(
    records: Mapping[bytes, bytes], ending: Ending | None, producer: AIOKafkaProducer
) -> Iterator[FinishedBatch] | None:
    """Return the finished batches of records; None where they must go one by one."""
    if not isinstance(records, PackedStates):
        return None
    shape = shape_of(producer)
    return None if shape is None else finished_batches(records, ending, shape)
