"""Whole fetched chunks of one partition, handed through Faust's own agents.

An agent costs 60-70 us of machinery a message before it does any work. So a message here is a chunk: what one fetch
brought of one partition, in order. Faust keeps its consumer group, assignor, rebalances and lifecycle; offsets are
committed elsewhere (``ownership.py``), up to the last checkpoint, which also determines where reading resumes.

Only committed records are read. What a fetch brought is whole between the two positions that stand beside it, so an
offset without a record in between is no loss: it was a transaction's marker, or a record that was aborted or compacted.
A fetch of nothing but those moves the position too, and is handed on as a chunk without records.

Names of Faust and aiokafka used here are not public (``_new_consumer_thread``, ``_create_consumer``,
``_fetch_records``, ``_isolation_level``, ``_fetch_max_wait_ms`` and those of the user's options, ``_retry_backoff``,
``_fetcher``, ``_coordinator``, ``_client`` and, in ``ownership.py``, ``_commit``): both are pinned.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Any, ClassVar

import faust
from aiokafka import TopicPartition
from aiokafka.client import ConnectionGroup
from aiokafka.errors import KafkaError
from faust.transport.drivers import aiokafka as driver
from faust.transport.utils import DefaultSchedulingStrategy
from faust.types import TP

from rankstream.events.action_event import NO_EPOCH, Record
from rankstream.streams.clients.patient_client import make_patient
from rankstream.streams.clients.throttling import Throttling
from rankstream.streams.connection import READ_COMMITTED
from rankstream.streams.worker.fetch_connections import FetchConnections
from rankstream.streams.worker.fetch_pace import FetchPace
from rankstream.streams.worker.offsets import is_stopped
from rankstream.streams.worker.unpacking import NO_EPOCHS

log = logging.getLogger(__name__)

AsJson = Callable[[Sequence[Record]], Sequence[Record]]
NO_OPTIONS: Mapping[str, Any] = {}
LEAVE_S = 4.0  # to leave the group in order; a rebalance may take as long as the session of one who does not join


@dataclass(frozen=True, slots=True)
class Fetched:
    """What one fetch brought of one partition: all that may be read of the offsets from ``begin`` to before ``end``."""

    begin: int
    records: Sequence[Record]
    end: int
    leader_epoch: int = NO_EPOCH  # of the leader that wrote the first of it
    newest_epoch: int = NO_EPOCH  # of the leaders that wrote it or what was fetched with it
    lost_connections: int = 0  # before it was fetched, over another one
    read_at_s: float = field(default_factory=monotonic)  # by the clock of this process


def as_they_are(records: Sequence[Record]) -> Sequence[Record]:
    """Return records whose values are JSON."""
    return records


class Chunk:
    """Records of one partition, in order; to Faust it looks like one aiokafka record whose value is itself."""

    __slots__ = (
        "as_json",
        "begin",
        "end",
        "epoch",
        "leader_epoch",
        "lost_connections",
        "newest_epoch",
        "offset",
        "partition",
        "read_at_s",
        "records",
        "start",
        "taken_at_s",
        "timestamp",
        "topic",
    )
    timestamp_type = serialized_key_size = serialized_value_size = 0
    key = checksum = None
    headers: ClassVar[tuple[()]] = ()

    def __init__(self, tp: TP, fetched: Fetched, start: int | None, epoch: int) -> None:
        self.topic, self.partition = tp
        self.records = fetched.records
        self.begin, self.end = fetched.begin, fetched.end
        self.start = start  # where the chunk before it, or a seek, left off; None: not known
        self.epoch = epoch  # of the plan that it was read by
        self.leader_epoch, self.newest_epoch = fetched.leader_epoch, fetched.newest_epoch
        self.lost_connections = fetched.lost_connections
        self.read_at_s = self.taken_at_s = fetched.read_at_s  # by the consumer's thread, and by whoever processes it
        self.offset = self.end - 1
        self.timestamp = self.records[-1].timestamp if self.records else -1
        self.as_json: AsJson = as_they_are  # what is to be done with its records before they are processed

    def follows(self, other: "Chunk") -> bool:
        """Return whether it was read right behind the other one, by the same plan and from the same leader."""
        return self.start == self.begin == other.end and self._read_by == other._read_by

    @property
    def _read_by(self) -> tuple[object, ...]:
        return self.tp, self.epoch, self.leader_epoch, self.lost_connections

    @property
    def value(self) -> "Chunk":
        """Return what the agent receives."""
        return self

    @property
    def num_bytes(self) -> int:
        """Return how many bytes the records' values take."""
        return sum(len(record.value or b"") for record in self.records)

    @property
    def tp(self) -> TP:
        """Return topic and partition."""
        return TP(self.topic, self.partition)


def take_joined(queue: deque[Chunk]) -> Chunk:
    """Take the chunks at the head of a queue that follow each other, as one: many requests cost less at once."""
    chunks = [queue.popleft()]
    while queue and queue[0].follows(chunks[-1]):
        chunks.append(queue.popleft())
    first, last = chunks[0], chunks[-1]
    if first is last:
        return first
    records = [record for chunk in chunks for record in chunk.records]
    epochs = first.leader_epoch, last.newest_epoch
    read = Fetched(first.begin, records, last.end, *epochs, first.lost_connections, first.read_at_s)
    joined = Chunk(first.tp, read, first.start, first.epoch)
    joined.taken_at_s = first.taken_at_s
    return joined


class ReadingPlan:
    """Where reading resumes in each partition, and which chunks still belong to that reading."""

    def __init__(self) -> None:
        self._next: dict[TP, int | None] = {}
        self._epochs: dict[TP, int] = {}

    def restart(self, tp: TP, offset: int | None) -> None:
        """Note that reading resumes at ``offset`` (None: wherever the broker begins); chunks in flight are void."""
        self._next[tp] = offset
        self._epochs[tp] = self._epochs.get(tp, 0) + 1

    def cut(self, tp: TP, fetched: Fetched, size: int) -> list[Chunk]:
        """Cut what a fetch brought into chunks; the last one reaches to the end of what it read."""
        chunks, epoch, begin = [], self._epochs.get(tp, 0), fetched.begin
        for at in range(0, max(1, len(fetched.records)), size):
            part = fetched.records[at : at + size]
            is_last = at + size >= len(fetched.records)
            end = fetched.end if is_last else part[-1].offset + 1
            some = replace(fetched, begin=begin, records=part, end=end)
            chunks.append(Chunk(tp, some, self._next.get(tp), epoch))
            self._next[tp] = begin = end
        return chunks

    def is_current(self, chunk: Chunk) -> bool:
        """Return whether no restart came after the chunk was read."""
        return chunk.epoch == self._epochs.get(chunk.tp, 0)


class ChunkScheduler(DefaultSchedulingStrategy):
    """Faust's round robin over topics and partitions, a chunk at a time, one topic before the others."""

    def __init__(self, plan: ReadingPlan, size: int, first: str) -> None:
        super().__init__()
        self.plan = plan
        self.size = size  # records
        self.first = first  # topic: of what one fetch brought, actions come before the requests that should see them

    def iterate(self, records: Mapping[TP, Fetched]) -> Iterator[tuple[TP, Chunk]]:
        """Return the chunks of one fetch."""
        tps = sorted(records, key=lambda tp: tp.topic != self.first)
        chunks = {tp: self.plan.cut(tp, records[tp], self.size) for tp in tps}
        return super().iterate(chunks)  # type: ignore[no-any-return]


class ChunkSchema(faust.Schema):
    """Hands chunks on undecoded, after ``admit`` has let them in.

    Faust's own limit counts messages, and once all partitions have reached it the fetch loop sleeps for a second.
    """

    def __init__(self, admit: Callable[[Chunk], Awaitable[None]]) -> None:
        super().__init__()
        self._admit = admit

    def loads_key(self, app: faust.App, message: Any, **options: Any) -> None:
        """Return no key: a chunk has many."""

    def loads_value(self, app: faust.App, message: Any, **options: Any) -> Chunk:
        """Return the chunk itself."""
        chunk: Chunk = message.value
        return chunk

    def compile(self, app: faust.App, **options: Any) -> Callable[..., Awaitable[Any]]:
        """Return Faust's decoder, with a gate before it."""
        decode = super().compile(app, **options)

        async def decode_admitted(message: Any, **more: Any) -> Any:
            await self._admit(message.value)
            return await decode(message, **more)

        return decode_admitted


class ChunkConsumerThread(driver.AIOKafkaConsumerThread):
    """Faust's consumer thread: it reads what is committed, notes positions, and does not wait for idle partitions."""

    def _create_consumer(self, loop: asyncio.AbstractEventLoop) -> Any:
        """Return Faust's consumer with another isolation level and, instead of the hard-coded 1500 ms, another wait.

        aiokafka has one fetch a broker in flight. While records of the busy partitions wait here to be processed,
        it fetches for the idle ones alone, and such a fetch would hold the next one of the busy ones back.
        """
        consumer = super()._create_consumer(loop)
        consumer._isolation_level = READ_COMMITTED
        consumer._fetch_max_wait_ms = self.transport.fetch_max_wait_ms
        FetchPace(consumer._client, self.transport.fetch_pace_s)
        self._connections = FetchConnections(consumer._client)
        self.transport.throttling.watch(consumer._client)
        make_patient(consumer._client, answer_s=consumer._session_timeout_ms / 3000)  # so that others are found in time
        for name, value in self.transport.options.items():  # those that Faust has no setting for
            setattr(consumer, f"_{name}", value)
        if self.transport.as_columns is not None:
            consumer._key_deserializer = self.transport.as_columns
        consumer._client._retry_backoff = consumer._retry_backoff_ms / 1000
        return consumer

    async def on_thread_stop(self) -> None:
        """Leave the group; a rebalance that is under way is not waited for, as others may be slow to join it."""
        try:
            async with asyncio.timeout(LEAVE_S):
                if not await is_stopped(super().on_thread_stop()):
                    await self._ensure_consumer()._client.close()
        except TimeoutError:
            log.info("a rebalance is under way, which is not waited for: the worker leaves the group")
            await leave_at_once(self._ensure_consumer())

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Look for partitions that stand still, as Faust does.

        There is no position to compare while aiokafka asks where to read on, as the last one lies outside of the log:
        what that raises would end the worker.
        """
        with suppress(AssertionError):
            super().verify_event_path(now, tp)

    async def _fetch_records(
        self,
        consumer: Any,
        active_partitions: Collection[TP],
        timeout: float | None = None,
        max_records: int | None = None,
    ) -> dict[TP, Fetched]:
        """Return what was fetched, as soon as a position has moved: also where there is no record to show for it.

        aiokafka hands over what has come without giving way to another task (timeout 0), so no seek comes between the
        positions before and after. Its own wait would go on for records alone.
        """
        deadline = monotonic() + (timeout or 0.0)
        while self.consumer.flow_active:
            assignment, before = assignment_of(consumer), positions_of(consumer, active_partitions)
            epochs = epochs_of(consumer)
            records = await super()._fetch_records(consumer, active_partitions, timeout=0, max_records=max_records)
            if assignment_of(consumer) is not assignment:  # it waited for a rebalance: those positions say nothing
                before = {tp: found[0].offset for tp, found in records.items()}
            after = positions_of(consumer, before)
            moved = {
                tp: Fetched(begin, records.get(tp, ()), after[tp], *epochs.get(tp, NO_EPOCHS), self._connections.lost)
                for tp, begin in before.items()
                if after.get(tp, begin) > begin
            }
            left_s = deadline - monotonic()
            if moved or left_s <= 0:
                return moved
            waiter = consumer._fetcher._create_fetch_waiter()
            done, _ = await asyncio.wait([waiter], timeout=left_s)
            if not done:
                waiter.cancel()
            elif waiter.exception() is not None:
                waiter.result()  # raises
        return {}


async def leave_at_once(consumer: Any) -> None:
    """Take a consumer out of its group though an answer to its joining is still to come, and close it.

    A broker reads nothing from a connection that it owes an answer, so it is told over another one.
    """
    coordinator, client = consumer._coordinator, consumer._client
    owed = client._conns.get((coordinator.coordinator_id, ConnectionGroup.COORDINATION))
    if owed is not None:
        owed.close()
    with suppress(TimeoutError, KafkaError):
        async with asyncio.timeout(LEAVE_S / 2):
            await coordinator._maybe_leave_group()
    await consumer._fetcher.close()
    await client.close()


def assignment_of(consumer: Any) -> Any:
    """Return aiokafka's assignment, another object after each rebalance; None before the first."""
    subscription = consumer._fetcher._subscriptions.subscription
    return None if subscription is None else subscription.assignment


def positions_of(consumer: Any, partitions: Collection[TP]) -> dict[TP, int]:
    """Return where aiokafka reads on, of the partitions that it knows that of."""
    assignment = assignment_of(consumer)
    if assignment is None:
        return {}
    states = {tp: assignment.state_value(TopicPartition(*tp)) for tp in partitions}
    return {tp: state.position for tp, state in states.items() if state is not None and state.has_valid_position}


def epochs_of(consumer: Any) -> dict[TP, tuple[int, int]]:
    """Return which leaders wrote what was fetched and not handed on yet: the first of it and the newest."""
    waiting = consumer._fetcher._records.items()
    return {TP(*tp): getattr(result, "epochs", NO_EPOCHS) for tp, result in waiting}


class ChunkConsumer(driver.Consumer):
    """Faust's consumer, but it resumes at the last checkpoint instead of the group's offset."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._seeking = asyncio.Lock()

    def _new_consumer_thread(self) -> ChunkConsumerThread:
        return ChunkConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def seek_to_committed(self) -> Mapping[TP, int | None]:
        """Seek to the group's offsets, then to the positions that the transport knows better.

        Faust calls it before the flow resumes after a rebalance. No signal would do: ``on_rebalance_complete`` comes
        before this seek, which would undo another. A late call of the fetch loop must not mix with it: hence the lock.
        """
        async with self._seeking:
            committed: dict[TP, int | None] = {}
            try:
                found = await super().seek_to_committed()
                committed = {TP(tp.topic, tp.partition): offset for tp, offset in found.items()}
            finally:
                moves = self.transport.positions(committed)
                if moves:
                    await self.seek_wait(moves)
            return {**committed, **moves}


class PatientProducer(driver.Producer):
    """Faust's producer: nothing is sent with it, but Faust starts it, and ends where it reaches no broker."""

    def _new_producer(self, transactional_id: str | None = None) -> Any:
        producer = super()._new_producer(transactional_id)
        make_patient(producer.client)
        return producer


class ChunkTransport(driver.Transport):
    """Faust's transport to Kafka with the consumer and the producer above."""

    Consumer = ChunkConsumer
    Producer = PatientProducer

    def __init__(
        self,
        urls: Sequence[Any],
        app: faust.App,
        positions: Callable[[Mapping[TP, int | None]], Mapping[TP, int]],
        fetch_max_wait_ms: int,
        fetch_pace_s: Callable[[], float] = lambda: 0.0,
        options: Mapping[str, Any] = NO_OPTIONS,
        throttling: Throttling | None = None,
    ) -> None:
        super().__init__(urls, app)
        self.positions = positions  # from the group's offsets to those to seek to instead
        self.fetch_max_wait_ms = fetch_max_wait_ms
        self.fetch_pace_s = fetch_pace_s
        self.options = options  # of aiokafka's consumer
        self.throttling = throttling or Throttling()
        self.as_columns: Callable[[bytes | None], bytes | None] | None = None  # ``unpacked_columns.AsColumns``
