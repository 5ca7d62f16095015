"""Move users to topics of another number of partitions, while no worker runs.

::

    old changelog ----> states, each under its user's new partition ----> new changelog
    old user-actions -> actions that no worker has applied -------------> new user-actions

The new topics count from 0, so a state keeps all but the offset of its last action. Positions are written last, as
always: a changelog without them holds only a part.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import reduce
from hashlib import sha256

from aiokafka import AIOKafkaProducer, TopicPartition
from faust.types import TP

from rankstream.events.action_event import Record
from rankstream.features.stores.memory import MemoryStore
from rankstream.features.stores.rocksdb import POSITION, POSITION_BYTES
from rankstream.features.user_state import HEAD, NO_OFFSET
from rankstream.streams.clients.connect import ClientError
from rankstream.streams.partitioner import partition_of
from rankstream.streams.settings import Settings
from rankstream.streams.skips import NOTHING
from rankstream.streams.topics import ACTIONS, CHANGELOG, TopicNames, prepare_topics
from rankstream.streams.worker.changelog import Logged, RestoreJob, logged_positions, restore
from rankstream.streams.worker.changelog_marks import NAMES_HEADER
from rankstream.streams.worker.limits import Limits
from rankstream.streams.worker.logged_states import offset_of
from rankstream.streams.worker.offsets import Bounds, bounds_of, committed_and_skipped, reader
from rankstream.streams.worker.producers import new_producer, stop_producer
from rankstream.streams.worker.source import HEADER, Source, source_of
from rankstream.streams.worker.vocabulary_guard import NO_NAMES, Names

AT_ONCE = 4_000  # records in flight


@dataclass(frozen=True)
class Moved:
    """What the new topics were given."""

    users: int
    actions: int  # that no worker had applied
    from_partitions: int
    partitions: int
    topic_prefix: str


@dataclass
class Tally:
    """Users of one partition, and a sum of hashes of their keys and states: in whatever order they come."""

    users: int = 0
    digest: int = 0

    def add(self, key: bytes, state: bytes) -> None:
        """Count one user."""
        one = sha256(len(key).to_bytes(4, "little") + key + state).digest()
        self.users += 1
        self.digest = (self.digest + int.from_bytes(one, "little")) % (1 << 256)


@dataclass
class OldPartition:
    """One partition of the old topics."""

    number: int
    actions: Bounds
    changelog: Bounds
    skipped: range
    logged: Logged | None
    newer: dict[bytes, int] = field(default_factory=dict)  # users with actions behind the position: their last offset

    @property
    def begin(self) -> int:
        """Return the offset of the first action that may not be applied."""
        return self.actions.begin if self.logged is None else max(self.logged.position, self.actions.begin)

    def lacks(self, record: Record) -> bool:
        """Return whether the states lack an action, and it was not skipped by an operator."""
        return record.offset not in self.skipped and record.offset > self.newer.get(record.key or b"", NO_OFFSET)


async def repartition(old: Settings, new: Settings) -> Moved:
    """Fill the topics of ``new`` from those of ``old``; they differ in prefix and number of partitions.

    Raises ``ClientError`` where that would lose or double something, ``TopicsRefusedError`` and ``RestoreError``.
    """
    await prepare_topics(new, create=True)
    names, topics = TopicNames(old.topic_prefix), TopicNames(new.topic_prefix)
    source, target = await source_of(old, names.of(ACTIONS)), await source_of(new, topics.of(ACTIONS))
    if target.partitions != new.partitions:
        raise ClientError(
            f"{topics.of(ACTIONS)} is there and has {target.partitions} partitions, not {new.partitions}: name another "
            "--to-prefix, or that number"
        )
    await _require_empty(new)
    partitions = await _partitions_of(old, source)
    limits = Limits(new)
    await limits.read()
    producer = new_producer(new, limits)
    await producer.start()
    try:
        sender = _Sender(producer)
        written = await _move_states(old, new, partitions, source, sender)
        if await _tallies(new) != written:
            raise ClientError(f"{topics.of(CHANGELOG)} does not hold what was written to it: delete it, and again")
        actions = await _move_actions(old, new, partitions, sender)
        await _require_quiet(old, new, partitions)
        await _write_positions(new, target, longest_names(partitions), sender)
    finally:
        await stop_producer(producer, flush=True)
    users = sum(tally.users for tally in written.values())
    return Moved(users, actions, len(partitions), new.partitions, new.topic_prefix)


def moved_state(state: bytes) -> bytes:
    """Return a packed state without the offset of its last action, which counted in another topic."""
    form, count, _, total = HEAD.unpack_from(state)
    return HEAD.pack(form, count, NO_OFFSET, total) + state[HEAD.size :]


async def _require_empty(new: Settings) -> None:
    """Refuse a changelog that holds something: what is put beside it could be older."""
    topic = TopicNames(new.topic_prefix).of(CHANGELOG)
    if any(bounds.written for bounds in (await bounds_of(new, _tps(new, topic))).values()):
        raise ClientError(f"{topic} holds records already: name another --to-prefix, or delete that topic first")


async def _partitions_of(old: Settings, source: Source) -> list[OldPartition]:
    """Return the old partitions. Raises ``ClientError`` where their changelog is not whole."""
    names, numbers = TopicNames(old.topic_prefix), range(source.partitions)
    actions = [TP(names.of(ACTIONS), number) for number in numbers]
    logs = [TP(names.of(CHANGELOG), number) for number in numbers]
    bounds = await bounds_of(old, [*actions, *logs])
    logged = await logged_positions(old, {tp: bounds[tp] for tp in logs})
    _, skipped = await committed_and_skipped(old, actions)
    found = [
        OldPartition(log.partition, bounds[tp], bounds[log], skipped.get(tp, NOTHING), logged.get(log))
        for tp, log in zip(actions, logs, strict=True)
    ]
    for one in found:
        require_whole(one, names, source)
    return found


def require_whole(one: OldPartition, names: TopicNames, source: Source) -> None:
    """Raise ``ClientError`` where the changelog of a partition does not say what all its users are."""
    what = f"{names.of(CHANGELOG)}, partition {one.number},"
    if one.logged is None and (one.changelog.count or one.actions.begin):
        raise ClientError(
            f"{what} does not hold all users: start a worker, which writes what it lacks, end it, and again"
        )
    if one.actions.in_transactions:
        raise ClientError(
            f"{names.of(ACTIONS)}, partition {one.number}, has an open transaction: end its producer first"
        )
    if one.logged is None:
        return
    if one.logged.source.is_another(source) or one.logged.position > one.actions.written:
        raise ClientError(f"{what} belongs to another topic than {names.of(ACTIONS)} is now: there is nothing to move")


async def _move_states(
    old: Settings, new: Settings, partitions: Iterable[OldPartition], source: Source, sender: "_Sender"
) -> dict[int, Tally]:
    """Write each user's state to the new changelog, and return what lies there then, by partition."""
    names, topic = TopicNames(old.topic_prefix), TopicNames(new.topic_prefix).of(CHANGELOG)
    written = {number: Tally() for number in range(new.partitions)}
    for one in partitions:
        if one.logged is None:
            continue
        store, split = MemoryStore(), one.logged.source.partitions or source.partitions
        await restore(old, [RestoreJob(TP(names.of(CHANGELOG), one.number), store, one.changelog)])
        for key, state in store.items():
            if partition_of(key, split) != one.number:
                raise ClientError(
                    f"the user {key[:64]!r} in partition {one.number} of {names.of(CHANGELOG)} belongs to "
                    f"{partition_of(key, split)} of {split}, so there may be two halves of that history: it can't be "
                    "moved; build the users again from their actions (docs/operations.md)"
                )
            if offset_of(state) >= one.logged.position:
                one.newer[key] = offset_of(state)
            number, moved = partition_of(key, new.partitions), moved_state(state)
            written[number].add(key, moved)
            await sender.send(topic, moved, key, number)
    await sender.flush()
    return written


async def _tallies(new: Settings) -> dict[int, Tally]:
    """Read back what the new changelog holds."""
    found = {}
    for tp, bounds in (await bounds_of(new, _tps(new, TopicNames(new.topic_prefix).of(CHANGELOG)))).items():
        found[tp.partition], store = Tally(), MemoryStore()
        if bounds.count:
            await restore(new, [RestoreJob(tp, store, bounds)])
        for key, state in store.items():
            found[tp.partition].add(key, state)
    return found


async def _move_actions(old: Settings, new: Settings, partitions: Iterable[OldPartition], sender: "_Sender") -> int:
    """Send the actions that no worker has applied to the new topic, as they came; return how many."""
    name, topic, count = TopicNames(old.topic_prefix).of(ACTIONS), TopicNames(new.topic_prefix).of(ACTIONS), 0
    for one in partitions:
        if one.begin >= one.actions.end:
            continue
        tp = TopicPartition(name, one.number)
        async with reader(old) as consumer:
            consumer.assign([tp])
            consumer.seek(tp, one.begin)
            while await consumer.position(tp) < one.actions.end:
                for record in (await consumer.getmany(tp, timeout_ms=200)).get(tp, []):
                    if record.offset < one.actions.end and one.lacks(record):
                        count += 1
                        number = partition_of(record.key or b"", new.partitions)
                        await sender.send(topic, record.value, record.key, number, record.timestamp)
    await sender.flush()
    return count


async def _require_quiet(old: Settings, new: Settings, partitions: Iterable[OldPartition]) -> None:
    """Refuse where actions came to the old topic meanwhile: nobody would apply them."""
    topic, topics = TopicNames(old.topic_prefix).of(ACTIONS), TopicNames(new.topic_prefix)
    bounds = await bounds_of(old, [TP(topic, one.number) for one in partitions])
    came = sum(bounds[TP(topic, one.number)].written - one.actions.end for one in partitions)
    if came:
        raise ClientError(
            f"{came:,} actions came to {topic} meanwhile: let all producers send to {topics.of(ACTIONS)} first, delete "
            f"the topic {topics.of(CHANGELOG)}, and again"
        )


def longest_names(partitions: Iterable[OldPartition]) -> Names:
    """Return the names of the codes in all states: those of one changelog differ in their number alone."""
    known = (one.logged.names for one in partitions if one.logged is not None)
    return reduce(Names.with_more_of, known, NO_NAMES)


async def _write_positions(new: Settings, target: Source, names: Names, sender: "_Sender") -> None:
    """Say that the new changelogs are whole: nothing of the new topic is in them yet."""
    topic = TopicNames(new.topic_prefix).of(CHANGELOG)
    headers = [(HEADER, target.packed()), (NAMES_HEADER, names.packed())]
    for number in range(new.partitions):
        await sender.send(topic, bytes(POSITION_BYTES), POSITION, number, headers=headers)
    await sender.flush()


def _tps(settings: Settings, topic: str) -> list[TP]:
    return [TP(topic, number) for number in range(settings.partitions)]


class _Sender:
    """Sends records and waits for their acknowledgements, some thousands at a time."""

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self._producer = producer
        self._acks: list[asyncio.Future[object]] = []

    async def send(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        partition: int,
        timestamp_ms: int | None = None,
        headers: Iterable[tuple[str, bytes]] = (),
    ) -> None:
        """Send one record; raises what the brokers said to an earlier one."""
        when = timestamp_ms if timestamp_ms is not None and timestamp_ms >= 0 else None
        self._acks.append(await self._producer.send(topic, value, key, partition, when, list(headers)))
        if len(self._acks) >= AT_ONCE:
            await self.flush()

    async def flush(self) -> None:
        """Wait until the brokers have all that was sent."""
        acks, self._acks = self._acks, []
        await asyncio.gather(*acks)
