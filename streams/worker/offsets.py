"""Where partitions begin and end, correct on every broker, and what the group has committed."""

import asyncio
from collections.abc import Awaitable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from faust.types import TP

from rankstream.events.action_event import Record
from rankstream.streams import skips
from rankstream.streams.clients.patient_client import QUESTION_S, make_patient, patient_admin
from rankstream.streams.clients.throttling import OF_THIS_PROCESS
from rankstream.streams.connection import READ_COMMITTED, connection_of
from rankstream.streams.settings import Settings

ANSWER_S = 30.0
RETRY_S = 0.1


@dataclass(frozen=True)
class Bounds:
    """The offsets that a partition holds."""

    begin: int  # of the oldest record kept
    end: int  # of the next record to come; where a transaction is open, of its first record
    in_transactions: int = 0  # offsets behind the end: nobody reads them before their transactions are over

    @property
    def written(self) -> int:
        """Offset of the next record to be written."""
        return self.end + self.in_transactions

    @property
    def count(self) -> int:
        """How many offsets lie between; at least as many as there are records."""
        return self.end - self.begin


class Reader(AIOKafkaConsumer):  # type: ignore[misc]
    """aiokafka's consumer; where it stops, nobody is cancelled but its own tasks.

    It cancels fetches that wait to be tried again, and lets through what that raises: whoever reads would take it for
    a cancellation of his own, and end without a word.
    """

    async def __aenter__(self) -> "Reader":
        """Start it; where that fails, or is given up, its connections are closed."""
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def stop(self) -> None:
        """Stop it. Raises ``CancelledError`` only where the one who waits was cancelled."""
        if not await is_stopped(super().stop()):
            await self._client.close()


async def is_stopped(stopping: Awaitable[None]) -> bool:
    """Await what stops a consumer of aiokafka; return whether it was done, with its connections closed.

    Raises ``CancelledError`` only where the one who waits was cancelled.
    """
    try:
        await stopping
    except asyncio.CancelledError:
        waiting = asyncio.current_task()
        if waiting is None or waiting.cancelling():
            raise
        return False
    return True


def reader(settings: Settings, **options: Any) -> AIOKafkaConsumer:
    """Return a consumer, not started yet, that belongs to no group; ``options`` are aiokafka's.

    One for each assignment: aiokafka may hang in ``stop`` after a second one, as its fetcher swallows the cancellation.
    """
    consumer = Reader(
        **connection_of(settings, AIOKafkaConsumer),
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level=READ_COMMITTED,
        fetch_max_wait_ms=settings.fetch_max_wait_ms,
        max_partition_fetch_bytes=4 << 20,
        **options,
    )
    make_patient(consumer._client, QUESTION_S)
    OF_THIS_PROCESS.watch(consumer._client)
    return consumer


async def bounds_of(settings: Settings, tps: Collection[TP]) -> dict[TP, Bounds]:
    """Return the bounds of these partitions.

    The end comes with a fetch: the embedded broker's answer to "latest" is the base of the last batch + 1, somewhere
    before the end. It is the last stable offset, which every reader here comes to; the high watermark lies behind it
    as long as a transaction is open.
    """
    kafka_tps = {tp: TopicPartition(tp.topic, tp.partition) for tp in tps}
    async with OF_THIS_PROCESS.answered_within(ANSWER_S), reader(settings) as consumer:
        begins = await consumer.beginning_offsets(list(kafka_tps.values()))
        ends = await consumer.end_offsets(list(kafka_tps.values()))
        written = dict(ends)
        todo = {tp for tp in kafka_tps.values() if ends[tp] > begins[tp]}
        if todo:
            consumer.assign(list(todo))
        for tp in todo:
            consumer.seek(tp, ends[tp] - 1)
        while todo:
            await consumer.getmany(*todo, timeout_ms=100, max_records=1)
            for tp in list(todo):
                watermark, stable = consumer.highwater(tp), consumer.last_stable_offset(tp)
                if watermark is not None:
                    written[tp] = max(written[tp], watermark)
                    ends[tp] = max(ends[tp], watermark if stable is None or stable < 0 else stable)
                    todo.remove(tp)
    return {tp: Bounds(begins[one], ends[one], written[one] - ends[one]) for tp, one in kafka_tps.items()}


async def begins_of(settings: Settings, tps: Collection[TP]) -> dict[TP, int]:
    """Return the offset of the oldest record kept of each partition."""
    kafka_tps = [TopicPartition(*tp) for tp in tps]
    async with OF_THIS_PROCESS.answered_within(ANSWER_S), reader(settings) as consumer:
        found = await consumer.beginning_offsets(kafka_tps)
    return {TP(*tp): begin for tp, begin in found.items()}


async def records_at(settings: Settings, windows: Mapping[TP, Bounds]) -> dict[TP, Record | None]:
    """Return the first record between these offsets, None where there is none; those that expired are left out.

    Raises ``TimeoutError`` where brokers don't answer.
    """
    found: dict[TP, Record | None] = {}
    todo = {TopicPartition(tp.topic, tp.partition): window for tp, window in windows.items()}
    async with OF_THIS_PROCESS.answered_within(ANSWER_S), reader(settings) as consumer:
        consumer.assign(list(todo))
        for tp, window in todo.items():
            consumer.seek(tp, window.begin)
        waiting = set(todo)
        while waiting:
            for tp, records in (await consumer.getmany(*waiting, timeout_ms=100)).items():
                found[TP(*tp)] = records[0]
            waiting -= {tp for tp in waiting if TP(*tp) in found or await consumer.position(tp) >= todo[tp].end}
        begins = await consumer.beginning_offsets(list(todo))
    return {TP(*tp): found.get(TP(*tp)) for tp, window in todo.items() if begins[tp] <= window.begin}


async def committed_and_skipped(settings: Settings, tps: Collection[TP]) -> tuple[dict[TP, int], dict[TP, range]]:
    """Return what the group has committed of these partitions, for those where it has.

    And what an operator has told workers to pass over (``streams/skips.py``).
    """
    kafka_tps = [TopicPartition(tp.topic, tp.partition) for tp in tps]
    async with OF_THIS_PROCESS.answered_within(ANSWER_S):
        found = await offsets_of_group(settings, kafka_tps)
    known = {TP(tp.topic, tp.partition): meta for tp, meta in found.items() if meta.offset >= 0}
    skipped = {tp: skips.unpacked(meta.metadata) for tp, meta in known.items()}
    return {tp: meta.offset for tp, meta in known.items()}, {tp: some for tp, some in skipped.items() if some}


async def offsets_of_group(settings: Settings, tps: list[TopicPartition]) -> dict[Any, Any]:
    """Ask until there is a coordinator, over connections that hold: a new cluster first creates the topic it needs."""
    while True:
        admin = patient_admin(settings)
        try:
            await admin.start()
            found: dict[Any, Any] = await admin.list_consumer_group_offsets(settings.app_id, partitions=tps)
            return found
        except KafkaError as exc:
            if not exc.retriable:
                raise
        finally:
            await admin.close()
        await asyncio.sleep(RETRY_S)
