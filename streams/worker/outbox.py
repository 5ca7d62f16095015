"""What one partition sends, and the acknowledgements that are still pending."""

import asyncio
import logging
from collections.abc import Awaitable, Iterable, Sequence
from functools import partial

from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError, RecordListTooLargeError

from rankstream.features.stores.cache import Changes
from rankstream.features.stores.rocksdb import POSITION, POSITION_BYTES
from rankstream.streams.records import Channel, Outgoing
from rankstream.streams.shortened import sent_bytes, shortened
from rankstream.streams.topics import CHANGELOG, TopicNames
from rankstream.streams.worker.limits import Limits
from rankstream.streams.worker.source import HEADER, UNKNOWN, Source

log = logging.getLogger(__name__)

TOO_LARGE_ERRORS = (MessageSizeTooLargeError, RecordListTooLargeError)
SMALL_BYTES = 4_096  # what is tried last, where brokers refuse more than they tell


class Outbox:
    """Sends to the partition number that the consumed record came from, in every topic.

    What is too large for its topic is shortened before it is sent, and when the brokers refuse it: that is about the
    record, and no reason to stop. Any other refusal is raised by its acknowledgement.
    """

    def __init__(
        self,
        producer: AIOKafkaProducer,
        names: TopicNames,
        partition: int,
        limits: Limits,
        source: Source = UNKNOWN,
    ) -> None:
        self._producer = producer
        self._names = names
        self._partition = partition
        self._limits = limits
        self._source = source  # what positions in the changelog count in
        self._acks: list[asyncio.Future[object]] = []
        self._instead: dict[asyncio.Future[object], asyncio.Task[None]] = {}  # of refused records: what was sent then

    async def send(self, outgoing: Sequence[Outgoing]) -> None:
        """Hand records to the producer, waiting for room only."""
        without_feed = False
        for one in outgoing:
            if one.channel is Channel.SERVED and without_feed:  # stands behind its feed, which was not sent
                continue
            fitting = self._fitting(one)
            without_feed = one.channel is Channel.FEEDS and fitting is not one
            if fitting is not None:
                await self._send(fitting)

    async def _send(self, one: Outgoing) -> None:
        topic = self._names.of_channel(one.channel)
        ack = await self._producer.send(topic, one.value, one.key, partition=await self._partition_of(topic))
        ack.add_done_callback(partial(self._acknowledged, one))
        self._acks.append(ack)

    def _fitting(self, one: Outgoing) -> Outgoing | None:
        """Return the record, or a shorter one if it is larger than its topic takes; None if there is no shorter one."""
        topic = self._names.of_channel(one.channel)
        limit = self._limits.of(topic)
        if sent_bytes(one) <= limit:
            return one
        short = shortened(one, limit)
        level = logging.WARNING if self._limits.tell_once(topic) else logging.DEBUG
        log.log(level, "%s of %d bytes is too large for %s, which takes %d: %s", *_told(one, topic, limit, short))
        return short

    def _acknowledged(self, one: Outgoing, ack: "asyncio.Future[object]") -> None:
        """Begin to send something else at once where the brokers refused a record for its size, or its batch's."""
        if not ack.cancelled() and isinstance(ack.exception(), TOO_LARGE_ERRORS):
            self._instead[ack] = asyncio.get_running_loop().create_task(self._send_instead(one))

    async def _send_instead(self, one: Outgoing) -> None:
        """Send a refused record alone; if that is refused too, a shorter one; if there is none, report it."""
        await self._limits.read()
        topic = self._names.of_channel(one.channel)
        smallest = shortened(one, min(self._limits.of(topic), SMALL_BYTES))
        candidates = [each for each in (self._fitting(one), smallest) if each is not None]
        for each in candidates:
            try:
                batch = self._producer.create_batch()
                batch.append(key=each.key, value=each.value, timestamp=None)
                await (await self._close_and_send(batch, topic, await self._partition_of(topic)))
                return
            except TOO_LARGE_ERRORS:
                continue
        if candidates:
            log.error("%s refuses a record of partition %d of any size, key %.80r", topic, self._partition, one.key)

    async def _partition_of(self, topic: str) -> int:
        """Return the same number, folded where a topic has fewer partitions."""
        return self._partition % len(await self._producer.partitions_for(topic))

    def take_acks(self) -> list[Awaitable[object]]:
        """Take the pending acknowledgements: each raises if nothing was acknowledged, nor sent instead."""
        acks, self._acks = self._acks, []
        return [self._settled(acks)] if acks else []

    async def _settled(self, acks: Sequence["asyncio.Future[object]"]) -> None:
        results = await asyncio.gather(*acks, return_exceptions=True)
        for ack, result in zip(acks, results, strict=True):
            if ack in self._instead:
                await self._instead.pop(ack)
            elif isinstance(result, BaseException):
                raise result

    async def log_changes(self, changes: Changes) -> None:
        """Write changed users, then their position, to the changelog, and wait for the acknowledgements."""
        position = changes.next_offset.to_bytes(POSITION_BYTES, "little")
        acks = await self._send_batches([*changes.records.items(), (POSITION, position)])
        await asyncio.gather(*acks)

    async def _send_batches(self, records: Iterable[tuple[bytes, bytes]]) -> list[asyncio.Future[object]]:
        """Fill whole batches ourselves: a tenth of the cost of sending one by one."""
        topic, acks = self._names.of(CHANGELOG), []
        source = [(HEADER, self._source.packed())]
        batch = self._producer.create_batch()
        for key, value in records:
            headers = source if key == POSITION else []
            if batch.append(key=key, value=value, timestamp=None, headers=headers) is None:
                acks.append(await self._close_and_send(batch, topic, self._partition))
                batch = self._producer.create_batch()
                if batch.append(key=key, value=value, timestamp=None, headers=headers) is None:
                    raise ValueError(f"the state of user {key!r} is larger than a batch: {len(value):,} bytes")
        acks.append(await self._close_and_send(batch, topic, self._partition))
        return acks

    async def _close_and_send(self, batch: object, topic: str, partition: int) -> "asyncio.Future[object]":
        batch.close()  # type: ignore[attr-defined]
        ack: asyncio.Future[object] = await self._producer.send_batch(batch, topic, partition=partition)
        return ack


def _told(one: Outgoing, topic: str, limit: int, short: Outgoing | None) -> tuple[str, int, str, int, str]:
    """Return what is logged of a record that is too large."""
    what = {
        Channel.FEEDS: "a feed",
        Channel.DEAD_LETTERS: "a dead letter",
        Channel.SERVED: "a record of what was served",
    }
    instead = {Channel.FEEDS: "an error feed is sent", Channel.DEAD_LETTERS: "it is cut"}
    done = "it is not sent" if short is None else instead[one.channel]
    return what[one.channel], sent_bytes(one), topic, limit, done
