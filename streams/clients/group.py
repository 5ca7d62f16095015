"""The consumer group of workers as an operator sees it: is it alive, what has it committed, and moving that."""

import asyncio
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from aiokafka.errors import KafkaError as AIOKafkaError
from kafka import TopicPartition
from kafka.errors import KafkaError, NoError
from kafka.structs import OffsetAndMetadata

from rankstream.streams.clients.connect import ClientError, connect_admin
from rankstream.streams.clients.patient_client import patient_admin
from rankstream.streams.clients.rights import GROUP, READ, Lacking, is_denial, told
from rankstream.streams.settings import Settings

WITHOUT_MEMBERS = ("Empty", "Dead")


async def state_of_group(settings: Settings) -> str:
    """Return the state of the workers' group, "Stable" or "Dead", say."""
    _, _, state, *_ = await _described(settings)
    return str(state)


async def members_of_group(settings: Settings) -> int:
    """Return how many workers belong to the group."""
    _, _, _, _, _, members, *_ = await _described(settings)
    return len(members)


@dataclass(frozen=True)
class GroupMember:
    """A member as the group's coordinator knows it."""

    id: str
    host: str
    assignment: bytes  # of the consumer protocol


async def group_of(settings: Settings) -> tuple[str, list[GroupMember]]:
    """Return the state of the workers' group, and its members. Raises ``ClientError``."""
    _, _, state, _, _, members, *_ = await _described(settings)
    return str(state), [GroupMember(str(one[0]), str(one[2]), bytes(one[4] or b"")) for one in members]


async def _described(settings: Settings) -> tuple[Any, ...]:
    """Return error, name, state, type, protocol and members; through aiokafka, which all brokers answer."""
    admin = patient_admin(settings)
    try:
        await admin.start()
        (answer,) = await admin.describe_consumer_groups([settings.app_id])
        found: tuple[Any, ...] = answer.groups[0]
        return found
    except (AIOKafkaError, TimeoutError) as exc:
        raise _refusal(f"the brokers do not describe the group {settings.app_id}: {exc}", exc, settings) from exc
    finally:
        await admin.close()


def _refusal(sentence: str, exc: BaseException, settings: Settings) -> ClientError:
    """Return the error of a sentence, or of the right that is lacking where it came from that."""
    return ClientError(told([Lacking(GROUP, settings.app_id, (READ,))], settings) if is_denial(exc) else sentence)


class WorkersGroup:
    """A connection to the group of ``settings.app_id``; close it."""

    def __init__(self, settings: Settings) -> None:
        self.name = settings.app_id
        self._settings = settings
        self._admin = connect_admin(settings)

    def require_no_members(self) -> None:
        """Raise ``ClientError`` while workers belong to the group, or may still."""
        state = asyncio.run(state_of_group(self._settings))
        if state not in WITHOUT_MEMBERS:
            raise ClientError(
                f"workers of the group {self.name} are alive (it is {state}): end them all first; one that was killed "
                "counts as alive until session_timeout_s is over"
            )

    def committed(self, topic: str, partition: int) -> tuple[int | None, str]:
        """Return the offset that the group has committed, None without one, and its metadata."""
        tp = TopicPartition(topic, partition)
        try:
            found = self._admin.list_group_offsets({self.name: [tp]})[self.name].get(tp)
        except KafkaError as exc:
            sentence = f"the brokers do not tell what the group {self.name} has committed: {exc}"
            raise _refusal(sentence, exc, self._settings) from exc
        return (None, "") if found is None or found.offset < 0 else (found.offset, found.metadata or "")

    def commit(self, topic: str, partition: int, offset: int, metadata: str) -> None:
        """Move the group's offset, or raise ``ClientError`` and leave it as it was."""
        before = self.committed(topic, partition)
        self._commit(topic, partition, offset, metadata)
        if self.committed(topic, partition) != (offset, metadata):
            self._commit(topic, partition, before[0] or 0, before[1])
            raise ClientError("these brokers keep no metadata of offsets, which the skipped range would stand in")

    def _commit(self, topic: str, partition: int, offset: int, metadata: str) -> None:
        tp = TopicPartition(topic, partition)
        try:
            answer = self._admin.alter_group_offsets(self.name, {tp: OffsetAndMetadata(offset, metadata, -1)})[tp]
        except KafkaError as exc:
            answer = exc
        if answer is not NoError:
            why = answer.__name__ if isinstance(answer, type) else answer
            raise ClientError(f"the group {self.name} still has its old offset ({why}); end all its workers, and again")

    def close(self) -> None:
        """Close the connection."""
        self._admin.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None) -> None:
        self.close()
