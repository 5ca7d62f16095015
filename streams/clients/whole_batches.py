"""Fills topics: records are packed into whole batches here, and sent by a thread of its own.

::

    send(topic, key, value) --> the open batch of the key's partition, 256 KB
                                       | full, or flush
                                       v
                        the partition's queue --> aiokafka, one batch of a partition after the other

A record by itself costs a client library 13 to 21 us, in a whole batch 1 us (``benchmarks/produce.py``). Partitions are
those of any other producer (murmur2), a key's records keep their order, and a batch that brokers can't take now is sent
again until they do, or its producer gives up; numbered by the producer, it counts once.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Collection, Coroutine, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import ClusterAuthorizationFailedError, KafkaError, UnknownError, UnsupportedVersionError

from rankstream.streams.clients.carriers import BATCH_BYTES, CLOSE_S, MAX_RECORD_BYTES
from rankstream.streams.clients.connect import ClientError
from rankstream.streams.clients.idempotent import abandon, limit_batches, with_counting_sender
from rankstream.streams.connection import connection_of
from rankstream.streams.partitioner import partition_of, partitions_of
from rankstream.streams.settings import Settings
from rankstream.streams.topics import limits_of
from rankstream.streams.tracing import Headers

MAX_WAITING = 64  # batches handed over and not acknowledged yet: 16 MB
HAND_OVER_S = 60.0  # that a record waits for room, as kafka-python's does
START_S = 30.0
UNSENT_S = 120.0  # that a batch waits for its partition to have a leader
KEYS_REMEMBERED = 200_000  # whose partitions are not computed again
NOT_IDEMPOTENT = (UnknownError, UnsupportedVersionError, ClusterAuthorizationFailedError)
NO_HEADERS: list[tuple[str, bytes]] = []  # of all records without any; aiokafka wants a list
ROOM_BYTES = 200  # of a batch beside its first record's key and value

logging.getLogger("aiokafka").addHandler(logging.NullHandler())  # a command says in a sentence what was not sent


Put = Callable[[int, int | None, bytes | None, bytes | None, Sequence[tuple[str, bytes]]], object]


def _full(*record: object) -> None:
    """Take no record: None is how a batch says that it is full."""


class Lane:
    """One partition of a topic: its open batch, and the queue of those that are full."""

    __slots__ = ("_batch", "count", "full", "partition", "put", "topic")

    def __init__(self, topic: str, partition: int) -> None:
        self.topic, self.partition = topic, partition
        self._batch: Any = None
        self.count = 0  # records of the open batch
        self.put: Put = _full
        self.full: asyncio.Queue[Any] = asyncio.Queue()

    def begin(self, batch: Any) -> None:
        """Open a batch. What writes its records is called without aiokafka's steps of Python around it."""
        self._batch, self.put, self.count = batch, batch._builder.append, 0

    def take(self) -> Any:
        """Return the batch, which is open no more."""
        batch, self._batch, self.put = self._batch, None, _full
        batch._relative_offset = self.count  # what it says to be its number of records
        self.count = 0
        batch.close()
        return batch


class Lanes:
    """The partitions of a topic, and which one the records of a key go to."""

    def __init__(self, lanes: list[Lane]) -> None:
        self.all = lanes
        self.of_key: dict[bytes, Lane] = {}

    def find(self, key: bytes) -> Lane:
        """Return the lane of a key that is not remembered, and remember it."""
        self._forget_many()
        lane = self.of_key[key] = self.all[partition_of(key, len(self.all))]
        return lane

    def find_all(self, keys: Iterable[bytes]) -> None:
        """Remember the lanes of all these keys."""
        self._forget_many()
        new = partitions_of(set(keys).difference(self.of_key), len(self.all))
        self.of_key.update((key, self.all[place]) for key, place in new.items())

    def _forget_many(self) -> None:
        if len(self.of_key) >= KEYS_REMEMBERED:
            self.of_key.clear()


class WholeBatches:
    """A ``Carrier`` that sends batches; used by one thread."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="rankstream-produce", daemon=True)
        self._thread.start()
        self._lanes: dict[str, Lanes] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._changed = threading.Condition()
        self._waiting = self._refused = 0
        self._first: BaseException | None = None
        self._handed = self._handed_records = 0  # batches, and what was in them
        try:
            self._producer: AIOKafkaProducer = self._wait(self._start(), START_S)
        except (KafkaError, OSError, TimeoutError, ValueError) as exc:
            self._end_loop()
            raise ClientError(f"the brokers at {settings.bootstrap_servers} take no producer: {exc!r}") from exc

    @property
    def taken(self) -> int:
        """How many records are in batches: right at any moment, as after an interrupt."""
        return self._handed_records + sum(lane.count for lanes in self._lanes.values() for lane in lanes.all)

    def send(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers = ()) -> None:
        """Put one record into the open batch of its partition."""
        lanes = self._lanes_of(topic)
        any_lane = self._handed % len(lanes.all)  # the next one after each batch
        lane = lanes.all[any_lane] if key is None else lanes.of_key.get(key) or lanes.find(key)
        wanted = list(headers) if headers else NO_HEADERS
        if lane.put(lane.count, None, key, value, wanted) is None:
            self._begin(lane, key, value, wanted)
        lane.count += 1

    def send_many(self, topic: str, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        """Put a record of each pair into the open batch of its partition, as ``send`` does."""
        lanes = self._lanes_of(topic)
        lanes.find_all(keys)
        lane_of = lanes.of_key
        for key, value in zip(keys, values, strict=True):
            lane = lane_of[key]
            if lane.put(lane.count, None, key, value, NO_HEADERS) is None:
                self._begin(lane, key, value, NO_HEADERS)
            lane.count += 1

    def flush(self, timeout_s: float) -> None:
        """Hand over the open batches, and wait until all are acknowledged or refused."""
        for lanes in self._lanes.values():
            for lane in lanes.all:
                self._hand_over(lane)
        with self._changed:
            if not self._changed.wait_for(lambda: not self._waiting, timeout_s):
                raise ClientError(f"the brokers did not take all records within {timeout_s:g} s")

    def take_failures(self) -> tuple[int, BaseException | None]:
        """Return how many records were refused, and why the first was."""
        with self._changed:
            count, first = self._refused, self._first
            self._refused, self._first = 0, None
            return count, first

    def close(self) -> None:
        """Hang up, without waiting for what is under way."""
        with suppress(TimeoutError):
            self._wait(self._stop(), CLOSE_S)
        self._end_loop()

    # --- in the thread that sends

    def _lanes_of(self, topic: str) -> Lanes:
        lanes = self._lanes.get(topic)
        if lanes is None:
            lanes = self._lanes[topic] = Lanes(self._open_lanes(topic))
        return lanes

    def _open_lanes(self, topic: str) -> list[Lane]:
        try:
            lanes: list[Lane] = self._wait(self._carry_all(topic), START_S)
        except (KafkaError, TimeoutError) as exc:
            raise ClientError(f"a record can't be sent to {topic}: {exc!r}") from exc
        return lanes

    def _begin(self, lane: Lane, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]]) -> None:
        """Hand over the open batch, which is full, and begin another with this record."""
        size = len(key or b"") + len(value or b"") + sum(len(name) + len(of) for name, of in headers) + ROOM_BYTES
        if size > MAX_RECORD_BYTES:
            raise ClientError(f"a record can't be sent to {lane.topic}: it has {size:,} bytes of {MAX_RECORD_BYTES:,}")
        self._hand_over(lane)
        lane.begin(self._producer.create_batch())
        lane.put(0, None, key, value, headers)

    def _hand_over(self, lane: Lane) -> None:
        """Queue the open batch; it is counted before, so that ``flush`` fails if an interrupt comes between."""
        if not lane.count:
            return
        with self._changed:
            if not self._changed.wait_for(lambda: self._waiting < MAX_WAITING, HAND_OVER_S):
                raise ClientError(
                    f"a record can't be sent to {lane.topic}: the brokers took none for {HAND_OVER_S:g} s, while "
                    f"{self._waiting} batches wait for them"
                )
            self._waiting += 1
        self._handed += 1
        self._handed_records += lane.count
        self._loop.call_soon_threadsafe(lane.full.put_nowait, lane.take())

    def _wait(self, work: Coroutine[Any, Any, Any], timeout_s: float) -> Any:
        return asyncio.run_coroutine_threadsafe(asyncio.wait_for(work, timeout_s), self._loop).result()

    def _end_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CLOSE_S)
        if not self._thread.is_alive():
            self._loop.close()

    # --- in the thread of the loop

    async def _start(self, idempotent: bool = True) -> AIOKafkaProducer:
        """Return a producer that numbers its records; where brokers can't have that, or may not, one that does not."""
        producer = self._made(idempotent)
        try:
            await producer.start()
        except BaseException as exc:
            await abandon(producer)
            if idempotent and isinstance(exc, NOT_IDEMPOTENT):
                return await self._start(idempotent=False)
            raise
        return producer

    def _made(self, idempotent: bool) -> AIOKafkaProducer:
        return with_counting_sender(
            AIOKafkaProducer(
                **connection_of(self._settings, AIOKafkaProducer),
                acks="all",
                enable_idempotence=idempotent,
                max_batch_size=BATCH_BYTES,
                max_request_size=2 * MAX_RECORD_BYTES,
                request_timeout_ms=int(1e3 * UNSENT_S),
            )
        )

    async def _carry_all(self, topic: str) -> list[Lane]:
        numbers: Collection[int] = await self._producer.partitions_for(topic)
        with suppress(KafkaError, OSError):  # brokers that do not tell
            limit_batches(self._producer, (await limits_of(self._settings, [topic])).get(topic, BATCH_BYTES))
        lanes = [Lane(topic, number) for number in sorted(numbers)]
        self._tasks += [asyncio.create_task(self._carry(lane)) for lane in lanes]
        return lanes

    async def _carry(self, lane: Lane) -> None:
        """Send the full batches of a partition, one after the other."""
        while True:
            batch = await lane.full.get()
            records = batch.record_count()
            try:
                acknowledged = await self._producer.send_batch(batch, lane.topic, partition=lane.partition)
                acknowledged.add_done_callback(partial(self._done, records))
            except KafkaError as exc:
                self._count(records, exc)

    def _done(self, records: int, acknowledged: "asyncio.Future[object]") -> None:
        self._count(records, None if acknowledged.cancelled() else acknowledged.exception())

    def _count(self, records: int, failure: BaseException | None) -> None:
        with self._changed:
            self._waiting -= 1
            if failure is not None:
                self._refused += records
                self._first = self._first or failure
            self._changed.notify_all()

    async def _stop(self) -> None:
        self._loop.set_exception_handler(lambda loop, context: None)  # of batches that nobody asks for any more
        for task in self._tasks:
            task.cancel()
        await abandon(self._producer)
