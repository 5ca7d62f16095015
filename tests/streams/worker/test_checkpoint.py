import asyncio
import json
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Any

import pytest
from faust.types import TP

from rankstream.events.action_event import Record, unread
from rankstream.features.actions import VocabularyRefusedError
from rankstream.features.stores.cache import UserCache
from rankstream.features.stores.memory import MemoryStore
from rankstream.features.user_state import unpack_state
from rankstream.streams.pipeline import PendingRequests, Pipeline
from rankstream.streams.records import Channel, Outgoing
from rankstream.streams.settings import Settings
from rankstream.streams.topics import TopicNames
from rankstream.streams.worker.checkpoint import Cursor, OffsetGapError, Partition, RewindError
from rankstream.streams.worker.chunks import Chunk, Fetched, ReadingPlan
from rankstream.streams.worker.fence import FencedError
from rankstream.streams.worker.in_hand import RANGE, InHand
from rankstream.streams.worker.limits import Limits
from rankstream.streams.worker.load import Load
from rankstream.streams.worker.outbox import Outbox
from rankstream.streams.worker.source import Source, unpacked
from tests.builders.actions import MORNING_MS, ARecord, SomeLiveRanker, a_request, an_event
from tests.builders.broker import FullBatches
from tests.builders.patience import PATIENCE_S


class Refused(Exception):
    """The broker did not take a record."""


@dataclass
class ABatch:
    records: list[tuple[bytes, bytes]] = field(default_factory=list)

    def append(self, *, key: bytes, value: bytes, timestamp: int | None, headers: Sequence[Any] = ()) -> object:
        self.records.append((key, value))
        return self

    def close(self) -> None:
        pass


@dataclass
class ABroker:
    """A producer's other end: keeps what is sent and acknowledges on request."""

    sent: list[tuple[str, bytes, bytes]] = field(default_factory=list)
    acks: list[asyncio.Future[None]] = field(default_factory=list)
    at_once: bool = True
    _message_accumulator: FullBatches = field(default_factory=FullBatches)

    async def partitions_for(self, topic: str) -> set[int]:
        return {0, 1}

    def create_batch(self) -> ABatch:
        return ABatch()

    async def send(self, topic: str, value: bytes, key: bytes, partition: int, headers: Any) -> asyncio.Future[None]:
        self.sent.append((topic, key, value))
        return self._ack()

    async def send_batch(self, batch: ABatch, topic: str, partition: int) -> asyncio.Future[None]:
        self.sent += [(topic, key, value) for key, value in batch.records]
        return self._ack()

    def _ack(self) -> asyncio.Future[None]:
        ack: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.at_once:
            ack.set_result(None)
        self.acks.append(ack)
        return ack

    def sent_to(self, topic: str) -> list[bytes]:
        return [key for name, key, _ in self.sent if name == topic]


@dataclass
class AFence:
    """Transactions at a broker: what is inside of those that were committed, and the group's offsets."""

    broker: ABroker
    committed: list[tuple[list[str], dict[TP, int]]] = field(default_factory=list)
    refuses: bool = False

    @asynccontextmanager
    async def transaction(self, offsets: Mapping[TP, int]) -> AsyncIterator[ABroker]:
        before = len(self.broker.sent)
        yield self.broker
        if self.refuses:
            raise FencedError("partition 0 belongs to another worker now")
        self.committed.append(([topic for topic, _, _ in self.broker.sent[before:]], dict(offsets)))

    async def close(self, flush: bool) -> None:
        self.broker.sent.append(("closed", b"", b"with a flush" if flush else b"at once"))


@dataclass
class Scene:
    """A partition with a store in memory and a broker that obeys."""

    next_action: int | None = 0
    changelog: bool = True
    broker: ABroker = field(default_factory=ABroker)
    plan: ReadingPlan = field(default_factory=ReadingPlan)
    store: MemoryStore = field(default_factory=MemoryStore)
    fence: AFence | None = None
    holds_feeds: bool = False
    load: Load | None = None

    def __post_init__(self) -> None:
        pipeline = Pipeline(UserCache(self.store), SomeLiveRanker())
        outbox = Outbox(
            self.broker, TopicNames(), 0, Limits(Settings()), fence=self.fence, holds_feeds=self.holds_feeds
        )
        actions, requests = Cursor(TP("user-actions", 0), self.next_action), Cursor(TP("ranking-requests", 0), 0)
        self.partition = Partition(0, pipeline, outbox, actions, requests, self.changelog, self.load)

    def chunk(self, *records: ARecord) -> Chunk:
        return self.plan.cut(TP(records[0].topic, 0), fetched(*records), 1000)[0]

    async def apply_actions(self, *records: ARecord) -> None:
        await self.partition.apply_actions(self.chunk(*records), self.plan.is_current)

    async def answer(self, *records: ARecord, run: Any = None, behind: int = 0) -> None:
        await self.partition.answer(self.chunk(*records), self.plan.is_current, run or here, lambda: behind)


def a_fenced_scene(refuses: bool = False, holds_feeds: bool = False) -> Scene:
    broker = ABroker()
    return Scene(broker=broker, fence=AFence(broker, refuses=refuses), holds_feeds=holds_feeds)


def fetched(*records: ARecord, begin: int | None = None, end: int | None = None) -> Fetched:
    """What a fetch brought: these records, and perhaps offsets that have none."""
    first = records[0].offset if begin is None else begin
    return Fetched(first, records, records[-1].offset + 1 if end is None else end)


def bad(offset: int) -> ARecord:
    return ARecord(b"not JSON", b"u1", offset)


async def here(pending: PendingRequests) -> list[Outgoing]:
    """Scoring in the loop's own thread."""
    return pending.answer()


def blocked_until(event: threading.Event) -> Any:
    """Scoring that waits in another thread, as slow scoring would."""

    async def run(pending: PendingRequests) -> list[Outgoing]:
        await asyncio.get_running_loop().run_in_executor(None, event.wait, 5)
        return pending.answer()

    return run


def test_a_checkpoint_writes_states_and_position_together():
    async def story():
        scene = Scene()
        await scene.apply_actions(an_event("u1", offset=0), an_event("u2", offset=1))
        assert scene.store.next_offset is None
        await scene.partition.checkpoint()
        assert [key for key, _ in scene.store.items()] == [b"u1", b"u2"]
        assert (scene.store.next_offset, scene.partition.actions.checkpointed) == (2, 2)

    asyncio.run(story())


@pytest.mark.parametrize(("clock_s", "is_forgotten"), [(10 * 86_400, True), (60, False)], ids=["in time", "ahead"])
def test_a_checkpoint_has_users_forgotten_by_the_times_of_the_log_which_no_record_ahead_of_the_clock_moves(
    clock_s: int, is_forgotten: bool
):
    async def story():
        scene = Scene()
        pipeline = scene.partition.pipeline
        pipeline.users.forget_after_ms, pipeline.clock = 5 * 86_400_000, lambda: MORNING_MS + 1000 * clock_s
        await scene.apply_actions(an_event("u1", offset=0))
        await scene.partition.checkpoint()
        await scene.apply_actions(an_event("u2", offset=1, at=9 * 86_400))
        await scene.partition.checkpoint()
        (record,) = scene.store.get_many([b"u1"])
        assert (len(unpack_state(record).history) == 0) == is_forgotten
        assert scene.broker.sent_to("user-state-changelog").count(b"u1") == 1 + is_forgotten
        assert pipeline.counters.expired == is_forgotten

    asyncio.run(story())


def kept(scene: Scene) -> Source:
    """Return what the store keeps of the last record."""
    return unpacked(scene.store.source).without_times()


def test_a_checkpoint_keeps_the_latest_time_of_all_records_and_from_where_on_they_were_read():
    async def story():
        scene = Scene()
        late = replace(an_event("u1", offset=1), timestamp=9_000)
        for read in (fetched(late, begin=0), fetched(replace(an_event("u2", offset=2), timestamp=8_000))):
            (chunk,) = scene.plan.cut(TP("user-actions", 0), read, 10)
            await scene.partition.apply_actions(chunk, scene.plan.is_current)
        await scene.partition.checkpoint()
        assert unpacked(scene.store.source) == Source(newest_ms=9_000, newest_from=0).after(chunk.records[-1])

    asyncio.run(story())


def test_a_checkpoint_keeps_which_record_was_applied_last_if_it_was_read_whole():
    async def story():
        scene = Scene()
        last = an_event("u2", offset=1)
        await scene.apply_actions(an_event("u1", offset=0), last)
        await scene.partition.checkpoint()
        assert kept(scene) == Source().after(last)
        await scene.apply_actions(ARecord(unread("too large"), None, offset=2))
        await scene.partition.checkpoint()
        assert (scene.store.next_offset, kept(scene)) == (3, Source().after(last))

    asyncio.run(story())


def test_the_last_record_of_a_chunk_that_could_be_read_is_kept_where_one_behind_it_could_not():
    """Else what was applied before it would be taken for records that came in its place."""

    async def story():
        scene = Scene()
        await scene.apply_actions(an_event("u1", offset=0))
        last = an_event("u2", offset=2)
        await scene.apply_actions(an_event("u1", offset=1), last, ARecord(unread("too large"), None, offset=3))
        assert scene.partition.actions.last_known.without_times() == Source().after(last)
        assert scene.partition.actions.processed == 4

    asyncio.run(story())


def test_a_checkpoint_keeps_that_behind_the_last_action_there_were_only_markers_of_transactions():
    async def story():
        scene, tp = Scene(), TP("user-actions", 0)
        last = an_event("u1", offset=0)
        reads = (
            fetched(last, end=2),
            fetched(begin=2, end=4),
            fetched(ARecord(unread("-"), offset=4)),
            fetched(begin=5, end=6),
        )
        for read in reads:
            (chunk,) = scene.plan.cut(tp, replace(read, newest_epoch=7), 10)
            await scene.partition.apply_actions(chunk, scene.plan.is_current)
        await scene.partition.checkpoint()
        assert kept(scene) == Source().after(last, leader_epoch=7).with_nothing_before(4)
        assert scene.store.next_offset == 6

    asyncio.run(story())


def test_nothing_is_written_where_the_names_of_codes_cannot_be_kept_before():
    """A bundle that was swapped in gives a code in these states another name."""

    def refuse() -> None:
        raise VocabularyRefusedError

    async def story():
        scene = Scene()
        await scene.apply_actions(an_event("u1", offset=0))
        scene.partition._keep_names = refuse
        with pytest.raises(VocabularyRefusedError):
            await scene.partition.checkpoint()
        assert (scene.broker.sent, scene.store.next_offset) == ([], None)

    asyncio.run(story())


def test_the_changelog_gets_each_changed_user_once_and_then_the_position():
    async def story():
        scene = Scene()
        await scene.apply_actions(
            *(an_event("u1", item=n, at=n, offset=n) for n in range(50)), an_event("u2", offset=50)
        )
        await scene.partition.checkpoint()
        assert scene.broker.sent_to("user-state-changelog") == [b"u1", b"u2", b"\xffnext"]

    asyncio.run(story())


def test_nothing_is_written_before_the_outputs_are_acknowledged():
    async def story():
        scene = Scene(broker=ABroker(at_once=False))
        await scene.apply_actions(an_event("u1", offset=0), bad(1))
        checkpoint = asyncio.create_task(scene.partition.checkpoint())
        await asyncio.sleep(0.01)
        assert scene.broker.sent_to("user-state-changelog") == []
        assert scene.store.next_offset is None
        scene.broker.acks[0].set_result(None)
        await asyncio.sleep(0.01)
        assert scene.broker.sent_to("user-state-changelog")
        assert scene.store.next_offset is None
        scene.broker.acks[1].set_result(None)
        await checkpoint
        assert scene.store.next_offset == 2

    asyncio.run(story())


def test_a_refused_acknowledgement_poisons_the_partition():
    async def story():
        scene = Scene(broker=ABroker(at_once=False))
        await scene.apply_actions(bad(0), an_event("u1", offset=1))
        scene.broker.acks[0].set_exception(Refused())
        with pytest.raises(Refused):
            await scene.partition.checkpoint()
        scene.broker.at_once = True
        await scene.apply_actions(an_event("u1", at=9, offset=2))
        await scene.partition.checkpoint()
        assert scene.store.next_offset is None
        assert scene.partition.actions.checkpointed == 0
        assert scene.partition.actions.processed == 2, "a poisoned partition applied more"

    asyncio.run(story())


def test_a_bug_poisons_the_partition():
    async def story():
        scene = Scene()
        scene.store.get_many = None  # type: ignore[assignment, method-assign]
        with pytest.raises(TypeError):
            await scene.apply_actions(an_event("u1", offset=0))
        await scene.partition.checkpoint()
        assert scene.store.next_offset is None

    asyncio.run(story())


def test_what_is_applied_during_a_checkpoint_waits_for_the_next():
    async def story():
        scene = Scene(broker=ABroker(at_once=False))
        await scene.apply_actions(an_event("u1", offset=0))
        checkpoint = asyncio.create_task(scene.partition.checkpoint())
        await asyncio.sleep(0.01)
        await scene.apply_actions(an_event("u2", offset=1))
        scene.broker.acks[0].set_result(None)
        await checkpoint
        assert [key for key, _ in scene.store.items()] == [b"u1"]
        assert scene.store.next_offset == 1
        scene.broker.at_once = True
        await scene.partition.checkpoint()
        assert [key for key, _ in scene.store.items()] == [b"u1", b"u2"]
        assert scene.store.next_offset == 2

    asyncio.run(story())


def test_outputs_that_were_acknowledged_are_not_repeated():
    async def story():
        scene = Scene()
        scene.partition.outputs_committed_until = 2
        await scene.apply_actions(bad(0), an_event("u1", offset=1), bad(2))
        assert [topic for topic, _, _ in scene.broker.sent] == ["dead-letters"]
        assert scene.partition.pipeline.users.get(b"u1").total == 1

    asyncio.run(story())


def test_a_replay_of_what_is_logged_does_not_set_the_changelog_back():
    async def story():
        scene = Scene()
        scene.partition.outputs_committed_until = scene.partition.logged_until = 10
        await scene.apply_actions(an_event("u1", offset=0))
        await scene.partition.checkpoint()
        assert scene.store.next_offset == 1
        assert scene.broker.sent == []

    asyncio.run(story())


def test_outputs_that_are_out_say_nothing_of_the_changelog():
    """It was switched on together with a new folder: what it never logged is logged as it is read again."""

    async def story():
        scene = Scene()
        scene.partition.outputs_committed_until = 10
        await scene.apply_actions(an_event("u1", offset=0))
        await scene.partition.checkpoint()
        assert scene.broker.sent_to("user-state-changelog") == [b"u1", b"\xffnext"]

    asyncio.run(story())


def test_without_changelog_only_the_store_is_written():
    async def story():
        scene = Scene(changelog=False)
        await scene.apply_actions(an_event("u1", offset=0))
        await scene.partition.checkpoint()
        assert scene.store.next_offset == 1
        assert scene.broker.sent == []

    asyncio.run(story())


def test_behind_a_fence_a_checkpoint_is_one_transaction_with_the_groups_offsets():
    async def story():
        scene = a_fenced_scene()
        await scene.answer(a_request("u1", offset=0))
        await scene.apply_actions(an_event("u1", offset=0), bad(1))
        assert [topic for topic, _, _ in scene.broker.sent] == ["ranked-feeds"], "feeds leave at once"
        await scene.partition.checkpoint()
        states = ["user-state-changelog"] * 2
        offsets = {TP("user-actions", 0): 2, TP("ranking-requests", 0): 1}
        assert scene.fence.committed == [(["dead-letters", *states], offsets)]
        assert {cursor.tp: cursor.committed for cursor in scene.partition.cursors} == offsets

    asyncio.run(story())


def test_behind_a_fence_nothing_new_is_no_transaction():
    async def story():
        scene = a_fenced_scene()
        await scene.partition.checkpoint()
        await scene.apply_actions(an_event("u1", offset=0))
        for _ in range(3):
            await scene.partition.checkpoint()
        assert len(scene.fence.committed) == 1

    asyncio.run(story())


def test_a_group_that_lags_is_told_though_nothing_is_new():
    async def story():
        broker = ABroker()
        scene = Scene(next_action=50, broker=broker, fence=AFence(broker))
        await scene.partition.checkpoint()
        assert scene.fence.committed == [([], {TP("user-actions", 0): 50})]

    asyncio.run(story())


def test_what_the_group_has_already_is_not_set_back():
    async def story():
        scene = a_fenced_scene()
        scene.partition.actions.committed = scene.partition.outputs_committed_until = 10
        await scene.apply_actions(an_event("u1", offset=0))
        await scene.partition.checkpoint()
        assert scene.fence.committed == [(["user-state-changelog"] * 2, {})]
        assert scene.partition.actions.committed == 10

    asyncio.run(story())


def test_one_that_is_fenced_writes_nothing_to_its_store_and_leaves_at_once():
    async def story():
        scene = a_fenced_scene(refuses=True)
        await scene.apply_actions(an_event("u1", offset=0))
        with pytest.raises(FencedError):
            await scene.partition.checkpoint()
        assert (scene.store.next_offset, scene.partition.failed) == (None, True)
        await scene.partition.release()
        assert scene.broker.sent[-1] == ("closed", b"", b"at once")

    asyncio.run(story())


def test_feeds_that_are_held_count_with_the_offset_of_their_requests():
    async def story():
        scene = a_fenced_scene(holds_feeds=True)
        await scene.apply_actions(bad(0))
        await scene.answer(a_request("u1", offset=0), a_request("u1", offset=1))
        assert scene.broker.sent == []
        await scene.partition.commit_answers()
        await scene.partition.commit_answers()
        assert scene.fence.committed == [(["ranked-feeds"] * 2, {TP("ranking-requests", 0): 2})]
        await scene.partition.checkpoint()
        assert scene.fence.committed[1:] == [(["dead-letters", "user-state-changelog"], {TP("user-actions", 0): 1})]

    asyncio.run(story())


def test_a_checkpoint_takes_the_feeds_that_are_held_too():
    async def story():
        scene = a_fenced_scene(holds_feeds=True)
        await scene.answer(a_request("u1", offset=0))
        await scene.partition.checkpoint()
        assert scene.fence.committed == [(["ranked-feeds"], {TP("ranking-requests", 0): 1})]

    asyncio.run(story())


def test_many_dead_letters_ask_for_an_early_checkpoint(monkeypatch):
    async def story():
        scene = a_fenced_scene()
        monkeypatch.setattr("rankstream.streams.worker.checkpoint.HELD_BYTES", 1_000)
        await scene.apply_actions(bad(0))
        assert not scene.partition.is_full
        await scene.apply_actions(*(bad(offset) for offset in range(1, 20)))
        assert scene.partition.is_full
        await scene.partition.checkpoint()
        assert not scene.partition.is_full

    asyncio.run(story())


def test_requests_are_checkpointed_only_once_their_feeds_are_acknowledged():
    async def story():
        scene = Scene(broker=ABroker(at_once=False))
        await scene.answer(*(a_request(request_id=f"r{n}", offset=n) for n in range(20)))
        checkpoint = asyncio.create_task(scene.partition.checkpoint())
        await asyncio.sleep(0.01)
        assert scene.partition.requests.checkpointed == 0
        for ack in scene.broker.acks:
            ack.set_result(None)
        await checkpoint
        assert scene.partition.requests.checkpointed == 20

    asyncio.run(story())


def test_what_a_request_waits_for_is_timed_stage_by_stage():
    async def story():
        scene = Scene(broker=ABroker(at_once=False))
        request = a_request("u1")
        scene.partition.pipeline.clock = lambda: request.timestamp + 3_000
        chunk = scene.chunk(request)
        chunk.taken_at_s = monotonic() - 1.0
        chunk.read_at_s = chunk.taken_at_s - 0.5
        await scene.partition.answer(chunk, scene.plan.is_current, here)
        await asyncio.sleep(0.01)
        scene.broker.acks[0].set_result(None)
        await asyncio.sleep(0)
        return scene.partition.pipeline.counters.way_s

    way_s = asyncio.run(story())
    assert {stage: one.count for stage, one in way_s.items()} == dict.fromkeys(
        ("fetch", "hand_over", "turn", "send"), 1
    )
    assert way_s["fetch"].sum == pytest.approx(1.5, abs=0.2)  # of the 3 s that it is old
    assert way_s["hand_over"].sum == pytest.approx(0.5)
    assert way_s["turn"].sum == pytest.approx(1.0, abs=0.2)
    assert 0.01 <= way_s["send"].sum < 0.2


def test_a_request_sees_actions_that_no_checkpoint_has_written():
    async def story():
        scene = Scene()
        await scene.apply_actions(an_event("u1", offset=0))
        await scene.answer(a_request("u1"))
        ((_, state, _),) = scene.partition.pipeline.serving.current.requests
        assert len(state.history) == 1
        assert scene.store.next_offset is None

    asyncio.run(story())


def test_requests_wait_for_the_actions_that_were_there_when_the_partition_was_opened():
    """After a kill actions are read again: no request may see its user older than another one has before the kill."""

    async def story():
        scene = Scene()
        scene.partition.catch_up_until = 2
        asking = asyncio.create_task(scene.answer(a_request("u1")))
        await asyncio.sleep(0.02)
        assert scene.broker.sent == []
        await scene.apply_actions(an_event("u1", "a", offset=0), an_event("u1", "b", offset=1))
        await asyncio.wait_for(asking, PATIENCE_S)
        (_, _, feed) = scene.broker.sent[0]
        assert b'"actions_used":2' in feed

    asyncio.run(story())


def test_requests_do_not_wait_for_ever_for_actions(monkeypatch):
    async def story():
        scene = Scene()
        scene.partition.catch_up_until = 2
        monkeypatch.setattr("rankstream.streams.worker.checkpoint.CATCH_UP_WAIT_S", 0.01)
        await asyncio.wait_for(scene.answer(a_request("u1")), PATIENCE_S)
        assert len(scene.broker.sent) == 1

    asyncio.run(story())


def test_actions_flow_while_requests_are_scored():
    async def story():
        scene, scoring = Scene(), threading.Event()

        answering = asyncio.create_task(scene.answer(a_request("u1"), run=blocked_until(scoring)))
        await asyncio.sleep(0.01)
        await scene.apply_actions(an_event("u1", offset=0))
        await scene.partition.checkpoint()
        assert scene.store.next_offset == 1
        assert not answering.done()
        scoring.set()
        await answering

    asyncio.run(story())


def test_closing_waits_for_the_requests_being_answered_and_accepts_no_more():
    async def story():
        scene, scoring = Scene(), threading.Event()

        many = [a_request(request_id=f"r{n}", offset=n) for n in range(40)]
        answering = asyncio.create_task(scene.answer(*many, run=blocked_until(scoring)))
        await asyncio.sleep(0.01)
        closing = asyncio.create_task(scene.partition.close(5))
        scoring.set()
        await asyncio.gather(closing, answering)
        assert scene.partition.requests.checkpointed == len(scene.broker.sent_to(Channel.FEEDS.value)) == 16

    asyncio.run(story())


def test_closing_gives_up_on_scoring_that_hangs():
    async def story():
        scene, scoring = Scene(), threading.Event()

        answering = asyncio.create_task(scene.answer(a_request("u1"), run=blocked_until(scoring)))
        await asyncio.sleep(0.01)
        await scene.partition.close(0.05)
        scoring.set()
        await answering
        assert scene.broker.sent == []
        assert scene.partition.requests.checkpointed == 0

    asyncio.run(story())


def test_a_chunk_that_never_came_is_an_error():
    cursor, plan = Cursor(TP("user-actions", 0), 0), ReadingPlan()
    plan.restart(TP("t", 0), 0)
    first, second = plan.cut(TP("t", 0), fetched(an_event(offset=0), an_event(offset=1)), 1)
    with pytest.raises(OffsetGapError, match="user-actions 0: processed up to 0, but the next chunk starts at 1"):
        cursor.fresh(second)
    assert len(cursor.fresh(first)) == 1


def test_a_gap_is_read_again_once_and_then_accepted_and_counted():
    cursor, plan = Cursor(TP("user-actions", 0), 0), ReadingPlan()
    chunk = plan.cut(TP("t", 0), fetched(an_event(offset=5)), 10)[0]
    with pytest.raises(RewindError) as again:
        cursor.fresh(chunk)
    assert again.value.offset == 0
    assert cursor.unread == 0
    assert len(cursor.fresh(chunk)) == 1
    assert (cursor.unread, cursor.processed) == (5, 5)


def test_offsets_without_a_record_inside_of_what_was_read_are_no_gap():
    """Markers of transactions, what was aborted or compacted: no warning of lost actions, nothing is read again."""
    cursor = Cursor(TP("user-actions", 0), 0)
    read = fetched(an_event(offset=5), an_event(offset=9), begin=0, end=12)
    (chunk,) = ReadingPlan().cut(TP("t", 0), read, 10)
    assert [record.offset for record in cursor.fresh(chunk)] == [5, 9]


def test_a_marker_behind_the_last_action_is_processed_with_it_or_alone():
    async def story():
        scene, tp = Scene(), TP("user-actions", 0)
        for read in (fetched(an_event("u1", offset=0), end=2), fetched(begin=2, end=4)):
            (chunk,) = scene.plan.cut(tp, read, 10)
            await scene.partition.apply_actions(chunk, scene.plan.is_current)
        await scene.partition.checkpoint()
        assert (scene.partition.actions.checkpointed, scene.store.next_offset) == (4, 4)

    asyncio.run(story())


def test_a_request_does_not_wait_for_a_marker_to_become_an_action():
    async def story():
        scene, tp = Scene(), TP("user-actions", 0)
        scene.partition.catch_up_until = 2  # the action and the marker behind it
        asking = asyncio.create_task(scene.answer(a_request("u1")))
        (chunk,) = scene.plan.cut(tp, fetched(an_event("u1", offset=0), end=2), 10)
        await scene.partition.apply_actions(chunk, scene.plan.is_current)
        await asyncio.wait_for(asking, PATIENCE_S)
        assert len(scene.broker.sent) == 1

    asyncio.run(story())


def test_a_marker_behind_the_last_request_is_processed_too():
    async def story():
        scene, tp = Scene(), TP("ranking-requests", 0)
        (chunk,) = scene.plan.cut(tp, fetched(a_request("u1", offset=0), end=2), 10)

        await scene.partition.answer(chunk, scene.plan.is_current, here)
        await scene.partition.checkpoint()
        assert scene.partition.requests.checkpointed == 2

    asyncio.run(story())


def test_records_that_were_processed_are_left_out():
    cursor, plan = Cursor(TP("user-actions", 0), 3), ReadingPlan()
    chunk = plan.cut(TP("t", 0), fetched(*(an_event(offset=n) for n in range(5))), 10)[0]
    assert [record.offset for record in cursor.fresh(chunk)] == [3, 4]


def test_a_chunk_read_before_a_seek_is_void():
    async def story():
        scene = Scene()
        old = scene.chunk(an_event("u1", offset=0))
        scene.plan.restart(TP("user-actions", 0), 0)
        await scene.partition.apply_actions(old, scene.plan.is_current)
        assert scene.partition.actions.processed == 0

    asyncio.run(story())


def test_records_that_are_applied_one_at_a_time_let_others_run_and_stop_where_the_partition_closes(tmp_path):
    """What the last process had in hand may be a whole chunk, and slow: the worker must not seem to stand still."""

    async def story() -> None:
        scene = Scene()
        log = [an_event("u1", f"i{offset}", at=offset, offset=offset) for offset in range(6)]
        last = InHand(tmp_path / "in-hand")
        held = last.held(log[1:5])
        held.__enter__()
        last.close()
        scene.partition.actions.in_hand = InHand(tmp_path / "in-hand")
        seen: list[int] = []

        async def close_in_the_middle() -> None:
            while scene.partition.actions.processed < 3:
                seen.append(scene.partition.actions.processed)
                await asyncio.sleep(0)
            scene.partition.closing = True

        await asyncio.gather(close_in_the_middle(), scene.apply_actions(*log))
        assert {1, 2} <= set(seen), "nothing else ran between two records"
        assert scene.partition.actions.processed == 3
        assert scene.partition.pipeline.users.get(b"u1").offset == 2


def test_records_are_in_hand_while_they_are_made_into_json(tmp_path):
    """A decoder that kills the process is found by what it had in hand, as whatever else does."""

    async def story() -> None:
        scene = Scene()
        scene.partition.actions.in_hand = InHand(tmp_path / "in-hand")
        chunk, seen = scene.chunk(an_event("u1", offset=0), an_event("u1", "b", offset=1)), list[tuple[int, int]]()

        def as_json(records: Sequence[Record]) -> Sequence[Record]:
            if records:
                seen.append(RANGE.unpack_from((tmp_path / "in-hand").read_bytes()))
            return records[1:]

        chunk.as_json = as_json
        await scene.partition.apply_actions(chunk, scene.plan.is_current)
        assert seen == [(0, 2)]
        assert scene.partition.pipeline.users.get(b"u1").offset == 1
        assert len(scene.partition.pipeline.users.get(b"u1").history) == 1

    asyncio.run(story())


def test_requests_are_answered_as_they_were_made_into_json():
    async def story() -> None:
        scene = Scene()
        chunk = scene.chunk(*requests_of(3))
        chunk.as_json = lambda records: records[:-1]

        await scene.partition.answer(chunk, scene.plan.is_current, here)
        assert answered(scene)[1] == [b"u0", b"u1"]
        assert scene.partition.requests.processed == 3

    asyncio.run(story())


def answered(scene: Scene) -> tuple[list[bytes], list[bytes]]:
    """The keys of the feeds that were sent, those by popularity and the others, each in order."""
    feeds = [(key, json.loads(value)) for topic, key, value in scene.broker.sent if topic == "ranked-feeds"]
    return [key for key, feed in feeds if "fallback" in feed], [key for key, feed in feeds if "fallback" not in feed]


def requests_of(count: int) -> list[ARecord]:
    return [a_request(f"u{offset}", offset=offset) for offset in range(count)]


def test_the_oldest_of_more_requests_than_can_be_ranked_in_time_are_answered_by_popularity():
    async def story():
        scene = Scene(load=Load(within_s=1.0, seconds_each=0.1))  # four at a time: two fifths of the limit
        await scene.answer(*requests_of(9))
        by_popularity, ranked = answered(scene)
        assert by_popularity == [b"u0", b"u1", b"u2", b"u3", b"u4"]
        assert ranked == [b"u5", b"u6", b"u7", b"u8"]
        assert scene.partition.requests.processed == 9
        assert scene.partition.pipeline.counters.shed == 5
        assert scene.partition.pipeline.counters.requests == 9

    asyncio.run(story())


def test_requests_in_later_chunks_count_as_waiting():
    async def story():
        scene = Scene(load=Load(within_s=1.0, seconds_each=0.1))
        await scene.answer(*requests_of(4), behind=100)
        assert answered(scene) == ([b"u0", b"u1", b"u2", b"u3"], [])

    asyncio.run(story())


def test_without_a_limit_all_are_ranked_in_order():
    async def story():
        scene = Scene(load=Load(within_s=0.0, seconds_each=0.1))
        await scene.answer(*requests_of(40), behind=1_000)
        assert answered(scene) == ([], [f"u{n}".encode() for n in range(40)])

    asyncio.run(story())


def test_a_request_that_is_shed_and_past_its_deadline_is_told_so():
    async def story():
        scene = Scene(load=Load(within_s=1.0, seconds_each=10.0))
        late = a_request("u0", offset=0, deadline_ms=1_600_000_000_000)
        await scene.answer(late, a_request("u1", offset=1))
        (_, _, value), *_ = [one for one in scene.broker.sent if one[0] == "ranked-feeds"]
        assert json.loads(value)["error"]["reason"] == "deadline-passed"

    asyncio.run(story())
