"""The partitions that this worker owns: opened after every rebalance, closed before the next one.

Partition ``p`` of user-actions, of ranking-requests and of the changelog belong together. The position in a store is
where reading of its actions resumes; the group's offset is up to where outputs were already acknowledged.
"""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from time import monotonic

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from faust.types import TP

from rankstream.features.stores.base import UserStore
from rankstream.features.stores.rocksdb import DamagedStoreError, RocksStore
from rankstream.streams.clients.connect import ClientError
from rankstream.streams.counters import Counters, total_of
from rankstream.streams.engine import PLAIN, Engine
from rankstream.streams.partitioner import KeyCheck, PartitionCheck, anywhere
from rankstream.streams.pipeline import Sample, ServingState
from rankstream.streams.settings import TRANSACTIONAL, Settings
from rankstream.streams.skips import NOTHING
from rankstream.streams.topics import ACTIONS, CHANGELOG, REQUESTS, TopicNames
from rankstream.streams.tracing import NO_TRACES, Traces
from rankstream.streams.worker.changelog import Logged, RestoreJob, logged_positions, restore, seed
from rankstream.streams.worker.checkpoint import Cursor, Partition
from rankstream.streams.worker.chunks import Chunk, ReadingPlan
from rankstream.streams.worker.exploration_watch import ExplorationWatch
from rankstream.streams.worker.fence import Fence
from rankstream.streams.worker.in_hand import InHand
from rankstream.streams.worker.limits import Limits
from rankstream.streams.worker.load import Load, Overload
from rankstream.streams.worker.offsets import Bounds, bounds_of, committed_and_skipped
from rankstream.streams.worker.outbox import Outbox
from rankstream.streams.worker.source import UNKNOWN, Described, Source, describe, unpacked
from rankstream.streams.worker.truncation import Cut, CutWatch, first_not_before, replaced_records
from rankstream.streams.worker.unpacking import NO_EPOCH

log = logging.getLogger(__name__)

LOCK_WAIT_S = 30.0
CLOSE_S = 6.0  # for a last checkpoint
Commit = Callable[[Mapping[TP, int]], Awaitable[bool]]


class OwnershipError(RuntimeError):
    """The partitions can't be opened; the message is one sentence and says what to do."""


class Ownership:
    """Opens, checkpoints and closes partitions; knows of Faust only what it is handed."""

    def __init__(
        self,
        settings: Settings,
        serving: ServingState,
        producer: AIOKafkaProducer,
        plan: ReadingPlan,
        limits: Limits,
        fencing: bool,
        sample: Sample,
        engine: Engine = PLAIN,
        overload: Overload | None = None,
        traces: Traces = NO_TRACES,
    ) -> None:
        self.settings = settings
        self.names = TopicNames(settings.topic_prefix)
        self.partitions: dict[int, Partition] = {}
        self._serving = serving
        self._producer = producer
        self._plan = plan
        self._watch_exploration = ExplorationWatch(settings)
        self._sample = sample
        self._engine = engine
        self._overload = overload or Overload()
        self._traces = traces
        self._limits = limits
        self.fencing = fencing  # whether the brokers refuse former owners
        self.abandoned = False  # write nothing any more
        self.left_unsaved = False  # the partitions that were left last had no last checkpoint
        self.left = Counters()  # of the partitions that were left: sums of what was counted never fall
        self.opening: Sequence[int] = ()  # partitions that are not open yet
        self.restoring: Sequence[RestoreJob] = ()
        self._source = UNKNOWN  # the topic user-actions, as of the last opening
        self._changelog_id = ""  # of the topic, the same
        self._cuts = CutWatch(settings)
        self._leaders: Mapping[TP, int] = {}  # their epochs, as of when topics were last looked at
        self._skipped: Mapping[TP, range] = {}  # of what is being opened, as an operator has said
        self._opening: asyncio.Task[None] | None = None
        self._alive_at = monotonic()

    def counters(self) -> Counters:
        """Return what was counted since the start, of the partitions that are open and of those that were left."""
        return total_of([self.left, *(one.pipeline.counters for one in list(self.partitions.values()))])

    # --- assignment

    async def assign(self, assignment: Collection[TP]) -> None:
        """Open what is assigned and not open yet; returns early, with nothing opened, if a new rebalance stops it."""
        numbers = self.assigned_numbers(assignment)
        new = sorted(numbers - self.partitions.keys())
        if not new:
            return
        self._opening = asyncio.create_task(self._open(new))
        await asyncio.wait({self._opening})
        if not self._opening.cancelled():
            self._opening.result()

    def assigned_numbers(self, assignment: Collection[TP]) -> set[int]:
        """Return the partition numbers of an assignment. Raises ``OwnershipError`` if the sources differ."""
        actions = {tp.partition for tp in assignment if tp.topic == self.names.of(ACTIONS)}
        requests = {tp.partition for tp in assignment if tp.topic == self.names.of(REQUESTS)}
        if bool(actions) != bool(requests):
            gone, other = (REQUESTS, actions) if actions else (ACTIONS, requests)
            raise OwnershipError(
                f"this worker was given partitions {sorted(other)}, but none of the topic {self.names.of(gone)}: if it "
                "was deleted, end all workers and run `rankstream topics create`; if workers of the group "
                f"{self.settings.app_id} subscribe to only one of the topics, end those"
            )
        if actions != requests:
            raise OwnershipError(
                f"this worker was given partitions {sorted(actions)} of {self.names.of(ACTIONS)} but "
                f"{sorted(requests)} of {self.names.of(REQUESTS)}, so requests would not see their users: end all "
                f"workers of the group {self.settings.app_id} that subscribe to only one of the topics, or have "
                "another version"
            )
        return actions

    async def _open(self, numbers: list[int]) -> None:
        opened: dict[int, Opened] = {}
        self.opening = numbers
        try:
            for number in numbers:
                opened[number] = Opened(Fence(self.settings, self._limits, number) if self.fencing else None)
            await self._open_fences(opened)
            for number, one in opened.items():
                await self._open_store(number, one)
            committed, self._skipped = await committed_and_skipped(self.settings, self._sources_of(numbers))
            await self.check_topics()  # before anything of them is read
            partitions = len(await self._producer.partitions_for(self.names.of(ACTIONS)))
            sources = await bounds_of(self.settings, self._sources_of(numbers))
            logs = await self._changelogs(numbers)
            await self._restore(opened, sources, logs)
            for number, one in opened.items():
                await self._log_what_it_lacks(number, one, logs)
                check = self._check_of(number, partitions)
                self._own(self._partition(number, one, sources, committed, logs, check))
            self._share_memory()
        except BaseException as exc:
            for number, one in opened.items():
                if number not in self.partitions:
                    await one.close()
            if isinstance(exc, KafkaError | ClientError | TimeoutError):
                raise OwnershipError(
                    f"the brokers at {self.settings.bootstrap_servers} did not answer while partitions {numbers} were "
                    f"opened ({type(exc).__name__}: {exc}): start it again, and again until they do; nothing that was "
                    "acknowledged is lost"
                ) from exc
            raise
        finally:
            self.opening = ()

    def _own(self, partition: Partition) -> None:
        """Take a partition into use. What was fetched of it before it was open is void, wherever that began."""
        self.partitions[partition.number] = partition
        for tp in self._sources_of([partition.number]):
            self._plan.restart(tp, None)
            self._cuts.compared(tp, self._leaders.get(tp, NO_EPOCH))

    def _share_memory(self) -> None:
        """Give each partition its part of the users that the worker keeps in memory."""
        for one in self.partitions.values():
            one.pipeline.users.max_cached = self.settings.cached_users // len(self.partitions)

    async def _open_fences(self, opened: Mapping[int, "Opened"]) -> None:
        """Make the brokers refuse the last owners, before anything is read that those could still change."""
        raise_first(await all_of(one.fence.open() for one in opened.values() if one.fence is not None))

    async def _restore(
        self, opened: Mapping[int, "Opened"], sources: Mapping[TP, Bounds], logs: Mapping[int, "Changelog"]
    ) -> None:
        """Bring the stores to where reading their actions takes over; then each says which topic it counts in."""
        jobs = []
        for number, one in opened.items():
            source, log_ = sources[TP(self.names.of(ACTIONS), number)], logs.get(number, NO_CHANGELOG)
            if one.damage is not None:
                one.store = await self._opened_anew(number, one.damage, source, log_)
            self._check_position(number, one.users.next_offset, unpacked(one.users.source), source, "its state folder")
            if log_.logged is not None:
                self._check_position(number, log_.logged.position, log_.logged.source, source, "the changelog")
            if is_behind(one.users.next_offset, log_.position, source, log_.bounds):
                about = one.users, log_.bounds, self._changelog_id
                tp = TP(self.names.of(CHANGELOG), number)
                jobs.append(RestoreJob(tp, *about, sound_states=self._engine.sound_states))
        await self._check_other_changelogs([number for number, one in opened.items() if one.users.next_offset is None])
        await self._check_last_records(
            {number: unpacked(one.users.source) for number, one in opened.items()}, sources, "its state folder"
        )
        await self._check_last_records(
            {number: one.logged.source for number, one in logs.items() if one.logged is not None},
            sources,
            "the changelog",
        )
        await self._restore_all(jobs)
        for one in opened.values():
            if self._source != UNKNOWN:
                one.users.set_source(self._source.with_last_of(unpacked(one.users.source)).packed())

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
        folder = self.folder(number)
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
            logs[number].logged = Logged(position, self._source, self._changelog_id)

    async def _open_store(self, number: int, opened: "Opened") -> None:
        """Open the database in a thread: it may have to wait for its last owner. Damage is dealt with later."""
        give_up = threading.Event()
        open_it = partial(RocksStore, self.folder(number), wait_s=LOCK_WAIT_S, give_up=give_up)
        opening = asyncio.get_running_loop().run_in_executor(None, open_it)
        try:
            opened.store = await asyncio.shield(opening)
        except DamagedStoreError as exc:
            opened.damage = exc
        except asyncio.CancelledError:
            give_up.set()
            opening.add_done_callback(_close_unused)
            raise

    def folder(self, number: int) -> Path:
        """Return the folder of a partition's users."""
        return self.settings.state_dir / self.settings.app_id / f"{self.names.of(ACTIONS)}-{number}"

    async def _changelogs(self, numbers: Collection[int]) -> dict[int, "Changelog"]:
        if not self.settings.changelog:
            return {}
        bounds = await bounds_of(self.settings, [TP(self.names.of(CHANGELOG), number) for number in numbers])
        logged = await logged_positions(self.settings, bounds)
        return {tp.partition: Changelog(found, logged.get(tp)) for tp, found in bounds.items()}

    def _check_position(self, number: int, position: int | None, was: Source, source: Bounds, whose: str) -> None:
        """Refuse a position in another topic of the same name, and one that the topic has never reached."""
        if position is None:
            return
        topic = self.names.of(ACTIONS)
        to = "to start without the users of the old topic"
        if not was.is_another(self._source):
            self._check_split(was, f"{whose} has users of partition {number}")
        if was.is_another(self._source):
            why = f"was created anew since (its id was {was.topic_id} and is {self._source.topic_id})"
        elif position <= source.written:
            return
        elif was.topic_id and was.topic_id == self._source.topic_id:
            why = f"ends at offset {source.written}, though it is the same topic: it has lost its newest records"
            to = "to build the users again from those that it holds"
        else:
            why = f"ends at offset {source.written}, so it was recreated"
        raise OwnershipError(
            f"{whose} has users up to offset {position} of {topic} partition {number}, but that topic {why}: "
            f"{self._moved_away(number)} {to}"
        )

    def _moved_away(self, number: int) -> str:
        changelog = f" and delete the topic {self.names.of(CHANGELOG)}" if self.settings.changelog else ""
        return f"move {self.folder(number)} away{changelog}"

    async def _check_last_records(self, kept: Mapping[int, Source], sources: Mapping[TP, Bounds], whose: str) -> None:
        """Refuse positions where the topic holds another record than the last one applied."""
        topic = self.names.of(ACTIONS)
        known = {TP(topic, number): source for number, source in kept.items()}
        for tp in sorted(await replaced_records(self.settings, known, sources)):
            raise OwnershipError(
                f"{whose} has users with the action at offset {known[tp].last_offset} of {topic} partition "
                f"{tp.partition}, but that topic holds another record there, though it is the same topic: it has "
                f"lost its newest records since; {self._moved_away(tp.partition)} to build the users again from "
                "those that it holds"
            )

    def _check_split(self, was: Source, what: str) -> None:
        """Refuse states that were made while the topic had another number of partitions."""
        if not was.is_split_otherwise(self._source):
            return
        raise OwnershipError(
            f"{what}, as of when {self.names.of(ACTIONS)} had {was.partitions} partitions, but now it has "
            f"{self._source.partitions}, so users' new actions lie on other partitions than their states: end all "
            "workers and move the users to topics of their own with `rankstream repartition`, or build them again from "
            'the actions that the topic holds (docs/operations.md, "Scale")'
        )

    async def _check_other_changelogs(self, without_position: Collection[int]) -> None:
        """Refuse partitions without users where those of other partitions were split by another number.

        Partitions that were just added may have a worker of their own: it has no state that would show it.
        """
        if without_position and self._source.partitions:
            for number, one in (await self._changelogs(range(self._source.partitions))).items():
                if one.logged is not None and not one.logged.source.is_another(self._source):
                    self._check_split(one.logged.source, f"the changelog has users of partition {number}")

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
        actions_tp, requests_tp = TP(self.names.of(ACTIONS), number), TP(self.names.of(REQUESTS), number)
        source, position, committed_actions = sources[actions_tp], store.next_offset, committed.get(actions_tp, 0)
        if position is not None and position < source.begin:
            log.warning(
                "partition %d: actions %d to %d have expired before they were read; users lack them",
                number,
                position,
                source.begin - 1,
            )
        begin_at = source.begin if position is None else max(position, source.begin)
        answered = self._answered(requests_tp, committed, sources[requests_tp])
        last = unpacked(store.source)
        actions, requests = self._cursor_at(actions_tp, begin_at, last), self._cursor_at(requests_tp, answered)
        actions.committed, requests.committed = committed_actions, committed.get(requests_tp, 0)
        pipeline = self._engine.pipeline(
            self._engine.users(store, self.settings.history_limit, forget_after_ms=self.settings.forget_after_ms),
            self._serving,
            log_served=self.settings.served_features,
            observe=self._watch_exploration,
            wrong_partition=wrong_partition,
            sample=self._sample,
            traces=self._traces,
        )
        outbox = self._outbox(number, opened)
        load = Load(self.settings.answer_within_ms / 1000, overload=self._overload)
        changelog = self.settings.changelog
        partition = Partition(number, pipeline, outbox, actions, requests, changelog, load)
        partition.outputs_committed_until = max(committed_actions, logged)  # what is logged was sent before, or with it
        partition.logged_until = logged
        partition.catch_up_until = source.end
        if begin_at < partition.outputs_committed_until:
            log.info(
                "partition %d: users as of %d, group at %d: reading on without sending outputs again",
                number,
                begin_at,
                partition.outputs_committed_until,
            )
        return partition

    def _answered(self, tp: TP, committed: Mapping[TP, int], source: Bounds) -> int:
        """Return from where on requests are answered."""
        answered = committed.get(tp, source.begin)
        if answered > source.written:
            log.error(
                "%s %d ends at offset %d, though requests before %d were answered: it has lost its newest records, and "
                "what came in their place is not answered; requests from now on are",
                tp.topic, tp.partition, source.written, answered,
            )  # fmt: skip
        return min(answered, source.written)

    def _cursor_at(self, tp: TP, offset: int, last: Source = UNKNOWN) -> Cursor:
        """Return a cursor with what the last process had in hand: noted in the folder of the partition's users."""
        name, skipped = f"{tp.topic} {tp.partition}", self._skipped.get(tp, NOTHING)
        if offset < skipped.stop:
            log.warning("%s: offsets %d to %d are skipped, as told", name, max(offset, skipped.start), skipped.stop - 1)
        if offset in skipped:
            offset = skipped.stop
        in_hand = InHand(self.folder(tp.partition) / f"{tp.topic}.in-hand", name, offset)
        return Cursor(tp, offset, in_hand, skipped, last)

    def _check_of(self, number: int, partitions: int) -> KeyCheck:
        return PartitionCheck(number, partitions) if self.settings.partitioner == "murmur2" else anywhere

    def _outbox(self, number: int, opened: "Opened") -> Outbox:
        holds_feeds = self.settings.feed_delivery == TRANSACTIONAL
        source = self._source.with_last_of(unpacked(opened.users.source))
        parts = (self._producer, self.names, number, self._limits, source, opened.fence, holds_feeds)
        return Outbox(*parts, self._changelog_id)

    # --- reading

    def positions(self, committed: Mapping[TP, int | None]) -> dict[TP, int]:
        """Return where to resume; called by the consumer with the group's offsets before it reads.

        Every open partition gets a position, also one for which the group has no offset: what was fetched before this
        is void, and unless reading is set back, it would never come again.
        """
        moves: dict[TP, int] = {}
        owned: dict[TP, int | None] = dict.fromkeys(self.owned_tps(), None)
        for tp, offset in {**owned, **committed}.items():
            partition = self.partitions.get(tp.partition)
            cursor = None if partition is None else self._cursor(partition, tp)
            if cursor is None or partition is None:
                self._plan.restart(tp, offset)
                continue
            if offset is not None and offset > cursor.committed:
                cursor.committed = offset
                if cursor is partition.actions:
                    partition.outputs_committed_until = max(partition.outputs_committed_until, offset)
            self._plan.restart(tp, cursor.processed)
            moves[tp] = cursor.processed
        return moves

    def owned_tps(self) -> list[TP]:
        """Return the source partitions of all that is open."""
        return self._sources_of(self.partitions)

    def _sources_of(self, numbers: Collection[int]) -> list[TP]:
        topics = (self.names.of(ACTIONS), self.names.of(REQUESTS))
        return [TP(topic, number) for number in numbers for topic in topics]

    def _cursor(self, partition: Partition, tp: TP) -> Cursor | None:
        if tp.topic == self.names.of(ACTIONS):
            return partition.actions
        return partition.requests if tp.topic == self.names.of(REQUESTS) else None

    # --- checkpoints

    async def checkpoint(self, commit: Commit, numbers: Collection[int] | None = None) -> None:
        """Checkpoint partitions side by side, then commit the group's offsets. Raises what a partition raised."""
        self.check_alive()
        chosen = [one for number, one in self.partitions.items() if numbers is None or number in numbers]
        results = await all_of(one.checkpoint() for one in chosen)
        await self.commit(commit, chosen)
        raise_first(results)

    async def commit_answers(self) -> None:
        """Commit the answers of all partitions, side by side. Raises what a partition raised."""
        raise_first(await all_of(one.commit_answers() for one in list(self.partitions.values())))

    async def commit(self, commit: Commit, chosen: Collection[Partition]) -> None:
        """Commit what is checkpointed and not committed yet; never backwards."""
        cursors = {
            tp: cursor
            for one in chosen
            for tp, cursor in (
                (TP(self.names.of(ACTIONS), one.number), one.actions),
                (TP(self.names.of(REQUESTS), one.number), one.requests),
            )
            if cursor.checkpointed > cursor.committed
        }
        offsets = {tp: cursor.checkpointed for tp, cursor in cursors.items()}
        if offsets and await commit(offsets):
            for tp, cursor in cursors.items():
                cursor.committed = max(cursor.committed, offsets[tp])

    def check_alive(self) -> None:
        """Note that the process runs. Raises ``OwnershipError`` if it has stood still for longer than a session."""
        gap_s, self._alive_at = monotonic() - self._alive_at, monotonic()
        if gap_s > self.settings.session_timeout_s:
            self.refuse_after(gap_s)

    def refuse_after(self, gap_s: float) -> None:
        """Write nothing any more and raise ``OwnershipError``: the process has stood still for so long."""
        self.abandon()
        raise OwnershipError(
            f"this process stood still for {gap_s:.0f} s, longer than its session of "
            f"{self.settings.session_timeout_s:g} s, so its partitions may belong to another worker: start it again"
        )

    def abandon(self) -> None:
        """Write nothing any more: the partitions may belong to another worker."""
        self.abandoned = True
        for partition in self.partitions.values():
            partition.failed = True

    async def check_topics(self) -> None:
        """Note which topics actions come from and states are logged to.

        Raises ``OwnershipError`` if one of them is no more that of what is open, ``ClientError`` where no broker tells.
        """
        actions, changelogs = self.names.of(ACTIONS), [self.names.of(CHANGELOG)] if self.settings.changelog else []
        requests = self.names.of(REQUESTS)
        found = await describe(self.settings, [actions, requests, *changelogs])
        self._leaders = leaders_of(found)
        self._check_source(actions, found[actions].source)
        for changelog in changelogs:
            self._check_changelog(changelog, found[changelog].source.topic_id)

    # --- records that topics have lost

    def is_in_doubt(self, chunk: Chunk) -> bool:
        """Return whether the topic may have lost what was processed before this chunk: look before it is processed."""
        partition = self.partitions.get(chunk.partition)
        cursor = None if partition is None else self._cursor(partition, chunk.tp)
        return cursor is not None and self._cuts.is_in_doubt(chunk, cursor)

    async def look_for_cuts(self, chunk: Chunk | None = None) -> dict[TP, int]:
        """Compare what was processed last with what the topics hold, of all partitions; return where to read again.

        ``chunk`` was in doubt. Raises ``OwnershipError`` where actions were lost that users' states have, and what
        ``check_topics`` raises; ``TimeoutError`` or ``KafkaError`` where brokers are away.
        """
        await self.check_topics()
        open_ = list(self.partitions.values())
        cursors = {cursor.tp: (one, cursor) for one in open_ for cursor in one.cursors}
        leaders, lost = dict(self._leaders), 0
        if chunk is not None:
            lost = chunk.lost_connections
            leaders[chunk.tp] = max(chunk.leader_epoch, leaders.get(chunk.tp, NO_EPOCH))
        cuts = await self._cuts.cuts([cursor for _, cursor in cursors.values()])
        for tp, cut in cuts.items():
            if tp.topic == self.names.of(ACTIONS):
                self._refuse_cut(tp, cut)
        moves = {tp: await self._answer_again(*cursors[tp], cut) for tp, cut in cuts.items()}
        for tp in cursors:
            self._cuts.compared(tp, leaders.get(tp, NO_EPOCH), lost)
        if chunk is not None and chunk.tp in cursors and chunk.tp not in moves:
            cursor = cursors[chunk.tp][1]
            if chunk.begin < cursor.processed:  # reading went back, and nothing is lost
                moves[chunk.tp] = cursor.processed
        for tp, offset in moves.items():
            self._plan.restart(tp, offset)
        return moves

    def _refuse_cut(self, tp: TP, cut: Cut) -> None:
        self.abandon()
        raise OwnershipError(
            f"{tp.topic} partition {tp.partition} has lost records that were applied ({cut}): nothing is written any "
            "more; start the worker again, and do what it says then"
        )

    async def _answer_again(self, partition: Partition, cursor: Cursor, cut: Cut) -> int:
        """Set requests back to where others stand than those that were answered; return that offset."""
        last_ms, offset = -1 if cursor.last is None else cursor.last.timestamp, None
        if last_ms >= 0:
            offset = await first_not_before(self.settings, cursor.tp, last_ms)
        at = min(cut.position, cut.end if offset is None else offset)
        await partition.answer_again(at)
        log.error("%s has lost requests that were answered (%s): reading on at offset %d", cursor.name, cut, at)
        return at

    def _check_source(self, topic: str, now: Source) -> None:
        if self.partitions and self._source.is_another(now):
            self.abandon()
            raise OwnershipError(
                f"the topic {topic} was created anew while its records were applied (its id was "
                f"{self._source.topic_id} and is {now.topic_id}): start the worker again, and do what it says then"
            )
        if self._source.is_split_otherwise(now):
            self.abandon()
            raise OwnershipError(
                f"the topic {topic} had {self._source.partitions} partitions and was given {now.partitions}, so users' "
                "new actions lie on other partitions than their states: start the worker again, and do what it says "
                "then"
            )
        if now != UNKNOWN:
            self._source = now

    def _check_changelog(self, topic: str, now: str) -> None:
        before = self._changelog_id
        if self.partitions and before and now and before != now:
            self.abandon()
            raise OwnershipError(
                f"the changelog {topic} was created anew while states were logged to it (its id was {before} and is "
                f"{now}), so it lacks all users who did not act since: start the worker again, and it writes them"
            )
        self._changelog_id = now or before

    async def _check_name(self, leaving: Collection[Partition]) -> None:
        """Raise ``OwnershipError`` where another worker has what a static member is asked to leave.

        Brokers give the partitions of a name to whoever came with it last and tell the other only that it is no member.
        Without this each would join again, and take them from the other for ever.
        """
        name = self.settings.group_instance_id
        if name is not None and any(await asyncio.gather(*(one.is_refused() for one in leaving))):
            self.abandon()
            raise OwnershipError(
                f"another worker has the partitions of this one: either it was started with the same "
                f"group_instance_id {name}, and then give each worker a name of its own, or this one was away for "
                "longer than its session, and then start it again"
            )

    # --- revocation

    async def revoke(self, numbers: Collection[int], commit: Commit) -> None:
        """Cancel an opening under way; finish, checkpoint and close these partitions."""
        if self._opening is not None and not self._opening.done():
            self._opening.cancel()
            await asyncio.wait({self._opening})
        leaving = [self.partitions[number] for number in numbers if number in self.partitions]
        patience_s = min(CLOSE_S, self.settings.session_timeout_s / 2)
        try:
            self.check_alive()
            await self._check_name(leaving)
            await asyncio.gather(*(one.close(patience_s) for one in leaving))
            if leaving:
                self.left_unsaved = any(one.failed for one in leaving)
            async with asyncio.timeout(patience_s):
                await self.commit(commit, leaving)
        except TimeoutError:
            log.warning("the group's offsets were not committed within %g s: what they lack is done again", patience_s)
        finally:
            for one in leaving:
                del self.partitions[one.number]
                self.left.add(one.pipeline.counters)
            self._share_memory()
            await asyncio.gather(*(one.release() for one in leaving))


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


async def all_of(works: Iterable[Awaitable[object]]) -> list[object]:
    """Run works side by side, each to its end whatever the others do; return what each returned or raised."""
    return await asyncio.gather(*works, return_exceptions=True)


def raise_first(results: Iterable[object]) -> None:
    """Raise the first of the results that is an exception."""
    for result in results:
        if isinstance(result, BaseException):
            raise result


def is_behind(position: int | None, logged: int | None, source: Bounds, changelog: Bounds) -> bool:
    """Return whether to read the changelog: the store is behind it, and reading the source would take longer.

    A store without position is filled with all that there is, also from a changelog that is not whole: the source is
    read from its beginning then. After a restart of the same worker a store is never behind.
    """
    if position is None or logged is None:
        return position is None and changelog.count > 0
    return position < min(source.begin, logged) or logged - position > changelog.count


def leaders_of(found: Mapping[str, Described]) -> dict[TP, int]:
    """Return the epoch of each partition's leader."""
    return {TP(topic, number): epoch for topic, one in found.items() for number, epoch in one.leader_epochs.items()}


def _close_unused(opening: "asyncio.Future[RocksStore]") -> None:
    """Close a database that opened after the assignment was cancelled."""
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()
