r"""The process that makes a catalogue of the topic item-updates: read, collect, publish, at most once in a while.

::

    item-updates -> PendingChanges -> a version of the catalogue, with the positions that it ends at
                \-> dead-letters, acknowledged before a version says that the record was read

One process a folder. It belongs to no consumer group: the version alone says where to read on.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from rankstream.content.catalogue import Catalogue
from rankstream.content.updates import PendingChanges, current_catalogue, last_read_of, positions_of
from rankstream.events.action_event import Record, Rejected
from rankstream.streams.clients.connect import ClientError
from rankstream.streams.clients.followed_topic import FollowedTopic
from rankstream.streams.clients.producer import RawProducer
from rankstream.streams.clients.readers import TopicReader
from rankstream.streams.codec import encode_dead_letter
from rankstream.streams.pipeline import wall_clock_ms
from rankstream.streams.settings import Settings
from rankstream.streams.topics import DEAD_LETTERS, ITEM_UPDATES, TopicNames


@dataclass
class Followed:
    """What was done since the start."""

    records: int = 0
    versions: int = 0
    rejected: dict[str, int] = field(default_factory=dict)  # dead letters by reason


class CatalogueFollower:
    """Follows item-updates into the catalogue in ``root``; use it in a ``with`` block."""

    def __init__(
        self,
        settings: Settings,
        root: Path,
        *,
        currency: str | None = None,
        every_s: float = 1.0,
        keep: int = 2,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``every_s`` is the least time between two versions. Raises ``ClientError``, ``BrokenTableError``."""
        self.root, self.every_s, self.keep, self.followed = root, every_s, keep, Followed()
        self._dead_letters = TopicNames(settings.topic_prefix).of(DEAD_LETTERS)
        self._clock, self._next_version = clock, 0.0
        self.catalogue = current_catalogue(root)
        self._reader = TopicReader(settings, ITEM_UPDATES, from_beginning=True)
        self._producer = RawProducer(settings, [self._dead_letters])
        self._pending = PendingChanges(
            self.catalogue.currency or currency,
            positions_of(self.catalogue),
            last_read=last_read_of(self.catalogue),
        )
        self._topic = FollowedTopic(settings, self._reader.topic, self.catalogue.header.source)
        try:
            self._refuse_another_topic()
            self._ends = self._seek()  # of the topic at the start
        except BaseException:
            self._close()
            raise
        self._behind = list(self._ends)  # partitions that are not read up to there

    def _seek(self) -> dict[int, int]:
        """Read on where the catalogue ends; return where the topic ends now, by partition."""
        bounds, kept = self._reader.bounds(), self._pending.positions
        self._reader.seek({number: max(kept.get(number, 0), begin) for number, (begin, _) in bounds.items()})
        return {number: end for number, (_, end) in bounds.items()}

    def _refuse_another_topic(self) -> None:
        """Raise ``ClientError`` where the topic is not the one that was read, or lost records that were."""
        if self._topic.is_another(self._pending.positions, self._pending.last_read):
            raise ClientError(
                f"the catalogue in {self.root} (version {self.catalogue.version}) was made of another topic than "
                f"{self._topic.name} is now, or this one lost its newest records: follow into a new folder"
            )

    def step(self) -> Catalogue | None:
        """Read what has come, and publish if something changed and it is time to; return the version, if one.

        None is published before all is read that the topic held at the start: what is not in a version counts as gone.
        """
        records = self._reader.poll()
        if self._topic.is_in_doubt(records, self._pending.positions):
            self._refuse_another_topic()
        for record in records:
            if record.offset >= self._pending.positions.get(record.partition, 0):
                self._take(record)
        is_due = self._pending.changes and self._clock() >= self._next_version
        return self.publish() if is_due and self._has_caught_up() else None

    def read_to_end(self) -> None:
        """Read what the topic held at the start, and publish it."""
        while not self._has_caught_up():
            self.step()
        if self._pending.changes:
            self.publish()

    def _has_caught_up(self) -> bool:
        self._behind = [number for number in self._behind if self._reader.position(number) < self._ends[number]]
        return not self._behind

    def publish(self) -> Catalogue:
        """Publish what has come, once the brokers have its dead letters.

        Raises ``ClientError``, ``BrokenTableError``.
        """
        self._producer.flush()
        self.catalogue = self._pending.publish(self.catalogue, self.root, self._topic.topic_id, self.keep)
        self.followed.versions += 1
        self._next_version = self._clock() + self.every_s
        return self.catalogue

    def _take(self, record: Record) -> None:
        self.followed.records += 1
        try:
            self._pending.take(record, wall_clock_ms())
        except Rejected as why:
            self.followed.rejected[why.reason] = self.followed.rejected.get(why.reason, 0) + 1
            self._producer.send(self._dead_letters, record.key, encode_dead_letter(record, why.reason, str(why)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None) -> None:
        try:
            if kind is None:
                self._producer.flush()
        finally:
            self._close()

    def _close(self) -> None:
        self._producer.close()
        self._reader.close()
