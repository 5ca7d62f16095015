"""What HTTP is of a call of the gateway, in CPU time: its event loop and its client's, and nothing behind them.

`benchmarks.gateway` prints it beside what the whole way takes.
"""

import asyncio
from collections.abc import Sequence
from queue import Queue
from threading import Thread
from time import thread_time
from uuid import uuid4

import msgspec
from msgspec.structs import replace

from benchmarks.workload import VOCABULARY
from rankstream.features.stores.memory import MemoryStore
from rankstream.gateway.answers import RejectedItem
from rankstream.gateway.app import Gateway
from rankstream.gateway.async_client import AsyncGatewayClient
from rankstream.gateway.intake import Keyed
from rankstream.gateway.road import OnFeed
from rankstream.gateway.server import serve
from rankstream.gateway.settings import GatewaySettings
from rankstream.gateway.worker_road import WorkerRoad
from rankstream.ranking.request import RankingRequest
from rankstream.ranking.serving import LiveRanker
from rankstream.streams.pipeline import wall_clock_ms
from rankstream.streams.records import Channel, recorded_request
from rankstream.streams.topics import Topic
from rankstream.streams.tracing import UNTRACED_CALL, CallTrace

USERS, CANDIDATES = 1000, 100
NAME = "NAME"  # of the user and the request of the feed that all get


def a_request(number: int) -> RankingRequest:
    """Return a request of its own id."""
    return RankingRequest(uuid4().hex, f"u{number % USERS}", candidates=tuple(range(CANDIDATES)))


class RoadOfOneFeed(WorkerRoad):
    """Answers every request at once with the same feed under its name, so that nothing but HTTP is left."""

    feed = b""

    async def open(self, on_feed: OnFeed) -> None:
        """Rank once."""
        await super().open(on_feed)
        asked = recorded_request(replace(a_request(0), request_id=NAME, user_id=NAME), 0, wall_clock_ms())
        answers = self.pipeline.on_requests([asked]).answer()
        self.feed = next(one.value for one in answers if one.channel is Channel.FEEDS)

    async def send(
        self, topic: Topic, records: Sequence[Keyed], trace: CallTrace = UNTRACED_CALL
    ) -> Sequence[RejectedItem]:
        """Answer."""
        for _, value in records:
            asked = msgspec.json.decode(value, type=RankingRequest)
            named = self.feed.replace(NAME.encode(), asked.request_id.encode(), 1)
            self._on_feed(named.replace(NAME.encode(), asked.user_id.encode()))
        return ()


def cpu_ms_of_a_call(count: int) -> dict[str, list[float]]:
    """Return ms of CPU of a call in the gateway's event loop, on average, and in the client's, one by one.

    The loops are threads of this process, so what is measured of one is not the other's.
    """
    gateway = Gateway(RoadOfOneFeed(LiveRanker.without_bundle(VOCABULARY), MemoryStore()), GatewaySettings(port=0))
    addresses, used_s = Queue[str](), Queue[float]()
    loop, stop = asyncio.new_event_loop(), asyncio.Event()

    def serve_here() -> None:
        loop.run_until_complete(serve(gateway, addresses.put, stop))
        used_s.put(thread_time())

    async def call() -> list[float]:
        took = []
        async with AsyncGatewayClient(addresses.get()) as client:
            for number in range(count):
                begun = thread_time()
                await client.rank(a_request(number))
                took.append(1000 * (thread_time() - begun))
        return took

    thread = Thread(target=serve_here)
    thread.start()
    of_client = asyncio.run(call())
    loop.call_soon_threadsafe(stop.set)
    thread.join()
    return {"gateway": [1000 * used_s.get() / count], "client": of_client}
