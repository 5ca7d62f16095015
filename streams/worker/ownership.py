"""The partitions that this worker owns: opened after every rebalance, closed before the next one.

Partition ``p`` of user-actions, of ranking-requests and of the changelog belong together. The position in a store is
where reading of its actions resumes; the group's offset is up to where outputs were already acknowledged.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from time import monotonic

from aiokafka import AIOKafkaProducer
from aiokafka.errors import LeaderNotAvailableError
from faust.types import TP

from rankstream.events.action_event import NO_EPOCH
from rankstream.streams.clients.throttling import Throttling
from rankstream.streams.counters import Counters, total_of
from rankstream.streams.engine import PLAIN, Engine
from rankstream.streams.pipeline import Sample, ServingState
from rankstream.streams.settings import Settings
from rankstream.streams.topics import ACTIONS, REQUESTS, TopicNames
from rankstream.streams.tracing import NO_TRACES, Traces
from rankstream.streams.worker.changelog import RestoreJob
from rankstream.streams.worker.checkpoint import Cursor, Partition
from rankstream.streams.worker.chunks import Chunk, ReadingPlan
from rankstream.streams.worker.limits import Limits
from rankstream.streams.worker.load import Overload
from rankstream.streams.worker.opening import Opening, Parts
from rankstream.streams.worker.side_by_side import all_of, raise_first
from rankstream.streams.worker.topic_identity import OwnershipError, TopicIdentity
from rankstream.streams.worker.truncation import Cut, CutWatch, first_not_before
from rankstream.streams.worker.vocabulary_guard import KeptVocabulary

log = logging.getLogger(__name__)

CLOSE_S = 6.0  # for a last checkpoint
Commit = Callable[[Mapping[TP, int]], Awaitable[bool]]


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
        throttling: Throttling | None = None,
        vocabulary: KeptVocabulary | None = None,
    ) -> None:
        self.settings = settings
        self.names = TopicNames(settings.topic_prefix)
        self.partitions: dict[int, Partition] = {}
        self._plan = plan
        self.fencing = fencing  # whether the brokers refuse former owners
        self.abandoned = False  # write nothing any more
        self.left_unsaved = False  # the partitions that were left last had no last checkpoint
        self.left = Counters()  # of the partitions that were left: sums of what was counted never fall
        self._topics = TopicIdentity(settings)
        known = throttling or Throttling()
        vocabulary = vocabulary or KeptVocabulary(settings.state_dir / settings.app_id, lambda: serving.vocabulary)
        parts = Parts(serving, engine, sample, traces, overload or Overload(), limits, fencing, known, vocabulary)
        self._opener = Opening(settings, self._topics, producer, parts)
        self._cuts = CutWatch(settings)
        self._opening: asyncio.Task[None] | None = None
        self._leaving = asyncio.Lock()  # a rebalance and the end of the worker may come together
        self._alive_at = monotonic()

    def counters(self) -> Counters:
        """Return what was counted since the start, of the partitions that are open and of those that were left."""
        return total_of([self.left, *(one.pipeline.counters for one in list(self.partitions.values()))])

    @property
    def opening(self) -> Sequence[int]:
        """Return the partitions that are not open yet."""
        return self._opener.numbers

    @property
    def restoring(self) -> Sequence[RestoreJob]:
        """Return what is being restored."""
        return self._opener.restoring

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
        async with aclosing(self._opener.open(numbers, self.check_topics)) as opened:
            async for partition in opened:
                self._own(partition)
        self._share_memory()

    def _own(self, partition: Partition) -> None:
        """Take a partition into use. What was fetched of it before it was open is void, wherever that began."""
        self.partitions[partition.number] = partition
        for tp in self._topics.sources_of([partition.number]):
            self._plan.restart(tp, None)
            self._cuts.compared(tp, self._topics.leaders.get(tp, NO_EPOCH))

    def _share_memory(self) -> None:
        """Give each partition its part of the users that the worker keeps in memory."""
        for one in self.partitions.values():
            one.pipeline.users.max_cached = self.settings.cached_users // len(self.partitions)

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
        return self._topics.sources_of(self.partitions)

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
        """Look whether the topics are still those of what is open.

        Raises ``OwnershipError`` if one of them is not, and then writes nothing any more; ``ClientError`` where no
        broker tells.
        """
        with self._abandoning():
            await self._topics.look(in_use=bool(self.partitions))

    @contextmanager
    def _abandoning(self) -> Iterator[None]:
        """Write nothing any more where what is looked at is refused."""
        try:
            yield
        except OwnershipError:
            self.abandon()
            raise

    # --- records that topics have lost

    def is_in_doubt(self, chunk: Chunk) -> bool:
        """Return whether the topic may have lost what was processed before this chunk: look before it is processed."""
        partition = self.partitions.get(chunk.partition)
        cursor = None if partition is None else self._cursor(partition, chunk.tp)
        return cursor is not None and self._cuts.is_in_doubt(chunk, cursor)

    async def look_for_cuts(self, chunk: Chunk | None = None) -> dict[TP, int]:
        """Compare what was processed last with what the topics hold, of all partitions; return where to read again.

        ``chunk`` was in doubt. Partitions that nobody leads stay in doubt: the others don't wait for them. Raises
        ``OwnershipError`` where actions were lost that users' states have, and what ``check_topics`` raises;
        ``TimeoutError`` or ``KafkaError`` where brokers are away, or the chunk's partition has no leader.
        """
        await self.check_topics()
        leaderless = self._topics.leaderless
        if chunk is not None and chunk.tp in leaderless:
            raise LeaderNotAvailableError(f"{chunk.tp.topic} partition {chunk.partition} has no leader")
        if chunk is None:
            with self._abandoning():
                await self._topics.check_changelog_begins(self.partitions)
        open_ = list(self.partitions.values())
        cursors = {cursor.tp: (one, cursor) for one in open_ for cursor in one.cursors if cursor.tp not in leaderless}
        leaders, lost = dict(self._topics.leaders), 0
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
            offset = (await first_not_before(self.settings, {cursor.tp: last_ms}))[cursor.tp]
        at = min(cut.position, cut.end if offset is None else offset)
        await partition.answer_again(at)
        log.error("%s has lost requests that were answered (%s): reading on at offset %d", cursor.name, cut, at)
        return at

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
        async with self._leaving:
            await self._leave([self.partitions[number] for number in numbers if number in self.partitions], commit)

    async def _leave(self, leaving: Sequence[Partition], commit: Commit) -> None:
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
