"""Which topic a position counts in: an offset is no identity, as a topic may be created anew, or be given partitions.

Every topic has an id of its own (KIP-516; Kafka 2.8 and newer), and users lie on its partitions by their number. Both
stand beside the position, in the state folder and, as a header of the position's record, in the changelog. Where one
lacks them, because an older version wrote it or the brokers don't tell, nothing is compared.
"""

import asyncio
from collections.abc import Collection, Mapping
from typing import Any

import msgspec
from kafka.errors import KafkaError

from rankstream.features.decoding import UNREADABLE
from rankstream.streams.clients.connect import ClientError, connect_admin
from rankstream.streams.settings import Settings

HEADER = "source"
NO_ID = "00000000-0000-0000-0000-000000000000"


class Source(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known of the topic that a position counts in; what a later version adds is ignored."""

    topic_id: str = ""
    partitions: int = 0  # how many there were; 0: not known

    def is_another(self, other: "Source") -> bool:
        """Return whether both are known, and not the same topic."""
        return bool(self.topic_id and other.topic_id) and self.topic_id != other.topic_id

    def is_split_otherwise(self, other: "Source") -> bool:
        """Return whether both numbers of partitions are known, and differ: users lie elsewhere then."""
        return bool(self.partitions and other.partitions) and self.partitions != other.partitions

    def packed(self) -> bytes:
        """Return it as it is kept."""
        return msgspec.json.encode(self)


UNKNOWN = Source()


def unpacked(raw: bytes | None) -> Source:
    """Return the source that was kept; an unknown one where there is none that can be read."""
    try:
        return UNKNOWN if raw is None else msgspec.json.decode(raw, type=Source)
    except UNREADABLE:
        return UNKNOWN


async def source_of(settings: Settings, topic: str) -> Source:
    """Ask the brokers for the topic's id and partitions. Raises ``ClientError`` where none answers."""
    return (await asyncio.to_thread(_sources_of, settings, [topic]))[topic]


def _sources_of(settings: Settings, topics: Collection[str]) -> dict[str, Source]:
    """Ask through kafka-python: aiokafka reads metadata of before there were topic ids."""
    admin = connect_admin(settings)
    try:
        described = {one["name"]: one for one in admin.describe_topics(list(topics))}
    except KafkaError as exc:
        raise ClientError(f"the brokers at {settings.bootstrap_servers} do not describe their topics: {exc}") from exc
    finally:
        admin.close()
    return {topic: _source(described.get(topic, {})) for topic in topics}


def _source(described: Mapping[str, Any]) -> Source:
    topic_id = str(described.get("topic_id") or NO_ID)
    return Source("" if topic_id == NO_ID else topic_id, len(described.get("partitions", ())))
