"""The road over Kafka: one producer, one reader of ranked-feeds, and a look every second whether a broker answers."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.errors import MessageSizeTooLargeError as TooLarge
from faust.types import TP

from rankstream.gateway.answers import RefusedError, RejectedItem
from rankstream.gateway.intake import Keyed
from rankstream.gateway.road import OnFeed, no_broker
from rankstream.streams.broker_watch import BrokerWatch
from rankstream.streams.clients.broker_asker import BrokerAsker
from rankstream.streams.clients.connect import ClientError, missing_topics, require_topics
from rankstream.streams.clients.diagnosis import why_not
from rankstream.streams.clients.patient_client import make_patient
from rankstream.streams.clients.rights import READ, WRITE
from rankstream.streams.clients.throttling import Throttling
from rankstream.streams.connection import READ_COMMITTED, connection_of
from rankstream.streams.settings import Settings
from rankstream.streams.topics import ACTIONS, FEEDS, IMPRESSIONS, MAX_BYTES, REQUESTS, Topic, TopicNames
from rankstream.streams.tracing import UNTRACED_CALL, CallTrace
from rankstream.streams.worker.offsets import Reader, bounds_of

log = logging.getLogger(__name__)

READ_AGAIN_S = 1.0
STOP_S = 5.0
POLL_MS = 1000


class KafkaRoad:
    """Sends with the keys and the partitioner of the topics, and reads all feeds from now on, in no group."""

    def __init__(self, settings: Settings, ack_timeout_s: float) -> None:
        self.settings = settings
        self.ack_timeout_s = ack_timeout_s
        self._names = TopicNames(settings.topic_prefix)
        self._topics = {ACTIONS, REQUESTS}
        self._broker = BrokerWatch(settings.bootstrap_servers, self._is_answered, self._diagnosis)
        self._throttling = Throttling()
        self._asker: BrokerAsker | None = None
        self._unread: str | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._started: list[AIOKafkaProducer | Reader] = []

    async def open(self, on_feed: OnFeed) -> None:
        """Connect, and read feeds from where their topic ends now. Raises ``ClientError``."""
        written = [self._names.of(topic) for topic in (ACTIONS, REQUESTS)]
        await asyncio.to_thread(require_topics, self.settings, written, WRITE)
        await asyncio.to_thread(require_topics, self.settings, [self._names.of(FEEDS)], READ)
        if not await asyncio.to_thread(missing_topics, self.settings, [self._names.of(IMPRESSIONS)]):
            self._topics.add(IMPRESSIONS)
        # murmur2 is aiokafka's own partitioner; linger 0: who waits for an answer waits for no other record
        self._producer = AIOKafkaProducer(
            **connection_of(self.settings, AIOKafkaProducer), acks="all", linger_ms=0, max_request_size=MAX_BYTES
        )
        make_patient(self._producer.client)
        self._throttling.watch(self._producer.client)
        self._consumer = Reader(
            **connection_of(self.settings, Reader),
            enable_auto_commit=False,
            auto_offset_reset="latest",
            isolation_level=READ_COMMITTED,
            fetch_max_wait_ms=self.settings.fetch_max_wait_ms,
            max_partition_fetch_bytes=MAX_BYTES,
        )
        make_patient(self._consumer._client)
        try:
            for client in (self._producer, self._consumer):
                self._started.append(client)
                await client.start()
            await self._start_asker()
            await self._read_from_now_on()
        except (KafkaError, TimeoutError) as exc:
            told = f"the brokers at {self.settings.bootstrap_servers} do not let feeds be read ({type(exc).__name__})"
            raise ClientError(f"{told}: {exc}") from exc
        self._tasks = [asyncio.create_task(self._read(on_feed)), asyncio.create_task(self._broker.watch())]

    async def _start_asker(self) -> None:
        self._asker = BrokerAsker(self.settings, self._names.of(ACTIONS))
        self._throttling.watch(self._asker.client)
        await self._asker.start()

    async def _read_from_now_on(self) -> None:
        topic = self._names.of(FEEDS)
        numbers = await self._producer.partitions_for(topic)
        bounds = await bounds_of(self.settings, [TP(topic, number) for number in sorted(numbers)])
        self._consumer.assign([TopicPartition(*tp) for tp in bounds])
        for tp, found in bounds.items():
            self._consumer.seek(TopicPartition(*tp), found.end)

    async def close(self) -> None:
        """Hang up; what was acknowledged was safe already."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for client in self._started:
            with suppress(TimeoutError, KafkaError):
                async with asyncio.timeout(STOP_S):
                    await client.stop()
        if self._asker is not None:
            await self._asker.close()

    def why_lacks(self, topic: Topic) -> str | None:
        """Return what to do where the topic was not there when the gateway began."""
        if topic in self._topics:
            return None
        return (
            f"there was no topic {topic.name} when the gateway began; `rankstream topics create` makes it, and a "
            "gateway that is started then sends to it"
        )

    def why_not(self) -> str | None:
        """Return why no broker answers, or why feeds are not read."""
        return self._broker.down or self._unread

    def counters(self) -> None:
        """Return nothing: workers apply and rank."""
        return None

    async def send(
        self, topic: Topic, records: Sequence[Keyed], trace: CallTrace = UNTRACED_CALL
    ) -> Sequence[RejectedItem]:
        """Return when every replica in sync has the records; workers reject later. Raises ``RefusedError``."""
        if self._broker.down is not None:
            raise no_broker(self._broker.down)
        name = self._names.of(topic)
        try:
            async with asyncio.timeout(self.ack_timeout_s):
                with trace.sending(name, len(records)) as told:
                    headers = list(told)
                    acks = [await self._producer.send(name, value, key, headers=headers) for key, value in records]
                    await asyncio.gather(*acks)
                return ()
        except TooLarge as exc:
            raise RefusedError(413, "too-large", f"the brokers refuse a record of that size: {exc}") from exc
        except TimeoutError as exc:
            raise no_broker(
                f"no broker acknowledged within {self.ack_timeout_s:g} s; it may have been taken, and may be sent again"
            ) from exc
        except KafkaError as exc:
            raise no_broker(f"the brokers did not take it ({type(exc).__name__}); it may be sent again") from exc

    async def _read(self, on_feed: OnFeed) -> None:
        while True:
            try:
                batches = await self._consumer.getmany(timeout_ms=POLL_MS)
            except Exception as exc:  # whatever a fetch meets: a reader that ended would leave all unanswered, unsaid
                if self._unread is None:
                    self._unread = f"{self._names.of(FEEDS)} can't be read ({type(exc).__name__}): {exc}"
                    log.warning("%s", self._unread)
                await asyncio.sleep(READ_AGAIN_S)
                continue
            self._unread = None
            for records in batches.values():
                for record in records:
                    if record.value is not None:
                        on_feed(record.value)

    async def _is_answered(self) -> bool:
        if self._throttling.holds_back:
            return True  # a broker has said so
        return self._asker is not None and await self._asker.is_answered()

    async def _diagnosis(self, told: str) -> str:
        found = await asyncio.to_thread(why_not, self.settings)
        return f"{told}: {found}" if found else told
