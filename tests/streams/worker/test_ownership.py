import asyncio
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import ProducerClosed
from faust.types import TP

from rankstream.streams.settings import Settings
from rankstream.streams.worker.checkpoint import RewindError
from rankstream.streams.worker.chunks import Fetched, ReadingPlan
from rankstream.streams.worker.limits import Limits
from rankstream.streams.worker.ownership import Ownership
from rankstream.streams.worker.source import UNKNOWN, Described, Source
from rankstream.streams.worker.topic_identity import OwnershipError
from tests.builders.actions import ARecord, SomeLiveRanker
from tests.builders.partition import a_partition

ACTIONS, REQUESTS = "user-actions", "ranking-requests"
SETTINGS = Settings(session_timeout_s=6.0, heartbeat_interval_s=1.0)


def an_ownership(**changes: Any) -> Ownership:
    settings = replace(SETTINGS, **changes)
    parts = (SomeLiveRanker(), SimpleNamespace(), ReadingPlan(), Limits(settings))
    return Ownership(settings, *parts, fencing=False, sample=lambda *given: None)


class Commits(list[dict[TP, int]]):
    """What was committed, in order."""

    async def __call__(self, offsets: Any) -> bool:
        self.append(dict(offsets))
        return True


def test_the_numbers_of_an_assignment_are_those_of_both_topics():
    both = [TP(topic, number) for topic in (ACTIONS, REQUESTS) for number in (1, 3)]
    assert an_ownership().assigned_numbers([*both, TP("other", 7)]) == {1, 3}


def test_a_partition_of_one_source_only_is_refused():
    with pytest.raises(OwnershipError, match=r"given partitions \[1\] of user-actions but \[1, 2\]"):
        an_ownership().assigned_numbers([TP(ACTIONS, 1), TP(REQUESTS, 1), TP(REQUESTS, 2)])


def test_a_topic_that_is_gone_is_named():
    with pytest.raises(
        OwnershipError, match=r"given partitions \[0, 1\], but none of the topic user-actions: if it was"
    ):
        an_ownership().assigned_numbers([TP(REQUESTS, 0), TP(REQUESTS, 1)])


def test_what_was_fetched_before_a_partition_was_open_is_void():
    """From the group's offset, which is ahead of the store's: a rebalance stopped the opening, and reading began."""
    owner, tp = an_ownership(), TP(ACTIONS, 0)
    owner.positions({tp: 500})
    (chunk,) = owner._plan.cut(tp, Fetched(500, [ARecord(b"{}", b"u1", 500)], 501), size=10)
    assert owner._plan.is_current(chunk)
    owner._own(a_partition(0, actions=400))
    assert not owner._plan.is_current(chunk)
    (later,) = owner._plan.cut(tp, Fetched(501, [ARecord(b"{}", b"u1", 501)], 502), size=10)
    with pytest.raises(RewindError, match="read again from offset 400"):
        owner.partitions[0].actions.fresh(later)


def test_brokers_that_do_not_answer_while_partitions_are_opened_are_named(monkeypatch):
    async def story():
        owner = an_ownership(bootstrap_servers="kafka:9092")

        async def no_answer(*given: object) -> None:
            raise TimeoutError

        monkeypatch.setattr(owner._opener, "_open_fences", no_answer)
        with pytest.raises(OwnershipError, match=r"kafka:9092 did not answer while partitions \[3\] were opened"):
            await owner._open([3])

    asyncio.run(story())


def test_a_topic_created_anew_under_what_is_open_fails_it_and_is_refused(monkeypatch):
    async def story():
        owner, ids = an_ownership(), iter([Source("a"), UNKNOWN, Source("a"), Source("b")])

        async def next_sources(settings: Settings, topics: Sequence[str]) -> dict[str, Described]:
            return dict.fromkeys(topics, Described()) | {"user-actions": Described(next(ids))}

        monkeypatch.setattr("rankstream.streams.worker.topic_identity.describe", next_sources)
        await owner.check_topics()
        owner.partitions[0] = a_partition()
        await owner.check_topics()  # a broker that does not tell, or a topic that is just being created
        await owner.check_topics()
        assert not owner.partitions[0].failed
        with pytest.raises(
            OwnershipError, match=r"created anew while its records were applied \(its id was a and is b\)"
        ):
            await owner.check_topics()
        assert owner.partitions[0].failed

    asyncio.run(story())


def test_partitions_added_to_the_topic_fail_what_is_open_and_are_refused(monkeypatch):
    async def story():
        owner, found = an_ownership(), iter([Source("a", 4), UNKNOWN, Source("a", 4), Source("a", 8)])

        async def next_sources(settings: Settings, topics: Sequence[str]) -> dict[str, Described]:
            return dict.fromkeys(topics, Described()) | {"user-actions": Described(next(found))}

        monkeypatch.setattr("rankstream.streams.worker.topic_identity.describe", next_sources)
        owner.partitions[0] = a_partition()
        for _ in range(3):
            await owner.check_topics()
        assert not owner.partitions[0].failed
        with pytest.raises(OwnershipError, match="user-actions had 4 partitions and was given 8, so users"):
            await owner.check_topics()
        assert owner.partitions[0].failed

    asyncio.run(story())


def test_partitions_added_to_the_topic_of_requests_alone_are_refused(monkeypatch):
    """Requests of some users lay on partitions that no worker read until the consumer asked for metadata again."""

    async def story():
        owner, found = an_ownership(), iter([4, 0, 4, 8])

        async def next_sources(settings: Settings, topics: Sequence[str]) -> dict[str, Described]:
            sources = {"user-actions": Source("a", 4), "ranking-requests": Source("r", next(found))}
            return {topic: Described(sources.get(topic, UNKNOWN)) for topic in topics}

        monkeypatch.setattr("rankstream.streams.worker.topic_identity.describe", next_sources)
        owner.partitions[0] = a_partition()
        for _ in range(3):
            await owner.check_topics()
        with pytest.raises(OwnershipError, match="ranking-requests has 8 partitions, but user-actions has 4"):
            await owner.check_topics()
        assert owner.partitions[0].failed

    asyncio.run(story())


def test_reading_resumes_at_the_store_not_at_the_groups_offset():
    owner = an_ownership()
    owner.partitions[0] = a_partition(actions=50, requests=7)
    assert owner.positions({TP(ACTIONS, 0): 40, TP(REQUESTS, 0): 7})[TP(ACTIONS, 0)] == 50


def test_reading_is_set_back_also_where_the_group_has_committed_nothing():
    """Requests fetched before a rebalance, none of them answered: without a seek they would never come again."""
    owner = an_ownership()
    owner.partitions[0] = a_partition(requests=0)
    assert owner.positions({TP(REQUESTS, 0): None})[TP(REQUESTS, 0)] == 0


def test_actions_that_the_group_has_committed_are_replayed_without_outputs():
    owner = an_ownership()
    owner.partitions[0] = a_partition(actions=50)
    owner.positions({TP(ACTIONS, 0): 90})
    assert owner.partitions[0].outputs_committed_until == 90


def test_positions_are_returned_even_when_the_groups_offsets_are_not_known():
    owner = an_ownership()
    owner.partitions[0] = a_partition(actions=50, requests=8)
    assert owner.positions({}) == {TP(ACTIONS, 0): 50, TP(REQUESTS, 0): 8}


def test_the_groups_offset_never_goes_backwards():
    async def story():
        owner, commits = an_ownership(), Commits()
        owner.partitions[0] = a_partition(actions=50)
        owner.positions({TP(ACTIONS, 0): 90})
        await owner.checkpoint(commits)
        owner.partitions[0].actions.processed = 80
        await owner.checkpoint(commits)
        assert commits == []
        owner.partitions[0].actions.processed = 95
        await owner.checkpoint(commits)
        await owner.checkpoint(commits)
        assert commits == [{TP(ACTIONS, 0): 95}]

    asyncio.run(story())


def test_a_group_that_lags_behind_the_store_is_committed_though_nothing_new_comes():
    async def story():
        owner, commits = an_ownership(), Commits()
        owner.partitions[0] = a_partition(actions=50)
        owner.positions({TP(ACTIONS, 0): 40})
        await owner.checkpoint(commits)
        assert commits == [{TP(ACTIONS, 0): 50}]

    asyncio.run(story())


def test_one_failing_partition_does_not_keep_the_others_from_committing():
    async def story():
        owner, commits = an_ownership(), Commits()
        owner.partitions = {0: a_partition(0), 1: a_partition(1)}
        owner.partitions[0].pipeline.users.commit = None  # type: ignore[method-assign, assignment]
        for partition in owner.partitions.values():
            partition.actions.processed = 5
        with pytest.raises(TypeError):
            await owner.checkpoint(commits)
        assert commits == [{TP(ACTIONS, 1): 5}]
        assert owner.partitions[0].failed

    asyncio.run(story())


def test_a_revoked_partition_makes_a_last_checkpoint_and_closes():
    async def story():
        owner, commits, partition = an_ownership(), Commits(), a_partition()
        owner.partitions[0] = partition
        partition.actions.processed = 5
        await owner.revoke([0, 7], commits)
        assert commits == [{TP(ACTIONS, 0): 5}]
        assert owner.partitions == {}
        assert partition.pipeline.users.store.next_offset == 5

    asyncio.run(story())


def test_a_rebalance_and_the_end_of_the_worker_may_come_together():
    """The second one found nothing of what the first one was closing: ``KeyError`` ended the worker."""

    async def story():
        owner, commits, partition = an_ownership(), Commits(), a_partition()
        owner.partitions[0] = partition
        partition.actions.processed = 5
        await asyncio.gather(owner.revoke([0], commits), owner.revoke([0], commits))
        assert commits == [{TP(ACTIONS, 0): 5}]
        assert owner.partitions == {}

    asyncio.run(story())


def test_a_checkpoint_that_takes_longer_than_the_way_out_ends_no_worker(monkeypatch):
    """A broker held the client back (quotas): the checkpoint failed as its producer closed, and so did the worker."""
    monkeypatch.setattr("rankstream.streams.worker.ownership.CLOSE_S", 0.05)

    async def story():
        owner, partition, closed = an_ownership(), a_partition(), asyncio.Event()

        async def write(*given: object) -> bool:
            await closed.wait()
            raise ProducerClosed

        async def close(flush: bool) -> None:
            closed.set()

        partition._outbox.write, partition._outbox.close = write, close
        owner.partitions[0] = partition
        partition.actions.processed = 5
        checkpoint = asyncio.create_task(owner.checkpoint(Commits()))
        await asyncio.sleep(0)
        await owner.revoke([0], Commits())
        await checkpoint
        assert owner.left_unsaved

    asyncio.run(story())


def test_all_partitions_together_keep_as_many_users_in_memory_as_are_set():
    async def story():
        owner = an_ownership(cached_users=9_000)
        for number in range(3):
            owner.partitions[number] = a_partition(number)
        owner._share_memory()
        kept = [one.pipeline.users.max_cached for one in owner.partitions.values()]
        assert kept == [3_000, 3_000, 3_000]
        await owner.revoke([0], Commits())
        assert [one.pipeline.users.max_cached for one in owner.partitions.values()] == [4_500, 4_500]

    asyncio.run(story())


def test_a_process_that_stood_still_longer_than_its_session_writes_nothing():
    async def story():
        owner, commits, partition = an_ownership(), Commits(), a_partition()
        owner.partitions[0] = partition
        partition.actions.processed = 5
        owner._alive_at -= 7
        with pytest.raises(OwnershipError, match="stood still for 7 s, longer than its session of 6 s"):
            await owner.revoke([0], commits)
        assert (commits, partition.pipeline.users.store.next_offset) == ([], None)

    asyncio.run(story())
