"""Clients of the stream in plain kafka-python: send actions and requests, read feeds and dead letters.

For programs beside the workers; a worker's own reading and writing is in ``app.py``. Everything here works on Apache
Kafka and on the embedded broker alike, and every failure of a broker is a ``ClientError`` of one sentence.
"""

import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient
from kafka.errors import KafkaError

from features.ids import Id, id_bytes
from streams.codec import ActionEvent, DeadLetter, RankedFeed, RankingRequest, Record
from streams.settings import Settings
from streams.topics import ACTIONS, DEAD_LETTERS, FEEDS, REQUESTS, Topic, TopicNames

BOOTSTRAP_MS = 5_000
HANG_S = 10.0  # a TLS handshake with a listener that speaks none has no timeout of its own
FETCH_WAIT_MS = 50  # the embedded broker's long polls do not wake when records come
POLL_MS = 200
NEW_TOPIC_S = 2.0  # until all brokers know a topic that was just created

T = TypeVar("T")


class ClientError(Exception):
    """A broker that can't be used as asked; the message is one sentence with what to do."""


def kafka_options(settings: Settings) -> dict[str, Any]:
    """Give what all clients of kafka-python need: where the brokers are and how to log in."""
    options: dict[str, Any] = {
        "bootstrap_servers": [server.strip() for server in settings.bootstrap_servers.split(",")],
        "bootstrap_timeout_ms": BOOTSTRAP_MS,
        "security_protocol": settings.security_protocol,
        "client_id": "rankstream",
    }
    if settings.security_protocol.startswith("SASL"):
        options["sasl_mechanism"] = settings.sasl_mechanism
        options["sasl_plain_username"] = settings.sasl_username
        options["sasl_plain_password"] = settings.sasl_password
    if settings.security_protocol.endswith("SSL") and settings.ssl_cafile is not None:
        options["ssl_cafile"] = str(settings.ssl_cafile)
    return options


def connect(settings: Settings, make: Callable[..., T], **options: Any) -> T:
    """Make a client of kafka-python within seconds. Raises ``ClientError``."""
    made: list[T] = []
    failed: list[BaseException] = []

    def attempt() -> None:
        try:
            made.append(make(**kafka_options(settings), **options))
        except BaseException as exc:  # handed over to the waiting thread
            failed.append(exc)

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(HANG_S)
    if made:
        return made[0]
    if failed and not isinstance(failed[0], KafkaError | OSError | ValueError):
        raise failed[0]
    reason = f" ({failed[0]})" if failed and not isinstance(failed[0], KafkaError) else ""
    login = "" if settings.security_protocol == "PLAINTEXT" else " and the security settings fit"
    raise ClientError(
        f"no Kafka broker answers at {settings.bootstrap_servers} with {settings.security_protocol}{reason}; "
        f"check that one runs there{login}, or name another with --bootstrap-servers"
    )


def connect_admin(settings: Settings) -> Any:
    """Give kafka-python's admin client. Raises ``ClientError``."""
    return connect(settings, KafkaAdminClient)


def missing_topics(settings: Settings, wanted: Collection[str], patience_s: float = 0.0) -> list[str]:
    """Say which of these topics (full names) the cluster lacks, without creating them by asking.

    New topics take a moment until every broker knows them: ask with some patience after creating.
    """
    admin = connect_admin(settings)
    deadline = time.monotonic() + patience_s
    try:
        while True:
            existing = set(admin.list_topics())
            missing = [name for name in wanted if name not in existing]
            if not missing or time.monotonic() > deadline:
                return missing
            time.sleep(POLL_MS / 1000)
    except KafkaError as exc:
        raise ClientError(f"the brokers at {settings.bootstrap_servers} do not list their topics: {exc}") from exc
    finally:
        admin.close()


def require_topics(settings: Settings, wanted: Collection[str]) -> None:
    """Raise ``ClientError`` if a topic is missing."""
    missing = missing_topics(settings, wanted, NEW_TOPIC_S)
    if missing:
        raise ClientError(
            f"the cluster at {settings.bootstrap_servers} has no topic {', '.join(missing)}; "
            "create it with `rankstream topics create`, or check --topic-prefix"
        )


class RawProducer:
    """Sends bytes to topics that exist, all of them acknowledged by every replica in sync."""

    def __init__(self, settings: Settings, topics: Collection[str]) -> None:
        require_topics(settings, topics)
        self._kafka = connect(
            settings, KafkaProducer, acks="all", linger_ms=0, batch_size=1 << 18, max_request_size=4 << 20
        )
        self._failures: list[BaseException] = []

    def send(self, topic: str, key: bytes | None, value: bytes) -> None:
        """Queue one record; ``flush`` waits until the brokers have it."""
        try:
            self._kafka.send(topic, key=key, value=value).add_errback(self._failures.append)
        except KafkaError as exc:
            raise ClientError(f"a record can't be sent to {topic}: {exc}") from exc

    def flush(self, timeout_s: float = 30.0) -> None:
        """Wait until the brokers have all that was sent. Raises ``ClientError`` if they don't take it."""
        try:
            self._kafka.flush(timeout_s)
        except KafkaError as exc:
            raise ClientError(f"the brokers did not take all records within {timeout_s:g} s: {exc}") from exc
        if self._failures:
            count, first = len(self._failures), self._failures[0]
            self._failures.clear()
            raise ClientError(f"the brokers refused {count:,} records, the first with: {first}")

    def close(self) -> None:
        """Give the connection back; flush first."""
        self._kafka.close(timeout=5)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None) -> None:
        try:
            if kind is None:
                self.flush()
        finally:
            self.close()


class Producer(RawProducer):
    """Sends actions and requests with the keys that bring a user's records to the worker that knows the user."""

    def __init__(self, settings: Settings) -> None:
        names = TopicNames(settings.topic_prefix)
        self._actions, self._requests = names.of(ACTIONS), names.of(REQUESTS)
        super().__init__(settings, [self._actions, self._requests])
        self._encode = msgspec.json.Encoder().encode

    def send_action(self, event: ActionEvent) -> None:
        """Queue one action."""
        self.send(self._actions, id_bytes(event.user_id), self._encode(event))

    def send_request(self, request: RankingRequest) -> None:
        """Queue one request."""
        self.send(self._requests, id_bytes(request.user_id), self._encode(request))


class TopicReader:
    """Reads all partitions of one topic, or one, from the beginning or from the end as it is now; no consumer group."""

    def __init__(
        self, settings: Settings, topic: Topic, from_beginning: bool = False, partition: int | None = None
    ) -> None:
        self.topic = TopicNames(settings.topic_prefix).of(topic)
        require_topics(settings, [self.topic])
        self._kafka = connect(
            settings,
            KafkaConsumer,
            enable_auto_commit=False,
            auto_offset_reset="earliest" if from_beginning else "latest",
            fetch_max_wait_ms=FETCH_WAIT_MS,
            max_partition_fetch_bytes=8 << 20,
        )
        numbers = self._kafka.partitions_for_topic(self.topic) or set()
        wanted = numbers if partition is None else numbers & {partition}
        self.partitions = [TopicPartition(self.topic, number) for number in sorted(wanted)]
        self._kafka.assign(self.partitions)
        if from_beginning:
            self._kafka.seek_to_beginning(*self.partitions)
        else:
            self._seek_to_end()

    def _seek_to_end(self) -> None:
        for partition, end in self.ends().items():
            self._kafka.seek(partition, end)

    def ends(self, deadline_s: float = 10.0) -> dict[Any, int]:
        """Give the offset after the last record of each partition, and leave the reader anywhere.

        Asked by a fetch of the last record: the embedded broker's ListOffsets answers the first offset of the last
        batch + 1, which is too small, but never 0 where there is a record.
        """
        ends: dict[Any, int] = dict(self._kafka.end_offsets(self.partitions))
        asked = {partition for partition, end in ends.items() if end > 0}
        for partition in asked:
            self._kafka.seek(partition, ends[partition] - 1)
        self._kafka.pause(*(partition for partition in self.partitions if partition not in asked))
        deadline = time.monotonic() + deadline_s
        seen: set[Any] = set()
        while seen != asked:
            if time.monotonic() > deadline:
                raise ClientError(f"the end of {self.topic} did not show within {deadline_s:g} s; is a broker down?")
            self._kafka.poll(POLL_MS)
            seen = {partition for partition in asked if self._kafka.highwater(partition) is not None}
        self._kafka.resume(*self.partitions)
        return {partition: self._kafka.highwater(partition) if partition in asked else 0 for partition in ends}

    def poll(self, timeout_s: float = POLL_MS / 1000) -> list[Record]:
        """Give the records that have come, perhaps none."""
        try:
            batches = self._kafka.poll(timeout_ms=int(timeout_s * 1000))
        except KafkaError as exc:
            raise ClientError(f"{self.topic} can't be read: {exc}") from exc
        return [record for batch in batches.values() for record in batch]

    def count(self) -> int:
        """Say how many offsets the topic holds now; at least as many as there are records."""
        return sum(max(0, end - begin) for begin, end in self.bounds().values())

    def read_all(self) -> Iterator[Record]:
        """Give what the topic holds now, from the beginning, and stop; in order within each partition."""
        ends = {partition.partition: end for partition, end in self.ends().items() if end > 0}
        self._kafka.seek_to_beginning(*self.partitions)
        while any(self.position(number) < end for number, end in ends.items()):
            for record in self.poll():
                if record.offset < ends.get(record.partition, 0):
                    yield record

    def bounds(self) -> dict[int, tuple[int, int]]:
        """Give partition -> offset of its first record and after its last one."""
        begins: dict[Any, int] = self._kafka.beginning_offsets(self.partitions)
        return {one.partition: (begins[one], end) for one, end in self.ends().items()}

    def seek(self, offsets: Mapping[int, int]) -> None:
        """Read on at these offsets, of these partitions only."""
        self._kafka.assign([TopicPartition(self.topic, number) for number in offsets])
        for number, offset in offsets.items():
            self._kafka.seek(TopicPartition(self.topic, number), offset)

    def pause(self, numbers: Collection[int]) -> None:
        """Hold back these partitions, and no others."""
        self._kafka.resume(*self._kafka.paused())
        self._kafka.pause(*(TopicPartition(self.topic, number) for number in numbers))

    def position(self, number: int) -> int:
        """Give the offset that is read next."""
        return int(self._kafka.position(TopicPartition(self.topic, number)))

    def close(self) -> None:
        """Give the connection back."""
        self._kafka.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class FeedReader(TopicReader):
    """Reads ranked feeds: as they come, or the answers to certain requests.

    Open it before the request is sent; a feed that was there before is only seen with ``from_beginning``.
    """

    def __init__(self, settings: Settings, from_beginning: bool = False) -> None:
        super().__init__(settings, FEEDS, from_beginning)
        self._decode = msgspec.json.Decoder(RankedFeed).decode

    def feeds(self, timeout_s: float = POLL_MS / 1000) -> list[RankedFeed]:
        """Give the feeds that have come, perhaps none."""
        return [self._decode(record.value) for record in self.poll(timeout_s) if record.value is not None]

    def answers(self, request_ids: Collection[Id], timeout_s: float = 10.0) -> Iterator[RankedFeed]:
        """Give the answers to these requests as they come, each once; stop when all are there or time is up."""
        waiting = {str(one) for one in request_ids}
        deadline = time.monotonic() + timeout_s
        while waiting and time.monotonic() < deadline:
            for feed in self.feeds():
                if str(feed.request_id) in waiting:
                    waiting.discard(str(feed.request_id))
                    yield feed


@dataclass(frozen=True)
class Letter:
    """A dead letter and where it lies in the topic dead-letters."""

    key: bytes | None
    partition: int
    offset: int
    letter: DeadLetter


class LetterReader(TopicReader):
    """Reads dead letters from the first to the last that is there now."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, DEAD_LETTERS, from_beginning=True)
        self._decode = msgspec.json.Decoder(DeadLetter).decode

    def letters(self) -> Iterator[Letter]:
        """Give all dead letters, in order of each partition."""
        for record in self.read_all():
            if record.value is not None:
                yield Letter(record.key, record.partition, record.offset, self._decode(record.value))
