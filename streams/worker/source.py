"""Which topic a position counts in: an offset is no identity, as a topic may be created anew, or be given partitions.

Every topic has an id of its own (KIP-516; Kafka 2.8 and newer), and users lie on its partitions by their number. Both
stand beside the position, in the state folder and, as a header of the position's record, in the changelog. So does a
checksum of the last record that was applied: a topic whose newest records were lost (an unclean election of a leader, a
disk set back) keeps its id, and holds another record there once it has grown past the position. KIP-320 compares epochs
of leaders instead; here a new epoch says when to compare (``truncation.py``), and where compaction has taken the record
itself, which leader wrote it is compared. So is the latest time of all records read: none before the position is
later, unless it came in place of one that was lost. Where something is lacking, because an older version wrote it or
the brokers don't tell, nothing is compared.
"""

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec.structs import replace

from rankstream.events.action_event import NO_EPOCH, Record, checksum_of
from rankstream.features.decoding import UNREADABLE
from rankstream.features.user_state import NO_OFFSET
from rankstream.streams.clients.connect import ask
from rankstream.streams.settings import Settings

HEADER = "source"
NO_TIME = -1  # ms: as of records that have none
NO_ID = "00000000-0000-0000-0000-000000000000"
NO_LEADER = -1


class Source(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known of the topic that a position counts in; what a later version adds is ignored."""

    topic_id: str = ""
    partitions: int = 0  # how many there were; 0: not known
    last_offset: int = NO_OFFSET  # of an applied record, the last one if it was read whole
    last_checksum: int = 0
    last_epoch: int = NO_EPOCH  # of the leader that wrote it, or something behind it
    nothing_before: int = 0  # offset: between the last record and this one none stood, but ends of transactions
    newest_ms: int = NO_TIME  # the latest time of all records that were read, from the next offset on
    newest_from: int = NO_OFFSET

    def is_another(self, other: "Source") -> bool:
        """Return whether both are known, and not the same topic."""
        return bool(self.topic_id and other.topic_id) and self.topic_id != other.topic_id

    def is_split_otherwise(self, other: "Source") -> bool:
        """Return whether both numbers of partitions are known, and differ: users lie elsewhere then."""
        return bool(self.partitions and other.partitions) and self.partitions != other.partitions

    def after(self, record: Record, leader_epoch: int = NO_EPOCH) -> "Source":
        """Return it with this record as the last one that was applied."""
        return replace(
            self,
            last_offset=record.offset,
            last_checksum=checksum_of(record),
            last_epoch=leader_epoch,
            nothing_before=record.offset + 1,
        )

    def with_last_of(self, other: "Source") -> "Source":
        """Return it with the last record that the other one knows, and what that knows of those before."""
        return replace(other, topic_id=self.topic_id, partitions=self.partitions)

    def with_nothing_before(self, offset: int) -> "Source":
        """Return it with no record known to stand between the last one and this offset."""
        return replace(self, nothing_before=max(offset, self.nothing_before))

    def with_times(self, begin: int, newest_ms: int) -> "Source":
        """Return it with records read from ``begin`` on, of which this is the latest time."""
        read_from = begin if self.newest_from == NO_OFFSET else self.newest_from
        return replace(self, newest_from=read_from, newest_ms=max(newest_ms, self.newest_ms))

    def without_times(self) -> "Source":
        """Return it where records were passed over unread: their times are not known."""
        return replace(self, newest_from=NO_OFFSET, newest_ms=NO_TIME)

    def is_last(self, record: Record) -> bool:
        """Return whether this is the record that was applied last."""
        return record.offset == self.last_offset and checksum_of(record) == self.last_checksum

    def packed(self) -> bytes:
        """Return it as it is kept."""
        return msgspec.json.encode(self)


UNKNOWN = Source()


@dataclass(frozen=True)
class Described:
    """What brokers tell of a topic now."""

    source: Source = UNKNOWN
    leader_epochs: Mapping[int, int] = field(default_factory=dict)  # by partition: how often it was given a leader
    leaderless: Collection[int] = ()  # partitions of which nobody can be asked now


def unpacked(raw: bytes | None) -> Source:
    """Return the source that was kept; an unknown one where there is none that can be read."""
    try:
        return UNKNOWN if raw is None else msgspec.json.decode(raw, type=Source)
    except UNREADABLE:
        return UNKNOWN


async def source_of(settings: Settings, topic: str) -> Source:
    """Ask the brokers for the topic's id and partitions. Raises ``ClientError`` where none answers."""
    return (await describe(settings, [topic]))[topic].source


async def describe(settings: Settings, topics: Collection[str]) -> dict[str, Described]:
    """Ask the brokers for these topics, over one connection. Raises ``ClientError`` where none answers."""
    return await asyncio.to_thread(_describe, settings, topics)


def _describe(settings: Settings, topics: Collection[str]) -> dict[str, Described]:
    """Ask through kafka-python: aiokafka reads metadata of before there were topic ids."""
    described = ask(settings, lambda admin: admin.describe_topics(list(topics)), "describe their topics")
    by_name = {one["name"]: one for one in described}
    return {topic: _described(by_name.get(topic, {})) for topic in topics}


def _described(told: Mapping[str, Any]) -> Described:
    topic_id, partitions = str(told.get("topic_id") or NO_ID), told.get("partitions", ())
    epochs = {one["partition_index"]: one.get("leader_epoch", NO_EPOCH) for one in partitions}
    leaderless = [one["partition_index"] for one in partitions if one.get("leader_id") == NO_LEADER]
    return Described(Source("" if topic_id == NO_ID else topic_id, len(partitions)), epochs, leaderless)
