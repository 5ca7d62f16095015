"""The partitions that this worker owns: opened after every rebalance, closed before the next one.

Partition ``p`` of user-actions, of ranking-requests and of the changelog belong together. The position in a store is
where reading of its actions resumes; the group's offset is up to where outputs were already acknowledged.
"""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from time import monotonic

from aiokafka import AIOKafkaProducer
from faust.types import TP

from rankstream.features.stores.base import UserStore
from rankstream.features.stores.cache import UserCache
from rankstream.features.stores.rocksdb import RocksStore
from rankstream.streams.partitioner import KeyCheck, PartitionCheck, anywhere
from rankstream.streams.pipeline import Pipeline, ServingState
from rankstream.streams.settings import Settings
from rankstream.streams.skips import NOTHING
from rankstream.streams.topics import ACTIONS, CHANGELOG, REQUESTS, TopicNames
from rankstream.streams.worker.changelog import RestoreJob, restore, seed
from rankstream.streams.worker.checkpoint import Cursor, Partition
from rankstream.streams.worker.chunks import ReadingPlan
from rankstream.streams.worker.exploration_watch import ExplorationWatch
from rankstream.streams.worker.in_hand import InHand
from rankstream.streams.worker.limits import Limits
from rankstream.streams.worker.offsets import Bounds, bounds_of, committed_and_skipped
from rankstream.streams.worker.outbox import Outbox
from rankstream.streams.worker.source import UNKNOWN, source_of, unpacked

log = logging.getLogger(__name__)

LOCK_WAIT_S = 30.0
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
    ) -> None:
        self.settings = settings
        self.names = TopicNames(settings.topic_prefix)
        self.partitions: dict[int, Partition] = {}
        self._serving = serving
        self._producer = producer
        self._plan = plan
        self._watch_exploration = ExplorationWatch(settings)
        self._limits = limits
        self._source = UNKNOWN  # the topic user-actions, as of the last opening
        self._skipped: Mapping[TP, range] = {}  # of what is being opened, as an operator has said
        self._opening: asyncio.Task[None] | None = None
        self._alive_at = monotonic()

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
        stores: dict[int, UserStore] = {}
        try:
            for number in numbers:
                stores[number] = await self._open_store(number)
            committed, self._skipped = await committed_and_skipped(self.settings, self._sources_of(numbers))
            await self.check_source()
            partitions = len(await self._producer.partitions_for(self.names.of(ACTIONS)))
            sources = await bounds_of(self.settings, self._sources_of(numbers))
            logs = await self._bounds_of_changelog(numbers)
            jobs = []
            for number, store in stores.items():
                tp = TP(self.names.of(ACTIONS), number)
                self._check_position(number, store, sources[tp], "its state folder")
                if number in logs and is_behind(store.next_offset, committed.get(tp), sources[tp], logs[number]):
                    jobs.append(RestoreJob(TP(self.names.of(CHANGELOG), number), store, logs[number]))
            if jobs:
                await restore(self.settings, jobs)
            for number, store in stores.items():
                tp = TP(self.names.of(ACTIONS), number)
                self._check_position(number, store, sources[tp], "the changelog")
                if self._source is not UNKNOWN:
                    store.set_source(self._source.packed())
                partition = self._partition(number, store, sources, committed, self._check_of(number, partitions))
                if number in logs and not logs[number].count and store.next_offset:
                    count = await seed(self._outbox(number), store, store.next_offset)
                    log.info("partition %d: wrote %d users to its empty changelog", number, count)
                self.partitions[number] = partition
        except BaseException:
            for number, store in stores.items():
                if number not in self.partitions:
                    store.close()
            raise

    async def _open_store(self, number: int) -> UserStore:
        """Open the database in a thread: it may have to wait for its last owner."""
        give_up = threading.Event()
        open_it = partial(RocksStore, self.folder(number), wait_s=LOCK_WAIT_S, give_up=give_up)
        opening = asyncio.get_running_loop().run_in_executor(None, open_it)
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            give_up.set()
            opening.add_done_callback(_close_unused)
            raise

    def folder(self, number: int) -> Path:
        """Return the folder of a partition's users."""
        return self.settings.state_dir / self.settings.app_id / f"{self.names.of(ACTIONS)}-{number}"

    async def _bounds_of_changelog(self, numbers: list[int]) -> dict[int, Bounds]:
        if not self.settings.changelog:
            return {}
        found = await bounds_of(self.settings, [TP(self.names.of(CHANGELOG), number) for number in numbers])
        return {tp.partition: bounds for tp, bounds in found.items()}

    def _check_position(self, number: int, store: UserStore, source: Bounds, whose: str) -> None:
        """Refuse a position in another topic of the same name, and one that the topic has never reached."""
        position = store.next_offset
        if position is None:
            return
        topic, was = self.names.of(ACTIONS), unpacked(store.source)
        to = "to start without the users of the old topic"
        if was.is_another(self._source):
            why = f"was created anew since (its id was {was.topic_id} and is {self._source.topic_id})"
        elif position <= source.written:
            return
        elif was.topic_id and was == self._source:
            why = f"ends at offset {source.written}, though it is the same topic: it has lost its newest records"
            to = "to build the users again from those that it holds"
        else:
            why = f"ends at offset {source.written}, so it was recreated"
        changelog = f" and delete the topic {self.names.of(CHANGELOG)}" if self.settings.changelog else ""
        raise OwnershipError(
            f"{whose} has users up to offset {position} of {topic} partition {number}, but that topic {why}: "
            f"move {self.folder(number)} away{changelog} {to}"
        )

    def _partition(
        self,
        number: int,
        store: UserStore,
        sources: Mapping[TP, Bounds],
        committed: Mapping[TP, int],
        wrong_partition: KeyCheck,
    ) -> Partition:
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
        answered = committed.get(requests_tp, sources[requests_tp].begin)
        actions, requests = self._cursor_at(actions_tp, begin_at), self._cursor_at(requests_tp, answered)
        actions.committed, requests.committed = committed_actions, committed.get(requests_tp, 0)
        users = UserCache(store, self.settings.history_limit)
        pipeline = Pipeline(
            users,
            self._serving,
            log_served=self.settings.served_features,
            observe=self._watch_exploration,
            wrong_partition=wrong_partition,
        )
        partition = Partition(number, pipeline, self._outbox(number), actions, requests, self.settings.changelog)
        partition.outputs_committed_until = committed_actions
        partition.catch_up_until = source.end
        if begin_at < committed_actions:
            log.info(
                "partition %d: users as of %d, group at %d: reading on without sending outputs again",
                number,
                begin_at,
                committed_actions,
            )
        return partition

    def _cursor_at(self, tp: TP, offset: int) -> Cursor:
        """Return a cursor with what the last process had in hand: noted in the folder of the partition's users."""
        name, skipped = f"{tp.topic} {tp.partition}", self._skipped.get(tp, NOTHING)
        if offset < skipped.stop:
            log.warning("%s: offsets %d to %d are skipped, as told", name, max(offset, skipped.start), skipped.stop - 1)
        if offset in skipped:
            offset = skipped.stop
        in_hand = InHand(self.folder(tp.partition) / f"{tp.topic}.in-hand", name, offset)
        return Cursor(str(tp), offset, in_hand, skipped)

    def _check_of(self, number: int, partitions: int) -> KeyCheck:
        return PartitionCheck(number, partitions) if self.settings.partitioner == "murmur2" else anywhere

    def _outbox(self, number: int) -> Outbox:
        return Outbox(self._producer, self.names, number, self._limits, self._source)

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
        results = await asyncio.gather(*(one.checkpoint() for one in chosen), return_exceptions=True)
        await self.commit(commit, chosen)
        for result in results:
            if isinstance(result, BaseException):
                raise result

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
        gap, self._alive_at = monotonic() - self._alive_at, monotonic()
        if gap > self.settings.session_timeout_s:
            for partition in self.partitions.values():
                partition.failed = True
            raise OwnershipError(
                f"this process stood still for {gap:.0f} s, longer than its session of "
                f"{self.settings.session_timeout_s:g} s, so its partitions may belong to another worker: start it again"
            )

    async def check_source(self) -> None:
        """Note which topic the actions come from. Raises ``OwnershipError`` if it is no more that of what is open."""
        topic, now = self.names.of(ACTIONS), await source_of(self.settings, self.names.of(ACTIONS))
        if self.partitions and self._source.is_another(now):
            for partition in self.partitions.values():
                partition.failed = True
            raise OwnershipError(
                f"the topic {topic} was created anew while its records were applied (its id was "
                f"{self._source.topic_id} and is {now.topic_id}): start the worker again, and do what it says then"
            )
        if now is not UNKNOWN:
            self._source = now

    # --- revocation

    async def revoke(self, numbers: Collection[int], commit: Commit) -> None:
        """Cancel an opening under way; finish, checkpoint and close these partitions."""
        if self._opening is not None and not self._opening.done():
            self._opening.cancel()
            await asyncio.wait({self._opening})
        leaving = [self.partitions[number] for number in numbers if number in self.partitions]
        try:
            self.check_alive()
            await asyncio.gather(*(one.close(self.settings.session_timeout_s / 2) for one in leaving))
            await self.commit(commit, leaving)
        finally:
            for one in leaving:
                del self.partitions[one.number]
                one.release()


def is_behind(position: int | None, committed: int | None, source: Bounds, changelog: Bounds) -> bool:
    """Return whether to read the changelog: local users are behind the group, and reading the source would take longer.

    After a restart of the same worker they never are behind.
    """
    if not changelog.count:
        return False
    if position is None or (position < source.begin and position < (committed or 0)):
        return True
    return (committed or 0) - position > changelog.count


def _close_unused(opening: "asyncio.Future[RocksStore]") -> None:
    """Close a database that opened after the assignment was cancelled."""
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()
