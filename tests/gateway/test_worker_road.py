"""The gateway's own worker: who looks at states when."""

import asyncio
import threading

import msgspec
import pytest

from rankstream.features.stores.memory import MemoryStore
from rankstream.gateway.worker_road import WorkerRoad
from rankstream.streams.codec import RankedFeed
from rankstream.streams.topics import ACTIONS, REQUESTS
from tests.builders.actions import MORNING_MS, SomeLiveRanker, a_request, an_event
from tests.builders.patience import PATIENCE_S


def keyed(record):
    return [(record.key, record.value)]


class ARoad:
    """A road, its feeds as they come, and a thread that applies actions when it is let."""

    def __init__(self):
        self.road = WorkerRoad(SomeLiveRanker(), MemoryStore(), clock=lambda: MORNING_MS)
        self.feeds = asyncio.Queue()
        self.may_apply = threading.Event()
        self.applies = threading.Event()
        self.looked = 0  # times that states were looked up
        pipeline, on_actions, on_requests = (
            self.road.pipeline, self.road.pipeline.on_actions, self.road.pipeline.on_requests
        )  # fmt: skip

        def slowly(records):
            self.applies.set()
            assert self.may_apply.wait(PATIENCE_S)
            return on_actions(records)

        def noted(records):
            self.looked += 1
            return on_requests(records)

        pipeline.on_actions, pipeline.on_requests = slowly, noted

    async def __aenter__(self):
        await self.road.open(self.feeds.put_nowait)
        return self

    async def __aexit__(self, *exc):
        self.may_apply.set()
        await self.road.close()

    def act(self):
        return asyncio.create_task(self.road.send(ACTIONS, keyed(an_event("u1"))))

    async def ask(self):
        await self.road.send(REQUESTS, keyed(a_request("u1")))

    async def feed(self):
        async with asyncio.timeout(PATIENCE_S):
            return msgspec.json.decode(await self.feeds.get(), type=RankedFeed)


@pytest.mark.parametrize("stays", [True, False])
def test_a_request_behind_actions_that_are_being_applied_sees_them_also_where_their_sender_is_gone(stays):
    async def story():
        async with ARoad() as running:
            sending = running.act()
            await asyncio.to_thread(running.applies.wait, PATIENCE_S)
            if not stays:
                sending.cancel()
                await asyncio.wait([sending])
            await running.ask()
            for _ in range(10):
                await asyncio.sleep(0)
            assert running.looked == 0  # nobody looks at states that another thread changes
            running.may_apply.set()
            assert (await running.feed()).actions_used == 1

    asyncio.run(story())


def test_many_requests_at_once_are_all_answered_and_the_road_closes_behind_them():
    async def story():
        async with ARoad() as running:
            for _ in range(50):
                await running.ask()
        assert running.feeds.qsize() == 50

    asyncio.run(story())


def test_what_is_published_is_looked_for_while_nobody_asks():
    class Following(SomeLiveRanker):
        def __init__(self, looked):
            super().__init__()
            self.looked = looked

        def keep_up(self):
            self.looked.set()

    async def story():
        looked = asyncio.Event()
        road = WorkerRoad(Following(looked), MemoryStore())
        await road.open(lambda feed: None)
        async with asyncio.timeout(PATIENCE_S):
            await looked.wait()
        await road.close()

    asyncio.run(story())
