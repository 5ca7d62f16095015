"""Clients of the stream in plain kafka-python: send actions and requests, read feeds and dead letters.

For programs beside the workers; a worker's own reading and writing is in ``worker/``. Everything here works on Apache
Kafka and on the embedded broker alike, and every failure of a broker is a ``ClientError`` of one sentence.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec
from kafka import IsolationLevel, KafkaConsumer, OffsetSpec, TopicPartition
from kafka.errors import KafkaError, UnsupportedCodecError

from rankstream.events.action_event import Record
from rankstream.features.decoding import UNREADABLE
from rankstream.features.ids import Id
from rankstream.streams.clients.connect import (
    POLL_MS,
    ClientError,
    ask,
    connect,
    require_operation,
    require_topics,
)
from rankstream.streams.clients.rights import READ, is_denial
from rankstream.streams.codec import DeadLetter, RankedFeed
from rankstream.streams.connection import READ_COMMITTED
from rankstream.streams.framed.reader import open_reader
from rankstream.streams.framed.registry import RegistryAwayError
from rankstream.streams.header_names import read_any_names
from rankstream.streams.settings import Settings
from rankstream.streams.topics import DEAD_LETTERS, FEEDS, Topic, TopicNames

FETCH_WAIT_MS = 50  # the embedded broker's long polls do not wake when records come

_decode_feed = msgspec.json.Decoder(RankedFeed).decode
_decode_dead_letter = msgspec.json.Decoder(DeadLetter).decode
Decoded = TypeVar("Decoded")


def feed_of(record: Record) -> RankedFeed:
    """Return the feed of a record. Raises ``ClientError``."""
    return _decoded(record, _decode_feed, FEEDS)


def dead_letter_of(record: Record) -> DeadLetter:
    """Return the dead letter of a record. Raises ``ClientError``."""
    return _decoded(record, _decode_dead_letter, DEAD_LETTERS)


def _decoded(record: Record, decode: Callable[[bytes], Decoded], topic: Topic) -> Decoded:
    try:
        return decode(record.value or b"")
    except UNREADABLE as exc:
        raise ClientError(
            f"{record.topic}, partition {record.partition}, offset {record.offset} is no record of {topic.name} "
            f"({exc}): something else wrote it; check --topic-prefix, or who may write there"
        ) from exc


class TopicReader:
    """Reads all partitions of one topic, or one, from the beginning or from the end as it is now; no consumer group."""

    def __init__(
        self,
        settings: Settings,
        topic: Topic,
        from_beginning: bool = False,
        partition: int | None = None,
        at_once: int = 500,
    ) -> None:
        """``at_once`` records are returned by a poll at the most. Raises ``ClientError``."""
        read_any_names()
        self.settings = settings
        self.topic = TopicNames(settings.topic_prefix).of(topic)
        require_topics(settings, [self.topic], READ)
        self._framed = None if topic.written_by_workers else open_reader(settings, topic)
        self._kafka = connect(
            settings,
            KafkaConsumer,
            enable_auto_commit=False,
            auto_offset_reset="earliest" if from_beginning else "latest",
            isolation_level=READ_COMMITTED,
            fetch_max_wait_ms=FETCH_WAIT_MS,
            max_poll_records=at_once,
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
        """Return the offset up to which each partition can be read now, and leave the reader anywhere.

        That is the end of the log, or where the oldest open transaction begins. Asked by a fetch of the last record:
        the embedded broker's ListOffsets answers the first offset of the last batch + 1, which is too small, but never
        0 where there is a record.
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
            self._poll(POLL_MS)
            seen = {partition for partition in asked if self._kafka.highwater(partition) is not None}
        self._kafka.resume(*self.partitions)
        written = {one: self._kafka.highwater(one) if one in asked else end for one, end in ends.items()}
        behind = [one for one, end in ends.items() if end < written[one]]
        held_back = self._held_back(behind) if behind else set()
        return {one: ends[one] if one in held_back else end for one, end in written.items()}

    def _held_back(self, partitions: Collection[Any]) -> set[Any]:
        """Return those where a transaction is open: what is committed ends before what is written.

        Asked in this order, so that what is committed meanwhile does no harm; a fetch of kafka-python does not tell.
        """
        latest = dict.fromkeys(partitions, OffsetSpec.LATEST)

        def ends(admin: Any) -> tuple[Any, Any]:
            written = admin.list_partition_offsets(latest, isolation_level=IsolationLevel.READ_UNCOMMITTED)
            return written, admin.list_partition_offsets(latest, isolation_level=IsolationLevel.READ_COMMITTED)

        written, committed = ask(self.settings, ends, f"tell where {self.topic} ends")
        return {one for one in partitions if committed[one].offset < written[one].offset}

    def poll(self, timeout_s: float = POLL_MS / 1000) -> list[Record]:
        """Return the records that have come, perhaps none; JSON for values that a registered schema frames."""
        records = [record for batch in self._poll(int(timeout_s * 1000)).values() for record in batch]
        if self._framed is None:
            return records
        try:
            return list(self._framed.read(records))
        except RegistryAwayError as exc:
            raise ClientError(f"{self.topic} holds values whose schema there is not: {exc}") from exc

    def _poll(self, timeout_ms: int) -> Mapping[Any, list[Record]]:
        try:
            batches: Mapping[Any, list[Record]] = self._kafka.poll(timeout_ms=timeout_ms)
        except UnsupportedCodecError as exc:
            raise ClientError(
                f"{self.topic} holds records whose compression can't be undone here ({exc}): "
                "pip install lz4 python-snappy zstandard"
            ) from exc
        except KafkaError as exc:
            if is_denial(exc):  # since the reader was opened
                require_operation(self.settings, [self.topic], READ)
            raise ClientError(f"{self.topic} can't be read: {exc}") from exc
        return batches

    def count(self) -> int:
        """Return how many offsets the topic holds now; at least as many as there are records."""
        return sum(max(0, end - begin) for begin, end in self.bounds().values())

    def read_all(self) -> Iterator[Record]:
        """Yield what the topic holds now, from the beginning, and stop; in order within each partition."""
        ends = {partition.partition: end for partition, end in self.ends().items() if end > 0}
        self._kafka.seek_to_beginning(*self.partitions)
        while any(self.position(number) < end for number, end in ends.items()):
            for record in self.poll():
                if record.offset < ends.get(record.partition, 0):
                    yield record

    def bounds(self) -> dict[int, tuple[int, int]]:
        """Return partition -> offset of its first record and after its last one."""
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

    def has_more_partitions(self) -> bool:
        """Return whether the topic has partitions by now that are not read here; noticed within minutes."""
        return len(self._kafka.partitions_for_topic(self.topic) or ()) > len(self.partitions)

    def position(self, number: int) -> int:
        """Return the offset that is read next."""
        return int(self._kafka.position(TopicPartition(self.topic, number)))

    def close(self) -> None:
        """Close the connection."""
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

    def feeds(self, timeout_s: float = POLL_MS / 1000) -> list[RankedFeed]:
        """Return the feeds that have come, perhaps none."""
        return [feed_of(record) for record in self.poll(timeout_s) if record.value is not None]

    def answers(self, request_ids: Collection[Id], timeout_s: float = 10.0) -> Iterator[RankedFeed]:
        """Yield the answers to these requests as they come, each once; stop when all are there or time is up."""
        waiting = {str(one) for one in request_ids}
        deadline = time.monotonic() + timeout_s
        while waiting and time.monotonic() < deadline:
            for feed in self.feeds():
                if str(feed.request_id) in waiting:
                    waiting.discard(str(feed.request_id))
                    yield feed


@dataclass(frozen=True)
class DeadLetterRecord:
    """A dead letter and its position in the topic dead-letters."""

    key: bytes | None
    partition: int
    offset: int
    dead_letter: DeadLetter


class DeadLetterReader(TopicReader):
    """Reads dead letters from the first to the last that is there now."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, DEAD_LETTERS, from_beginning=True)

    def dead_letters(self) -> Iterator[DeadLetterRecord]:
        """Yield all dead letters, in order of each partition."""
        for record in self.read_all():
            if record.value is not None:
                yield DeadLetterRecord(record.key, record.partition, record.offset, dead_letter_of(record))
