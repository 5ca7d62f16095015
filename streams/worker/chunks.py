"""Whole fetched chunks of one partition, handed through Faust's own agents.

An agent costs 60-70 us of machinery a message before it does any work. So a message here is a chunk: what one fetch
brought of one partition, in order. Faust keeps its consumer group, assignor, rebalances and lifecycle; offsets are
committed elsewhere (``ownership.py``), up to the last checkpoint, which also determines where reading resumes.

Four names of Faust and aiokafka used here are not public (``_new_consumer_thread``, ``_create_consumer``,
``_fetch_max_wait_ms`` and, in ``ownership.py``, ``_commit``): both are pinned.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import faust
from faust.transport.drivers import aiokafka as driver
from faust.transport.utils import DefaultSchedulingStrategy
from faust.types import TP

from rankstream.events.action_event import Record


class Chunk:
    """Records of one partition, in order; to Faust it looks like one aiokafka record whose value is itself."""

    __slots__ = ("epoch", "offset", "partition", "records", "start", "timestamp", "topic")
    timestamp_type = serialized_key_size = serialized_value_size = 0
    key = checksum = None
    headers: ClassVar[tuple[()]] = ()

    def __init__(self, tp: TP, records: Sequence[Record], start: int | None, epoch: int) -> None:
        self.topic, self.partition = tp
        self.records = records
        self.start = start  # where the chunk before it, or a seek, left off; None: not known
        self.epoch = epoch  # of the plan that it was read by
        self.offset = records[-1].offset
        self.timestamp = records[-1].timestamp

    @property
    def value(self) -> "Chunk":
        """Return what the agent receives."""
        return self

    @property
    def tp(self) -> TP:
        """Return topic and partition."""
        return TP(self.topic, self.partition)


class ReadingPlan:
    """Where reading resumes in each partition, and which chunks still belong to that reading."""

    def __init__(self) -> None:
        self._next: dict[TP, int | None] = {}
        self._epochs: dict[TP, int] = {}

    def restart(self, tp: TP, offset: int | None) -> None:
        """Note that reading resumes at ``offset`` (None: wherever the broker begins); chunks in flight are void."""
        self._next[tp] = offset
        self._epochs[tp] = self._epochs.get(tp, 0) + 1

    def cut(self, tp: TP, records: Sequence[Record], size: int) -> list[Chunk]:
        """Cut what a fetch brought into chunks."""
        chunks, epoch = [], self._epochs.get(tp, 0)
        for at in range(0, len(records), size):
            part = records[at : at + size]
            chunks.append(Chunk(tp, part, self._next.get(tp), epoch))
            self._next[tp] = part[-1].offset + 1
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

    def iterate(self, records: Mapping[TP, Sequence[Record]]) -> Iterator[tuple[TP, Chunk]]:
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
    """Faust's consumer thread with a fetch wait that suits busy and idle partitions side by side."""

    def _create_consumer(self, loop: asyncio.AbstractEventLoop) -> Any:
        """Replace the hard-coded 1500 ms.

        aiokafka has one fetch a broker in flight. While records of the busy partitions wait here to be processed,
        it fetches for the idle ones alone, and such a fetch would hold the next one of the busy ones back.
        """
        consumer = super()._create_consumer(loop)
        consumer._fetch_max_wait_ms = self.transport.fetch_max_wait_ms
        return consumer


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


class ChunkTransport(driver.Transport):
    """Faust's transport to Kafka with the consumer above."""

    Consumer = ChunkConsumer

    def __init__(
        self,
        urls: Sequence[Any],
        app: faust.App,
        positions: Callable[[Mapping[TP, int | None]], Mapping[TP, int]],
        fetch_max_wait_ms: int,
    ) -> None:
        super().__init__(urls, app)
        self.positions = positions  # from the group's offsets to those to seek to instead
        self.fetch_max_wait_ms = fetch_max_wait_ms
