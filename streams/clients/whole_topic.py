"""A topic from its beginning and on, for who keeps what it read in memory alone: read it all, then what comes.

An offset is no identity: where the topic was made anew, has lost what was read of it, or got more partitions, all is
to be read again.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from types import TracebackType
from typing import Self

from kafka.errors import KafkaError

from rankstream.content.files import LastRead
from rankstream.events.action_event import Record, checksum_of, epoch_of
from rankstream.streams.clients.connect import ClientError
from rankstream.streams.clients.followed_topic import FollowedTopic
from rankstream.streams.clients.readers import TopicReader
from rankstream.streams.settings import Settings
from rankstream.streams.topics import Topic

AT_ONCE = 5_000  # records a poll
SILENCE_S = 3.0  # Apache Kafka takes longer to be started again, and a busy machine seldom so long for so many records


class TopicReplacedError(Exception):
    """The topic is not as it was when its reading began; the message is one sentence."""


class WholeTopic:
    """Reads a topic, committed records only; use it in a ``with`` block."""

    def __init__(self, settings: Settings, topic: Topic) -> None:
        """Open the topic at its beginning. Raises ``ClientError``."""
        self._settings, self._topic = settings, topic
        self._open()

    def _open(self) -> None:
        self._reader = TopicReader(self._settings, self._topic, from_beginning=True, at_once=AT_ONCE)
        self.name, self.partitions = self._reader.topic, len(self._reader.partitions)
        self._last: dict[int, LastRead] = {}
        self._is_in_doubt = False
        self._followed = FollowedTopic(self._settings, self.name, None, silence_s=SILENCE_S)
        self._followed.is_another({}, {})  # it learns which topic it is
        bounds = self._bounds()
        self._next = {number: begin for number, (begin, _) in bounds.items()}  # offset to read on at, by partition
        self._ends = {number: end for number, (_, end) in bounds.items()}
        self._reader.seek(self._next)

    def start_over(self) -> None:
        """Read again from the beginning. Raises ``ClientError``."""
        before = self._reader
        self._open()
        before.close()

    def poll(self) -> list[Record]:
        """Return the records that came, perhaps none. Raises ``ClientError``, ``TopicReplacedError``.

        Where brokers can't tell now whether the topic still is what it was, or a registry is away, the records are read
        again next time.
        """
        with self._read_again_after(ClientError):
            records = self._reader.poll()
        self._is_in_doubt |= self._followed.is_in_doubt(records, self._next)
        if records and self._is_in_doubt:
            with self._read_again_after(ClientError):
                if self._followed.is_another(self._next, self._last):
                    raise TopicReplacedError(f"{self.name} was made anew, or has lost records that were read")
            self._is_in_doubt = False
        for number, group in groupby(records, lambda one: one.partition):
            self._note(number, list(group))
        return records

    def mark_end(self) -> None:
        """Note where the topic ends now: ``is_read`` tells when all before was read.

        Raises ``ClientError``, ``TopicReplacedError``.
        """
        if self._reader.has_more_partitions():
            raise TopicReplacedError(f"{self.name} has got more partitions")
        with self._read_again_after(ClientError):
            bounds = self._bounds()
        self._ends = {number: end for number, (_, end) in bounds.items()}
        self._reader.seek(self._next)

    def _bounds(self) -> dict[int, tuple[int, int]]:
        """Return where the topic begins and ends; the reader stands anywhere then. Raises ``ClientError``."""
        try:
            return self._reader.bounds()
        except KafkaError as exc:
            raise ClientError(
                f"the brokers at {self._settings.bootstrap_servers} do not tell where {self.name} ends ({exc})"
            ) from exc

    @contextmanager
    def _read_again_after(self, kind: type[Exception]) -> Iterator[None]:
        """Go back to where all was noted if something of this kind is raised."""
        try:
            yield
        except kind:
            self._reader.seek(self._next)
            raise

    @property
    def is_read(self) -> bool:
        """Return whether all was read up to the end that was marked last; at first that of the start."""
        return all(self._reader.position(number) >= end for number, end in self._ends.items())

    def _note(self, number: int, records: list[Record]) -> None:
        """Note the next records of a partition."""
        last, before = records[-1], self._last.get(number)
        newest_ms, newest_from = max(one.timestamp for one in records), records[0].offset
        if before is not None:
            newest_ms, newest_from = max(newest_ms, before.newest_ms), before.newest_from
        self._last[number] = LastRead(last.offset, checksum_of(last), epoch_of(last), newest_ms, newest_from)
        self._next[number] = last.offset + 1

    def close(self) -> None:
        """Close the connection."""
        self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None) -> None:
        self.close()
