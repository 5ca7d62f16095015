"""Opening of partitions: fences, stores, what the changelog knows better, and where reading goes on.

Nothing is read that a former owner could still change, and no store is taken into use that is not whole: it is restored
first, and the changelog gets what it lacks.
"""

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from faust.types import TP

from rankstream.features.stores.base import UserStore
from rankstream.features.stores.rocksdb import DamagedStoreError, RocksStore
from rankstream.streams.clients.connect import ClientError
from rankstream.streams.clients.throttling import Throttling
from rankstream.streams.engine import Engine
from rankstream.streams.partitioner import KeyCheck, PartitionCheck, anywhere
from rankstream.streams.pipeline import Sample, ServingState
from rankstream.streams.settings import TRANSACTIONAL, Settings
from rankstream.streams.skips import NOTHING
from rankstream.streams.topics import ACTIONS, CHANGELOG, REQUESTS
from rankstream.streams.tracing import Traces
from rankstream.streams.worker.changelog import Logged, RestoreJob, logged_positions, restore, seed
from rankstream.streams.worker.changelog_marks import ChangelogMarks
from rankstream.streams.worker.checkpoint import Cursor, Partition
from rankstream.streams.worker.exploration_watch import ExplorationWatch
from rankstream.streams.worker.fence import Fence
from rankstream.streams.worker.in_hand import InHand
from rankstream.streams.worker.limits import Limits
from rankstream.streams.worker.load import Load, Overload
from rankstream.streams.worker.offsets import Bounds, bounds_of, committed_and_skipped
from rankstream.streams.worker.outbox import Outbox
from rankstream.streams.worker.side_by_side import all_of, raise_first
from rankstream.streams.worker.source import UNKNOWN, Source, unpacked
from rankstream.streams.worker.topic_identity import OwnershipError, TopicIdentity
from rankstream.streams.worker.vocabulary_guard import KeptVocabulary

log = logging.getLogger(__name__)

LOCK_WAIT_S = 30.0


@dataclass
class Changelog:
    """What is known of the changelog of a partition."""

    bounds: Bounds
    logged: Logged | None  # None: it holds only a part

    @property
    def position(self) -> int | None:
        """Return up to where it is whole."""
        return None if self.logged is None else self.logged.position


NO_CHANGELOG = Changelog(Bounds(0, 0), None)


@dataclass
class Opened:
    """What is open of a partition that is not ready yet."""

    fence: Fence | None
    store: UserStore | None = None
    damage: DamagedStoreError | None = None

    @property
    def users(self) -> UserStore:
        """Return the store. Raises ``RuntimeError`` before there is one."""
        if self.store is None:
            raise RuntimeError("the store has not been opened")
        return self.store

    async def close(self) -> None:
        """Close what is open."""
        if self.store is not None:
            self.store.close()
        if self.fence is not None:
            await self.fence.close(flush=False)


@dataclass(frozen=True)
class Parts:
    """What every partition of a worker is made with."""

    serving: ServingState
    engine: Engine
    sample: Sample
    traces: Traces
    overload: Overload
    limits: Limits
    fencing: bool  # whether the brokers refuse former owners
    throttling: Throttling
    vocabulary: KeptVocabulary  # the names that states may have codes of


class Opening:
    """Opens partitions of the topics that were looked at."""

    def __init__(self, settings: Settings, topics: TopicIdentity, producer: AIOKafkaProducer, parts: Parts) -> None:
        self.settings = settings
        self.numbers: Sequence[int] = ()  # that are not open yet
        self.restoring: Sequence[RestoreJob] = ()
        self._topics, self._names = topics, topics.names
        self._producer = producer
        self._parts = parts
        self._watch_exploration = ExplorationWatch(settings)
        self._vocabulary = parts.vocabulary
        self._skipped: Mapping[TP, range] = {}  # of what is being opened, as an operator has said

    async def open(self, numbers: list[int], look: Callable[[], Awaitable[None]]) -> AsyncGenerator[Partition]:
        """Yield each partition as it is ready; what was not yielded when this ends early is closed.

        ``look`` looks at the topics. Raises ``OwnershipError`` where a partition can't be opened, and what that raises.
        """
        opened: dict[int, Opened] = {}
        self.numbers, taken = numbers, set[int]()
        try:
            for number in numbers:
                opened[number] = Opened(self._new_fence(number) if self._parts.fencing else None)
            await self._open_fences(opened)
            for number, one in opened.items():
                await self._open_store(number, one)
            tps = self._topics.sources_of(numbers)
            committed, self._skipped = await committed_and_skipped(self.settings, tps)
            await look()  # before anything of them is read
            partitions = len(await self._producer.partitions_for(self._names.of(ACTIONS)))
            sources = await bounds_of(self.settings, tps)
            logs = await self._changelogs(numbers)
            self._keep_names_of(logs)
            await self._restore(opened, sources, logs)
            for number, one in opened.items():
                await self._log_what_it_lacks(number, one, logs)
                check = self._check_of(number, partitions)
                partition = self._partition(number, one, sources, committed, logs, check)
                taken.add(number)
                yield partition
        except BaseException as exc:
            for number, one in opened.items():
                if number not in taken:
                    await one.close()
            if isinstance(exc, KafkaError | ClientError | TimeoutError):
                raise OwnershipError(
                    f"the brokers at {self.settings.bootstrap_servers} did not answer while partitions {numbers} were "
                    f"opened ({type(exc).__name__}: {exc}): start it again, and again until they do; nothing that was "
                    "acknowledged is lost"
                ) from exc
            raise
        finally:
            self.numbers = ()

    def _new_fence(self, number: int) -> Fence:
        fence = Fence(self.settings, self._parts.limits, number)
        self._parts.throttling.watch(fence.producer.client)
        return fence

    async def _open_fences(self, opened: Mapping[int, "Opened"]) -> None:
        """Make the brokers refuse the last owners, before anything is read that those could still change."""
        raise_first(await all_of(one.fence.open() for one in opened.values() if one.fence is not None))

    async def _restore(
        self, opened: Mapping[int, "Opened"], sources: Mapping[TP, Bounds], logs: Mapping[int, "Changelog"]
    ) -> None:
        """Bring the stores to where reading their actions takes over; then each says which topic it counts in."""
        jobs = []
        for number, one in opened.items():
            source, log_ = sources[TP(self._names.of(ACTIONS), number)], logs.get(number, NO_CHANGELOG)
            if one.damage is not None:
                one.store = await self._opened_anew(number, one.damage, source, log_)
            self._topics.check_position(
                number, one.users.next_offset, unpacked(one.users.source), source, "its state folder"
            )
            if log_.logged is not None:
                self._topics.check_position(number, log_.logged.position, log_.logged.source, source, "the changelog")
            if is_behind(one.users.next_offset, log_.position, source, log_.bounds):
                about = one.users, log_.bounds, self._topics.changelog_id
                tp = TP(self._names.of(CHANGELOG), number)
                jobs.append(RestoreJob(tp, *about, sound_states=self._parts.engine.sound_states))
        await self._check_other_changelogs([number for number, one in opened.items() if one.users.next_offset is None])
        await self._topics.check_last_records(
            {number: unpacked(one.users.source) for number, one in opened.items()}, sources, "its state folder"
        )
        await self._topics.check_last_records(
            {number: one.logged.source for number, one in logs.items() if one.logged is not None},
            sources,
            "the changelog",
        )
        await self._restore_all(jobs)
        for one in opened.values():
            if self._topics.source != UNKNOWN:
                one.users.set_source(self._topics.source.with_last_of(unpacked(one.users.source)).packed())

    async def _restore_all(self, jobs: Sequence[RestoreJob]) -> None:
        self.restoring = jobs
        try:
            if jobs:
                await restore(self.settings, jobs)
        finally:
            self.restoring = ()

    async def _opened_anew(
        self, number: int, damage: DamagedStoreError, source: Bounds, changelog: "Changelog"
    ) -> UserStore:
        """Move a damaged store aside where the changelog brings back all of its users. Raises the damage elsewhere."""
        if changelog.position is None or changelog.position < source.begin:
            raise damage
        folder = self._topics.folder(number)
        aside = folder.with_name(f"{folder.name}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%S}")
        folder.rename(aside)
        log.error(
            "partition %d: %s; it was moved to %s and is restored from the changelog: delete it when the disk is "
            "known to be sound",
            number,
            damage.what,
            aside,
        )
        return await asyncio.to_thread(RocksStore, folder)

    async def _log_what_it_lacks(self, number: int, opened: "Opened", logs: Mapping[int, "Changelog"]) -> None:
        """Write to the changelog what it lacks of the store: it was lost, or switched off for a while."""
        position, logged = opened.users.next_offset, logs.get(number, NO_CHANGELOG).position or 0
        if number in logs and position is not None and position > logged:
            count = await seed(self._outbox(number, opened), opened.users, position, since=logged)
            log.info("partition %d: wrote %d users that its changelog lacked", number, count)
            about = self._topics.source, self._topics.changelog_id, logs[number].bounds.begin
            logs[number].logged = Logged(position, *about)

    async def _open_store(self, number: int, opened: "Opened") -> None:
        """Open the database in a thread: it may have to wait for its last owner. Damage is dealt with later."""
        give_up = threading.Event()
        open_it = partial(RocksStore, self._topics.folder(number), wait_s=LOCK_WAIT_S, give_up=give_up)
        opening = asyncio.get_running_loop().run_in_executor(None, open_it)
        try:
            opened.store = await asyncio.shield(opening)
        except DamagedStoreError as exc:
            opened.damage = exc
        except asyncio.CancelledError:
            give_up.set()
            opening.add_done_callback(_close_unused)
            raise

    async def _changelogs(self, numbers: Collection[int]) -> dict[int, "Changelog"]:
        if not self.settings.changelog:
            return {}
        bounds = await bounds_of(self.settings, [TP(self._names.of(CHANGELOG), number) for number in numbers])
        logged = await logged_positions(self.settings, bounds)
        return {tp.partition: Changelog(found, logged.get(tp)) for tp, found in bounds.items()}

    def _keep_names_of(self, logs: Mapping[int, "Changelog"]) -> None:
        """Note where changelogs begin, and the names of the codes in what is restored from them."""
        topic = self._names.of(CHANGELOG)
        self._vocabulary.keep()
        for number, one in logs.items():
            self._topics.changelog_begins[TP(topic, number)] = one.bounds.begin
            if one.logged is not None:
                self._vocabulary.join(one.logged.names, topic, number)

    async def _check_other_changelogs(self, without_position: Collection[int]) -> None:
        """Refuse partitions without users where those of other partitions were split by another number.

        Partitions that were just added may have a worker of their own: it has no state that would show it.
        """
        if without_position and self._topics.source.partitions:
            for number, one in (await self._changelogs(range(self._topics.source.partitions))).items():
                if one.logged is not None and not one.logged.source.is_another(self._topics.source):
                    self._topics.check_split(one.logged.source, f"the changelog has users of partition {number}")

    def _partition(
        self,
        number: int,
        opened: "Opened",
        sources: Mapping[TP, Bounds],
        committed: Mapping[TP, int],
        logs: Mapping[int, "Changelog"],
        wrong_partition: KeyCheck,
    ) -> Partition:
        store, logged = opened.users, logs.get(number, NO_CHANGELOG).position or 0
        actions_tp, requests_tp = TP(self._names.of(ACTIONS), number), TP(self._names.of(REQUESTS), number)
        source, position, committed_actions = sources[actions_tp], store.next_offset, committed.get(actions_tp, 0)
        begin_at = source.begin if position is None else position
        answered = first_unanswered(requests_tp, committed, sources[requests_tp])
        last = unpacked(store.source)
        actions, requests = self._cursor_at(actions_tp, begin_at, last), self._cursor_at(requests_tp, answered)
        for cursor in (actions, requests):
            if cursor.processed < sources[cursor.tp].begin:
                cursor.pass_over(sources[cursor.tp].begin)
        actions.committed, requests.committed = committed_actions, committed.get(requests_tp, 0)
        pipeline = self._parts.engine.pipeline(
            self._parts.engine.users(store, self.settings.history_limit, forget_after_ms=self.settings.forget_after_ms),
            self._parts.serving,
            log_served=self.settings.served_features,
            observe=self._watch_exploration,
            wrong_partition=wrong_partition,
            sample=self._parts.sample,
            traces=self._parts.traces,
        )
        outbox = self._outbox(number, opened)
        load = Load(self.settings.answer_within_ms / 1000, overload=self._parts.overload)
        changelog = self.settings.changelog
        keep_names = self._vocabulary.keep
        partition = Partition(number, pipeline, outbox, actions, requests, changelog, load, keep_names)
        partition.outputs_committed_until = max(committed_actions, logged)  # what is logged was sent before, or with it
        partition.logged_until = logged
        partition.catch_up_until = source.end
        if actions.processed < partition.outputs_committed_until:
            log.info(
                "partition %d: users as of %d, group at %d: reading on without sending outputs again",
                number,
                actions.processed,
                partition.outputs_committed_until,
            )
        return partition

    def _cursor_at(self, tp: TP, offset: int, last: Source = UNKNOWN) -> Cursor:
        """Return a cursor with what the last process had in hand: noted in the folder of the partition's users."""
        name, skipped = f"{tp.topic} {tp.partition}", self._skipped.get(tp, NOTHING)
        if offset < skipped.stop:
            log.warning("%s: offsets %d to %d are skipped, as told", name, max(offset, skipped.start), skipped.stop - 1)
        if offset in skipped:
            offset, last = skipped.stop, last.without_times()
        in_hand = InHand(self._topics.folder(tp.partition) / f"{tp.topic}.in-hand", name, offset)
        return Cursor(tp, offset, in_hand, skipped, last)

    def _check_of(self, number: int, partitions: int) -> KeyCheck:
        return PartitionCheck(number, partitions) if self.settings.partitioner == "murmur2" else anywhere

    def _outbox(self, number: int, opened: "Opened") -> Outbox:
        holds_feeds = self.settings.feed_delivery == TRANSACTIONAL
        source = self._topics.source.with_last_of(unpacked(opened.users.source))
        parts = (self._producer, self._names, number, self._parts.limits, source, opened.fence, holds_feeds)
        begin = self._topics.changelog_begins.get(TP(self._names.of(CHANGELOG), number))
        return Outbox(*parts, ChangelogMarks(self._topics.changelog_id, begin, self._vocabulary))


def first_unanswered(tp: TP, committed: Mapping[TP, int], source: Bounds) -> int:
    """Return from where on requests are answered."""
    answered = committed.get(tp, source.begin)
    if answered > source.written:
        log.error(
            "%s %d ends at offset %d, though requests before %d were answered: it has lost its newest records, and "
            "what came in their place is not answered; requests from now on are",
            tp.topic, tp.partition, source.written, answered,
        )  # fmt: skip
    return min(answered, source.written)


def is_behind(position: int | None, logged: int | None, source: Bounds, changelog: Bounds) -> bool:
    """Return whether to read the changelog: the store is behind it, and reading the source would take longer.

    A store without position is filled with all that there is, also from a changelog that is not whole: the source is
    read from its beginning then. After a restart of the same worker a store is never behind.
    """
    if position is None or logged is None:
        return position is None and changelog.count > 0
    return position < min(source.begin, logged) or logged - position > changelog.count


def _close_unused(opening: "asyncio.Future[RocksStore]") -> None:
    """Close a database that opened after the assignment was cancelled."""
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()
