"""What stands between Faust and the partitions of a worker: its producer, its checkpoints, its scoring, start and end.

::

    on_start    topics, rights, names of codes, engine, producer           before Faust joins the group
    rebalance   partitions are opened, or closed while the group waits
    chunks      actions are applied, requests answered in turn
    tasks       checkpoints; looks at stalls, topics, deployments, brokers; figures and overload told
    on_stop     after the partitions were closed

What a record does is decided in ``pipeline.py``, what is safe when in ``checkpoint.py``.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Iterable, Mapping
from contextlib import suppress
from time import monotonic
from typing import Any

import faust
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import IllegalStateError
from faust.exceptions import ConsumerNotStarted
from faust.types import TP
from mode import Service

from rankstream.streams.clients.broker_asker import BrokerAsker
from rankstream.streams.clients.connect import ClientError
from rankstream.streams.clients.rights import TRANSACTIONAL_ID_DENIED, denial_of
from rankstream.streams.clients.throttling import OF_THIS_PROCESS
from rankstream.streams.columns import AsColumns
from rankstream.streams.connection import handed_on, missing_codecs
from rankstream.streams.engine import PLAIN, open_engine
from rankstream.streams.framed.reader import open_reader
from rankstream.streams.pipeline import ServingState
from rankstream.streams.settings import AT_ONCE, TRANSACTIONAL, Settings
from rankstream.streams.topics import ACTIONS, REQUESTS, TopicNames, prepare_topics
from rankstream.streams.tracing import open_traces
from rankstream.streams.worker.admission import AWAY, Admission, Swaps
from rankstream.streams.worker.backpressure import Gate, Pressure
from rankstream.streams.worker.checkpoint import Partition, RewindError
from rankstream.streams.worker.chunks import Chunk, ReadingPlan, take_joined
from rankstream.streams.worker.fence import FencedError, FenceRefusedError, brokers_fence
from rankstream.streams.worker.following import keep_up
from rankstream.streams.worker.framed_chunks import FramedChunks
from rankstream.streams.worker.interpreter import settle
from rankstream.streams.worker.limits import Limits
from rankstream.streams.worker.load import Overload
from rankstream.streams.worker.observer import Observer
from rankstream.streams.worker.ownership import Ownership
from rankstream.streams.worker.policy_watch import PolicyWatch
from rankstream.streams.worker.producers import new_producer, stop_producer
from rankstream.streams.worker.rights import require_rights, without_transactions
from rankstream.streams.worker.scoring import Scoring
from rankstream.streams.worker.shadow import Shadows
from rankstream.streams.worker.spelling_watch import SpellingWatch
from rankstream.streams.worker.unpacking import bound_unpacking
from rankstream.streams.worker.vocabulary_guard import KeptVocabulary, check_vocabulary
from rankstream.streams.worker.watchdog import Watchdog

log = logging.getLogger(__name__)

CHUNKS_WAITING = 4  # of actions, in the agent's queue
ANSWERS_EVERY_S = 0.1  # the time between transactions of feeds
FRESHNESS_WAIT_S = 0.1  # the longest that requests wait for earlier actions to be applied
TELL_OF_OVERLOAD_S = 10.0
TELL_FIGURES_S = 60.0
FOLLOW_S = 1.0  # between two looks at what is deployed
LOOK_AGAIN_S = 30.0  # at the topics: how large a record they take, and whether they are still the same
LOOK_RETRY_S = 1.0


class WorkerRuntime(Service):
    """What stands between Faust and the partitions: producer, checkpoints, scoring threads, start and shutdown."""

    def __init__(self, app: faust.App, settings: Settings, serving: ServingState, plan: ReadingPlan) -> None:
        super().__init__()
        self.app = app
        self.settings = settings
        self.serving = serving
        self.plan = plan
        self.names = TopicNames(settings.topic_prefix)
        self.actions_gate = Gate(CHUNKS_WAITING)
        self.pressure = Pressure(settings.max_pending_requests, lambda: app.consumer, self._request_tps)
        self.overload = Overload(settings.answer_within_ms / 1000)
        self.limits = Limits(settings)
        self.policies = PolicyWatch(settings)
        self.watchdog = Watchdog(settings.session_timeout_s)
        self.shadows = Shadows(settings)
        self.throttling = OF_THIS_PROCESS
        self.observer = Observer(settings, serving, self.pressure, self._end_of, self.throttling)
        self._framed_actions = FramedChunks(open_reader(settings, ACTIONS))
        self._framed_requests = FramedChunks(open_reader(settings, REQUESTS))
        self.observer.registry_away = lambda: self._framed_actions.away or self._framed_requests.away
        self.vocabulary = KeptVocabulary(settings.state_dir / settings.app_id, lambda: serving.vocabulary)
        self.engine = PLAIN
        self.traces = open_traces(settings.traces, "rankstream-worker", settings.app_id)
        self.ownership: Ownership | None = None
        self._producer: AIOKafkaProducer | None = None
        self._asker: BrokerAsker | None = None
        self._scoring = Scoring(settings.scoring_threads, lambda: self.pressure.waiting)
        self._looking = asyncio.Lock()  # at what the topics hold
        self.has_told_why = False  # it ends
        self._told: set[str] = set()  # each reason once: several partitions may meet the same one at the same moment
        self._spelling_of_actions, self._spelling_of_requests = SpellingWatch(ACTIONS), SpellingWatch(REQUESTS)
        self._queues: dict[int, deque[Chunk]] = {}  # of requests, by partition
        self._busy: dict[int, asyncio.Task[None]] = {}

    # --- start and stop

    async def on_start(self) -> None:
        """Make sure of the topics and start the producer, before Faust joins the group."""
        self.watchdog.start()
        bound_unpacking()
        check_vocabulary(self.settings.state_dir / self.settings.app_id, self.serving.vocabulary)
        logging.getLogger("kafka").setLevel(logging.CRITICAL)  # what kafka-python is asked for is raised where it fails
        await asyncio.to_thread(require_rights, self.settings)
        created = await prepare_topics(self.settings)
        if created:
            log.info("created the topics %s", ", ".join(created))
        missing = missing_codecs()
        if missing:
            log.warning(
                "records that their producer compressed with %s can't be read and would end the worker: "
                "pip install cramjam",
                ", ".join(missing),
            )
        await self._open_engine()
        await self.limits.read()
        self.limits.report()
        await self.policies.look()
        fencing = await brokers_fence(self.settings)
        if not fencing and self.settings.feed_delivery == TRANSACTIONAL:
            raise FenceRefusedError(
                f"feed_delivery is {TRANSACTIONAL}, but the brokers at {self.settings.bootstrap_servers} know no "
                f"transactions: use others, or feed_delivery = {AT_ONCE}"
            )
        if not fencing:
            log.warning(
                "the brokers at %s know no transactions, so they do not refuse a worker that wakes after others took "
                "its partitions: what it still had to write may stand behind theirs",
                self.settings.bootstrap_servers,
            )
        await self._admit_bundles(fencing)
        self._producer = new_producer(self.settings, self.limits, enable_idempotence=fencing)
        self.throttling.watch(self._producer.client)
        await self._producer.start()
        self.ownership = Ownership(
            self.settings,
            self.serving,
            self._producer,
            self.plan,
            self.limits,
            fencing,
            self.shadows.sample,
            self.engine,
            self.overload,
            self.traces,
            self.throttling,
            self.vocabulary,
        )
        self.observer.asker, self.observer.ownership = await self._started_asker(), self.ownership
        served = ", ".join(f"{kind} {one.version}" for kind, one in self.observer.versions().items())
        log.info("joining the group %s, to serve %s", self.settings.app_id, served or "no model")
        settle()

    async def _started_asker(self) -> BrokerAsker:
        self._asker = BrokerAsker(self.settings, self.names.of(ACTIONS))
        self.throttling.watch(self._asker.client)
        await self._asker.start()
        return self._asker

    async def _admit_bundles(self, fencing: bool) -> None:
        """Compare the bundle with all states that there are, and so each that is swapped in from now on."""
        admission = Admission(self.settings, self.vocabulary, fencing)
        await admission.at_start(self.serving.vocabulary)
        if isinstance(self.serving, Swaps):
            self.serving.admit_by(admission.admit)

    async def _open_engine(self) -> None:
        """Compile, or load what was compiled, before Faust joins the group: later it might outlast a session."""
        self.engine = await asyncio.to_thread(open_engine, self.settings.engine)
        log.info("actions are applied by the %s engine", self.engine.name)
        if self.engine.reads_columns and "max_poll_records" not in handed_on(self.settings, ("max_poll_records",)):
            from rankstream.streams.worker.unpacked_columns import hand_on_columns

            hand_on_columns()
            self.app.transport.as_columns = AsColumns(self.names.of(ACTIONS))

    async def on_stop(self) -> None:
        """Stop the producer; partitions were closed before (``revoke_all``)."""
        await self._tell_of_crash()
        self._scoring.close()
        await asyncio.to_thread(self.shadows.stop)
        if self._producer is not None:
            await stop_producer(self._producer, flush=self.ownership is not None and not self.ownership.abandoned)
        if self._asker is not None:
            await self._asker.close()
        await asyncio.to_thread(self.traces.close)
        if self.ownership is not None and self.ownership.left_unsaved and not self.crashed:
            self.watchdog.end_now("the brokers did not acknowledge its last checkpoint")

    @Service.task
    async def _checkpoint_at_intervals(self) -> None:
        while not self.should_stop:
            await self.sleep(self.settings.commit_interval_s)
            if not self.should_stop and not self.app.rebalancing:
                await self._or_crash(self._owned.checkpoint(self.app.consumer._commit))

    @Service.task
    async def _commit_answers_at_intervals(self) -> None:
        while self.settings.feed_delivery == TRANSACTIONAL and not self.should_stop:
            await self.sleep(ANSWERS_EVERY_S)
            if not self.should_stop and not self.app.rebalancing:
                await self._or_crash(self._owned.commit_answers())

    @Service.task
    async def _watch_for_stalls(self) -> None:
        while not self.should_stop:
            await self.sleep(min(1.0, self.settings.session_timeout_s / 4))
            await self._or_crash(self._check_alive())

    async def _check_alive(self) -> None:
        if self.watchdog.stood_still_s:
            self._owned.refuse_after(self.watchdog.stood_still_s)
        self._owned.check_alive()

    @Service.task
    async def _look_at_topics_again(self) -> None:
        while not self.should_stop:
            await self.sleep(LOOK_AGAIN_S)
            if not self.should_stop:
                await self.limits.read()
                await self.policies.look()
                await self._or_crash(self._check_topics())

    @Service.task
    async def _follow_deployments(self) -> None:
        while not self.should_stop:
            await asyncio.to_thread(self.shadows.follow)
            await self.sleep(FOLLOW_S)

    @Service.task
    async def _keep_up(self) -> None:
        await keep_up(self.serving)

    @Service.task
    async def _beat(self) -> None:
        await self.observer.heartbeat.keep_beating()

    @Service.task
    async def _watch_broker(self) -> None:
        await self.observer.watch_broker()

    @Service.task
    async def _tell_figures(self) -> None:
        while not self.should_stop:
            await self.sleep(TELL_FIGURES_S)
            if not self.should_stop:
                told, figures = self.observer.figures_line()
                log.info("%s", told, extra={"figures": figures})

    @Service.task
    async def _tell_of_overload(self) -> None:
        before = (0, 0)
        while not self.should_stop:
            await self.sleep(TELL_OF_OVERLOAD_S)
            counted = self._owned.counters()
            now = (counted.shed, counted.requests)
            shed, requests = now[0] - before[0], now[1] - before[1]
            before = now
            if shed > 0:
                log.warning(
                    "overload: %d of %d requests in %.0f s were answered by popularity, as they could not be ranked "
                    "within answer_within_ms = %d: start more workers, or give this one more scoring_threads",
                    shed,
                    requests,
                    TELL_OF_OVERLOAD_S,
                    self.settings.answer_within_ms,
                )

    async def _check_topics(self) -> None:
        async with self._looking:
            with suppress(*AWAY):  # which is no reason to end
                await self._look_for_cuts(None)

    async def _look_for_cuts(self, chunk: Chunk | None) -> None:
        moves = await self._owned.look_for_cuts(chunk)
        if moves:
            await self.app.consumer.seek_wait(moves)

    async def _make_sure_of(self, chunk: Chunk) -> None:
        """Wait until it is known that the topic still holds what was processed before this chunk."""
        while self._owned.is_in_doubt(chunk) and self.plan.is_current(chunk) and not self.should_stop:
            async with self._looking:  # all partitions are looked at together
                if self._owned.is_in_doubt(chunk) and self.plan.is_current(chunk):
                    with suppress(*AWAY):
                        await self._look_for_cuts(chunk)
                        continue
            await self.sleep(LOOK_RETRY_S)

    # --- partitions

    @property
    def _owned(self) -> Ownership:
        if self.ownership is None:
            raise RuntimeError("the worker has not been started")
        return self.ownership

    async def on_rebalanced(self, *args: Any, **options: Any) -> None:
        """Open assigned partitions: after every rebalance, before the flow resumes."""
        assignment = self.app.consumer.assignment()
        log.info("assigned %s", listed(assignment))
        await self._or_crash(self._owned.assign(assignment))
        self.observer.has_joined = True

    async def on_revoked(self, app: faust.App, revoked: Iterable[TP], **options: Any) -> None:
        """Close revoked partitions, while the group still waits for us."""
        self.observer.has_joined = False
        await self._revoke({tp.partition for tp in revoked})

    async def revoke_all(self, *args: Any, **options: Any) -> None:
        """Close everything; Faust is about to stop."""
        self.observer.is_leaving = True
        self.watchdog.leaving("it was asked to end")
        await self._tell_of_crash()
        if self.ownership is not None:
            await self._revoke(set(self.ownership.partitions))

    async def _revoke(self, numbers: set[int]) -> None:
        try:
            await self._or_crash(self._owned.revoke(numbers, self.app.consumer._commit))
        finally:
            self.pressure.reset()
            self.actions_gate.reset()

    def positions(self, committed: Mapping[TP, int | None]) -> dict[TP, int]:
        """Return where to read on."""
        return self._owned.positions(committed)

    def fetch_pace_s(self) -> float:
        """Return the least time from one fetch to the next, now."""
        return self.overload.fetch_pace_s(self.settings.fetch_pace_ms / 1000)

    def _end_of(self, tp: TP) -> int | None:
        """Return where a topic's partition ended when the consumer last fetched; None before, or where it moved."""
        # the last two: the consumer's own thread has taken the partition away, or does so at this moment
        with suppress(ConsumerNotStarted, IllegalStateError, AssertionError, AttributeError):
            end: int | None = self.app.consumer.highwater(TopicPartition(*tp))
            return end
        return None

    def _request_tps(self) -> list[TP]:
        return [tp for tp in self._owned.owned_tps() if tp.topic == self.names.of(REQUESTS)]

    async def _or_crash(self, work: Awaitable[None]) -> None:
        """End the worker for any failure: it is started again, and nothing is lost."""
        try:
            await work
        except Exception as exc:
            self.watchdog.leaving("it met an error")  # first: what lacks is asked of brokers
            await self._tell_why(exc)
            if isinstance(exc, FencedError) and self.ownership is not None:
                self.ownership.abandon()
            await self.app.crash(exc)

    async def _tell_of_crash(self) -> None:
        """Say what Faust's own services met, its consumer above all."""
        if self.crash_reason is not None and not self.has_told_why:
            await self._tell_why(self.crash_reason)

    async def _tell_why(self, exc: BaseException) -> None:
        """Say in the log what the worker ends of, once."""
        self.has_told_why = True
        why = f"{type(exc).__name__}: {await self._why(exc)}"
        if why not in self._told:
            self._told.add(why)
            log.critical("the worker ends: %s", why)

    async def _why(self, exc: BaseException) -> str:
        """Return what an error says, or which right is lacking where it is that: it was taken away meanwhile."""
        denial = denial_of(exc)
        if denial is not None:
            try:
                await asyncio.to_thread(require_rights, self.settings)
            except ClientError as lacking:
                return str(lacking)
        return without_transactions(self.settings) if denial == TRANSACTIONAL_ID_DENIED else str(exc)

    # --- records

    async def apply_actions(self, chunk: Chunk) -> None:
        """Apply a chunk of actions."""
        partition = self._owned.partitions.get(chunk.partition)
        if partition is not None:
            await self._or_crash(self._apply_actions(partition, chunk))

    async def _apply_actions(self, partition: Partition, chunk: Chunk) -> None:
        await self._make_sure_of(chunk)
        await self._framed_actions.prepare(chunk, lambda: self._is_wanted(partition, chunk), partition.actions.skipped)
        self._spelling_of_actions.look(chunk.records)
        await self._or_rewind(chunk, partition.apply_actions(chunk, self.plan.is_current))
        if partition.is_full:
            await partition.checkpoint()

    def answer(self, chunk: Chunk) -> None:
        """Put a chunk of requests behind those of its partition, which are answered in turn."""
        chunk.taken_at_s = monotonic()
        queue = self._queues.setdefault(chunk.partition, deque())
        queue.append(chunk)
        busy = self._busy.get(chunk.partition)
        if busy is None or busy.done():
            self._busy[chunk.partition] = asyncio.create_task(self._or_crash(self._answer_all(queue)))

    async def _answer_all(self, queue: deque[Chunk]) -> None:
        while queue:
            chunk = take_joined(queue)
            try:
                await self.actions_gate.caught_up(FRESHNESS_WAIT_S)  # the actions that came before it or with it
                await self._answer(chunk, queue)
            finally:
                self.pressure.answered(chunk)

    async def _answer(self, chunk: Chunk, queue: deque[Chunk]) -> None:
        def behind() -> int:
            return sum(len(later.records) for later in queue if self.plan.is_current(later))

        await self._make_sure_of(chunk)
        partition = self._owned.partitions.get(chunk.partition)
        if partition is not None:
            await self._framed_requests.prepare(
                chunk, lambda: self._is_wanted(partition, chunk), partition.requests.skipped
            )
            self._spelling_of_requests.look(chunk.records)
            await self._or_rewind(chunk, partition.answer(chunk, self.plan.is_current, self._scoring.run, behind))

    def _is_wanted(self, partition: Partition, chunk: Chunk) -> bool:
        """Return whether a chunk would still be processed."""
        return self.plan.is_current(chunk) and not (partition.closing or partition.failed)

    async def _or_rewind(self, chunk: Chunk, work: Awaitable[None]) -> None:
        try:
            await work
        except RewindError as again:
            self.plan.restart(chunk.tp, again.offset)
            await self.app.consumer.seek_wait({chunk.tp: again.offset})


def listed(assignment: Iterable[TP]) -> str:
    """Return partitions for people: ``user-actions 0, 3; ranking-requests 0, 3``."""
    numbers: dict[str, list[int]] = {}
    for tp in sorted(assignment):
        numbers.setdefault(tp.topic, []).append(tp.partition)
    return "; ".join(f"{topic} {', '.join(map(str, each))}" for topic, each in numbers.items()) or "no partition"
