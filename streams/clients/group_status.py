"""The group of workers as of now: who belongs to it, who has which partition, and how far each is behind."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import KafkaError
from faust.types import TP

from rankstream.streams.clients.connect import ClientError
from rankstream.streams.clients.group import GroupMember, group_of
from rankstream.streams.settings import Settings
from rankstream.streams.topics import ACTIONS, REQUESTS, TopicNames
from rankstream.streams.worker.offsets import Bounds, bounds_of, committed_and_skipped
from rankstream.streams.worker.source import describe

STABLE = "Stable"


@dataclass(frozen=True)
class PartitionStatus:
    """One partition of a topic that workers read."""

    topic: str
    partition: int
    member: str | None  # who has it; None: nobody, or the brokers do not tell
    committed: int | None  # offset; None where the group has committed none
    end: int  # offset: what was written until now lies before it
    lag: int  # records that the group has not committed


@dataclass(frozen=True)
class MemberStatus:
    """One worker, as the group knows it."""

    member: str  # begins with group_instance_id where the worker has one, on Apache Kafka
    host: str
    partitions: Sequence[int]  # of user-actions, and with it of all topics


@dataclass(frozen=True)
class GroupStatus:
    """The group, its members and its partitions."""

    group: str
    state: str  # Kafka's word: Stable, PreparingRebalance, Empty, Dead
    members: Sequence[MemberStatus]
    partitions: Sequence[PartitionStatus]

    @property
    def tells_owners(self) -> bool:
        """Return whether the brokers tell who has what: the embedded one does not."""
        return any(one.member is not None for one in self.partitions)

    def problems(self) -> list[str]:
        """Return what keeps requests from being answered, in sentences."""
        if not self.members:
            return [f"no worker belongs to the group {self.group}"]
        if self.state != STABLE:
            return [f"the group {self.group} is {self.state}: workers are joining or leaving"]
        found: list[str] = []
        if not self.tells_owners:
            return found
        for topic in sorted({one.topic for one in self.partitions if one.member is None}):
            without = [str(one.partition) for one in self.partitions if one.topic == topic and one.member is None]
            found.append(f"nobody has {topic} {', '.join(without)}")
        return found


async def status_of_group(settings: Settings) -> GroupStatus:
    """Ask the brokers. Raises ``ClientError``."""
    names = [TopicNames(settings.topic_prefix).of(topic) for topic in (ACTIONS, REQUESTS)]
    sources = {name: one.source for name, one in (await describe(settings, names)).items()}
    missing = [name for name in names if not sources[name].partitions]
    if missing:
        raise ClientError(
            f"the cluster at {settings.bootstrap_servers} has no topic {', '.join(missing)}; create it with "
            "`rankstream topics create`, or check --topic-prefix"
        )
    state, members = await group_of(settings)
    owners = {tp: one.id for one in members for tp in assigned_to(one)}
    tps = [TP(name, number) for name in names for number in range(sources[name].partitions)]
    bounds, committed = await _offsets(settings, tps)
    partitions = [_partition(tp, owners.get(tp), bounds[tp], committed.get(tp)) for tp in tps]
    return GroupStatus(settings.app_id, state, [_member(one, names[0]) for one in members], partitions)


async def _offsets(settings: Settings, tps: Sequence[TP]) -> tuple[dict[TP, Bounds], dict[TP, int]]:
    try:
        bounds, (committed, _) = await asyncio.gather(bounds_of(settings, tps), committed_and_skipped(settings, tps))
        return bounds, committed
    except (KafkaError, TimeoutError) as exc:
        raise ClientError(
            f"the brokers at {settings.bootstrap_servers} do not tell offsets ({type(exc).__name__}: {exc})"
        ) from exc


def _partition(tp: TP, member: str | None, bounds: Bounds, committed: int | None) -> PartitionStatus:
    read_to = bounds.begin if committed is None else max(committed, bounds.begin)
    return PartitionStatus(tp.topic, tp.partition, member, committed, bounds.end, max(0, bounds.end - read_to))


def _member(member: GroupMember, topic: str) -> MemberStatus:
    return MemberStatus(
        member.id, member.host.lstrip("/"), sorted(tp.partition for tp in assigned_to(member) if tp.topic == topic)
    )


def assigned_to(member: GroupMember) -> list[TP]:
    """Return what the group has given to a member; none while it is joining."""
    if not member.assignment:
        return []
    assignment = ConsumerProtocolMemberAssignment.decode(member.assignment).assignment
    return [TP(topic, number) for topic, numbers in assignment for number in numbers]
