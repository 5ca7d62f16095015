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
from collections.abc import Collection, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import ClusterAuthorizationFailedError, KafkaError, UnknownError, UnsupportedVersionError

from rankstream.streams.clients.carriers import BATCH_BYTES, CLOSE_S, MAX_RECORD_BYTES
from rankstream.streams.clients.connect import ClientError
from rankstream.streams.clients.idempotent import abandon, limit_batches, with_counting_sender
from rankstream.streams.connection import connection_of
from rankstream.streams.partitioner import partition_of
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


class Lane:
    """One partition of a topic: its open batch, and the queue of those that are full."""

    def __init__(self, topic: str, partition: int) -> None:
        self.topic, self.partition = topic, partition
        self.batch: Any = None
        self.full: asyncio.Queue[Any] = asyncio.Queue()


class WholeBatches:
    """A ``Carrier`` that sends batches; used by one thread."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="rankstream-produce", daemon=True)
        self._thread.start()
        self._lanes: dict[str, list[Lane]] = {}
        self._lane_of: dict[tuple[str, bytes], Lane] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._changed = threading.Condition()
        self._waiting = self._refused = 0
        self._first: BaseException | None = None
        self._handed = 0  # batches
        try:
            self._producer: AIOKafkaProducer = self._wait(self._start(), START_S)
        except (KafkaError, OSError, TimeoutError, ValueError) as exc:
            self._end_loop()
            raise ClientError(f"the brokers at {settings.bootstrap_servers} take no producer: {exc!r}") from exc

    def send(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers = ()) -> None:
        """Put one record into the open batch of its partition."""
        lane = self._lane_of.get((topic, key)) if key is not None else None
        if lane is None:
            lane = self._find_lane(topic, key)
        batch = lane.batch
        wanted = list(headers) if headers else NO_HEADERS
        if batch is None or batch.append(timestamp=None, key=key, value=value, headers=wanted) is None:
            self._begin(lane, key, value, headers)

    def flush(self, timeout_s: float) -> None:
        """Hand over the open batches, and wait until all are acknowledged or refused."""
        for lanes in self._lanes.values():
            for lane in lanes:
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

    def _find_lane(self, topic: str, key: bytes | None) -> Lane:
        lanes = self._lanes.get(topic)
        if lanes is None:
            lanes = self._lanes[topic] = self._open_lanes(topic)
        if key is None:
            return lanes[self._handed % len(lanes)]  # any: the next one after each batch
        if len(self._lane_of) >= KEYS_REMEMBERED:
            self._lane_of.clear()
        lane = self._lane_of[topic, key] = lanes[partition_of(key, len(lanes))]
        return lane

    def _open_lanes(self, topic: str) -> list[Lane]:
        try:
            lanes: list[Lane] = self._wait(self._carry_all(topic), START_S)
        except (KafkaError, TimeoutError) as exc:
            raise ClientError(f"a record can't be sent to {topic}: {exc!r}") from exc
        return lanes

    def _begin(self, lane: Lane, key: bytes | None, value: bytes | None, headers: Headers) -> None:
        """Hand over the open batch, which is full, and begin another with this record."""
        size = len(key or b"") + len(value or b"") + sum(len(name) + len(of) for name, of in headers) + ROOM_BYTES
        if size > MAX_RECORD_BYTES:
            raise ClientError(f"a record can't be sent to {lane.topic}: it has {size:,} bytes of {MAX_RECORD_BYTES:,}")
        self._hand_over(lane)
        lane.batch = self._producer.create_batch()
        lane.batch.append(timestamp=None, key=key, value=value, headers=list(headers))

    def _hand_over(self, lane: Lane) -> None:
        """Queue the open batch; it is counted before, so that ``flush`` fails if an interrupt comes between."""
        if lane.batch is None:
            return
        with self._changed:
            if not self._changed.wait_for(lambda: self._waiting < MAX_WAITING, HAND_OVER_S):
                raise ClientError(
                    f"a record can't be sent to {lane.topic}: the brokers took none for {HAND_OVER_S:g} s, while "
                    f"{self._waiting} batches wait for them"
                )
            self._waiting += 1
        self._handed += 1
        batch, lane.batch = lane.batch, None
        self._loop.call_soon_threadsafe(lane.full.put_nowait, batch)

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
