"""What one partition sends, and the acknowledgements that are still pending."""

import asyncio
import logging
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from itertools import chain, groupby
from operator import attrgetter
from time import monotonic

from aiokafka import AIOKafkaProducer
from aiokafka.errors import InvalidTimestampError, UnknownTopicOrPartitionError
from aiokafka.producer.message_accumulator import BatchBuilder
from faust.types import TP

from rankstream.features.stores.cache import Changes
from rankstream.features.stores.rocksdb import POSITION, POSITION_BYTES
from rankstream.streams.clients.idempotent import TOO_LARGE_ERRORS
from rankstream.streams.codec import ids_of
from rankstream.streams.histogram import MOMENTS_S, Histogram
from rankstream.streams.records import Channel, Outgoing
from rankstream.streams.shortened import sent_bytes, shortened
from rankstream.streams.topics import CHANGELOG, TopicNames
from rankstream.streams.worker.batched_sends import send_in_batches
from rankstream.streams.worker.changelog_marks import NO_MARKS, ChangelogMarks
from rankstream.streams.worker.fence import Fence
from rankstream.streams.worker.finished_batches import Ending, FinishedBatch, batches_of
from rankstream.streams.worker.limits import Limits
from rankstream.streams.worker.source import HEADER, UNKNOWN, Source

log = logging.getLogger(__name__)

SMALL_BYTES = 4_096  # what is tried last, where brokers refuse more than they tell


class ClockRefusedError(RuntimeError):
    """Brokers refuse what this machine's clock stamps; the message is one sentence, with what to do."""


class TopicGoneError(RuntimeError):
    """A topic that is written to was deleted; the message is one sentence and says what to do."""


class ChangelogLimitError(RuntimeError):
    """The changelog takes no record as large as some state; the message is one sentence and says what to do."""


class ChangelogCutError(RuntimeError):
    """The changelog has lost records that it had acknowledged; the message is one sentence and says what to do."""


@contextmanager
def naming_the_clock() -> Iterator[None]:
    """Say what is wrong where brokers refuse a record for its time."""
    try:
        yield
    except InvalidTimestampError as exc:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        raise ClockRefusedError(
            f"the brokers refuse records that this machine stamps, whose clock says {now}: it is further ahead of "
            "theirs, or behind, than message.timestamp.after.max.ms and message.timestamp.before.max.ms allow (an "
            "hour ahead by default): set it right, and start again; nothing that was acknowledged is lost"
        ) from exc


class Outbox:
    """Sends to the partition number that the consumed record came from, in every topic.

    Feeds leave at once, unless they are held for transactions of their own. Behind a fence dead letters wait for the
    checkpoint, to be part of its transaction; without one, where the brokers know none, they leave at once too, and the
    changelog before the group's offsets.

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
        fence: Fence | None = None,
        holds_feeds: bool = False,
        changelog: ChangelogMarks = NO_MARKS,
    ) -> None:
        self._producer = producer
        self._fence = fence
        self._names = names
        self._partition = partition
        self._limits = limits
        self.source = source  # what positions in the changelog count in
        self._holds_feeds = holds_feeds
        self._changelog = changelog
        self.feed_s = Histogram(MOMENTS_S)  # from the producer's hands to a feed's acknowledgement
        self._logged_at = -1  # the highest offset in the changelog that was acknowledged
        self._letters: list[Outgoing] = []  # that wait for the transaction of a checkpoint
        self._answers: list[Outgoing] = []  # that wait for a transaction with the offset of their requests
        self._acks: list[asyncio.Future[object]] = []
        self._instead: dict[asyncio.Future[object], asyncio.Task[None]] = {}  # of refused records: what was sent then

    async def send(self, outgoing: Sequence[Outgoing]) -> None:
        """Hand records to the producer, waiting for room only; behind a fence dead letters wait for the checkpoint."""
        at_once: dict[Channel, list[Outgoing]] = {}
        for one in self._all_fitting(outgoing):
            if one.channel is Channel.DEAD_LETTERS and self._fence is not None:
                self._letters.append(one)
            else:
                at_once.setdefault(one.channel, []).append(one)
        for channel, records in at_once.items():
            self._acks += await self._send_all(channel, records, self._producer)

    async def answer(self, outgoing: Sequence[Outgoing]) -> None:
        """Send what requests are answered with: at once, or in a transaction with their offset."""
        if self._holds_feeds:
            self._answers += self._all_fitting(outgoing)
        else:
            await self.send(outgoing)

    def _all_fitting(self, outgoing: Sequence[Outgoing]) -> Iterator[Outgoing]:
        """Yield the records, shortened where they are too large for their topics."""
        without_feed = False
        for one in outgoing:
            if one.channel is Channel.SERVED and without_feed:  # stands behind its feed, which was not sent
                continue
            fitting = self._fitting(one)
            without_feed = one.channel is Channel.FEEDS and fitting is not one
            if fitting is not None:
                yield fitting

    async def _send_all(
        self, channel: Channel, records: Sequence[Outgoing], producer: AIOKafkaProducer
    ) -> list["asyncio.Future[object]"]:
        """Hand records of one channel to the producer; return an acknowledgement for each batch that holds some."""
        topic = self._names.of_channel(channel)
        sent = await send_in_batches(producer, topic, await self._partition_of(topic), records)
        for ack, of_batch in sent:
            ack.add_done_callback(partial(self._acknowledged, topic, of_batch, producer, monotonic()))
        return [ack for ack, _ in sent]

    def _fitting(self, one: Outgoing) -> Outgoing | None:
        """Return the record, or a shorter one if it is larger than its topic takes; None if there is no shorter one."""
        topic = self._names.of_channel(one.channel)
        limit = self._limits.of(topic)
        if sent_bytes(one) <= limit:
            return one
        short = shortened(one, limit)
        level = logging.WARNING if self._limits.tell_once(topic) else logging.DEBUG
        told = _told(one, topic, limit, short)
        log.log(level, "%s of %d bytes is too large for %s, which takes %d: %s", *told, extra=_ids_of(one))
        return short

    def _acknowledged(
        self,
        topic: str,
        records: Sequence[Outgoing],
        producer: AIOKafkaProducer,
        sent_at_s: float,
        ack: "asyncio.Future[object]",
    ) -> None:
        """Begin to send something else at once where the brokers refused records for their size, or their batch's."""
        failure = asyncio.CancelledError() if ack.cancelled() else ack.exception()
        if isinstance(failure, TOO_LARGE_ERRORS):
            self._instead[ack] = asyncio.get_running_loop().create_task(self._send_all_instead(records, producer))
            return
        took_s = monotonic() - sent_at_s
        for one in records:
            if one.channel is Channel.FEEDS:
                self.feed_s.observe(took_s)
                one.trace.sent(topic, failure)

    async def _send_all_instead(self, records: Sequence[Outgoing], producer: AIOKafkaProducer) -> None:
        for one in records:
            await self._send_instead(one, producer)

    async def _send_instead(self, one: Outgoing, producer: AIOKafkaProducer) -> None:
        """Send a refused record alone; if that is refused too, a shorter one; if there is none, report it."""
        await self._limits.read()
        topic = self._names.of_channel(one.channel)
        smallest = shortened(one, min(self._limits.of(topic), SMALL_BYTES))
        candidates = [each for each in (self._fitting(one), smallest) if each is not None]
        for each in candidates:
            try:
                batch = producer.create_batch()
                batch.append(key=each.key, value=each.value, timestamp=None, headers=list(each.trace.headers))
                await (await _close_and_send(producer, batch, topic, await self._partition_of(topic)))
                if each.channel is Channel.FEEDS:
                    each.trace.sent(topic, None)
                return
            except TOO_LARGE_ERRORS:
                continue
        if candidates:
            log.error("%s refuses a record of partition %d of any size, key %.80r", topic, self._partition, one.key)

    async def _partition_of(self, topic: str) -> int:
        """Return the same number, folded where a topic has fewer partitions. Raises ``TopicGoneError``."""
        try:
            return self._partition % len(await self._producer.partitions_for(topic))
        except UnknownTopicOrPartitionError as exc:
            raise TopicGoneError(
                f"the topic {topic} is there no more, so nothing can be written to it: start the worker again, which "
                "creates it if it may, or `rankstream topics create`; nothing that was acknowledged is lost"
            ) from exc

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
                with naming_the_clock():
                    raise result

    @property
    def held_bytes(self) -> int:
        """How many bytes wait for the checkpoint."""
        return sum(len(one.value) for one in chain(self._letters, self._answers))

    def take_letters(self) -> list[Outgoing]:
        """Take the dead letters that wait for a checkpoint; none where they leave at once."""
        letters, self._letters = self._letters, []
        return letters

    def take_answers(self) -> list[Outgoing]:
        """Take the answers that wait for a transaction; none where they leave at once."""
        answers, self._answers = self._answers, []
        return answers

    async def write(self, outgoing: Sequence[Outgoing], changes: Changes | None, offsets: Mapping[TP, int]) -> bool:
        """Write what makes up a checkpoint and wait until it counts; return whether the group's offsets are among it.

        Behind a fence it is one transaction, and raises ``FencedError`` where another worker has the partition.
        """
        if self._fence is None:
            if changes is not None:
                await self._log_changes(changes, self._producer)
            return False
        if outgoing or changes is not None or offsets:
            async with self._fence.transaction(offsets) as producer:
                acks = []
                for channel, records in groupby(outgoing, key=attrgetter("channel")):
                    acks += await self._send_all(channel, list(records), producer)
                if changes is not None:
                    await self._log_changes(changes, producer)
                await self._settled(acks)
        return True

    async def _log_changes(self, changes: Changes, producer: AIOKafkaProducer) -> None:
        """Write changed users, then their position if they have one, to the changelog; wait for acknowledgements.

        Whole batches are filled here: a tenth of the cost of sending one by one.
        """
        topic, batches = self._names.of(CHANGELOG), self._batches(changes, producer)
        acks = [await _close_and_send(producer, batch, topic, self._partition) for batch in batches]
        with naming_the_clock(), self._naming_the_limit(topic):
            written = await asyncio.gather(*acks)
        self._check_changelog(topic, [getattr(one, "offset", -1) for one in written])

    @contextmanager
    def _naming_the_limit(self, topic: str) -> Iterator[None]:
        """Say what is wrong where brokers refuse states for their size: nothing can stand for one."""
        try:
            yield
        except TOO_LARGE_ERRORS as exc:
            raise ChangelogLimitError(
                f"the changelog {topic} takes less in a record than a user's state, or than was told when this worker "
                f"started ({self._limits.of(topic):,} bytes): raise its max.message.bytes, and start again; nothing "
                "that was acknowledged is lost"
            ) from exc

    def _check_changelog(self, topic: str, offsets: Sequence[int]) -> None:
        """Refuse to go on where the changelog is shorter than it was: nobody but the partition's owner writes to it.

        Raised before the transaction counts. A position behind the gap would say that all states are there.
        """
        if 0 <= min(offsets) <= self._logged_at:
            raise ChangelogCutError(
                f"the changelog {topic} partition {self._partition} has lost records: what was written now stands at "
                f"offset {min(offsets)}, and offset {self._logged_at} was acknowledged before; start the worker again"
                + (
                    ", and it writes the states that were lost"
                    if self._fence is not None
                    else f" after deleting the topic {topic}, and it writes all states to a new one"
                )
            )
        self._logged_at = max(self._logged_at, *offsets)

    def _position(self, next_offset: int) -> Ending:
        about = [(HEADER, self.source.packed()), *self._changelog.headers()]
        return Ending(POSITION, next_offset.to_bytes(POSITION_BYTES, "little"), about)

    def _batches(self, changes: Changes, producer: AIOKafkaProducer) -> Iterator[BatchBuilder | FinishedBatch]:
        ending = None if changes.next_offset is None else self._position(changes.next_offset)
        finished = batches_of(changes.records, ending, producer)
        return self._filled(changes.records, ending, producer) if finished is None else finished

    def _filled(
        self, records: Mapping[bytes, bytes], ending: Ending | None, producer: AIOKafkaProducer
    ) -> Iterator[BatchBuilder]:
        """Yield batches that aiokafka fills, record by record."""
        last = [] if ending is None else [(ending.key, ending.value)]
        batch = producer.create_batch()
        for key, value in chain(records.items(), last):
            headers = ending.headers if ending is not None and key == POSITION else []
            if batch.append(key=key, value=value, timestamp=None, headers=headers) is None:
                yield batch
                batch = producer.create_batch()
                batch.append(key=key, value=value, timestamp=None, headers=headers)  # the first one of any size
        yield batch

    async def is_refused(self) -> bool:
        """Return whether another worker has the partition; never known where there is no fence."""
        return self._fence is not None and await self._fence.is_refused()

    async def close(self, flush: bool) -> None:
        """Leave the partition; without ``flush`` nothing is sent any more."""
        if self._fence is not None:
            await self._fence.close(flush)


async def _close_and_send(
    producer: AIOKafkaProducer, batch: BatchBuilder | FinishedBatch, topic: str, partition: int
) -> "asyncio.Future[object]":
    batch.close()
    ack: asyncio.Future[object] = await producer.send_batch(batch, topic, partition=partition)
    return ack


def _ids_of(one: Outgoing) -> dict[str, object]:
    """Return what names a feed in the log; a dead letter holds bytes that nobody could read."""
    ids = ids_of(one.value) if one.channel is Channel.FEEDS else None
    return {} if ids is None else {"request_id": ids[0], "user_id": ids[1]}


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
