"""Where the time of a call goes that a gateway answers through Kafka, by one clock of the machine.

::

    call ------------------> handler -----> body read ------------------> feed ----------> answer ------> back
       http to the gateway          body           check, send, worker        feed to answer     http back

`benchmarks.gateway` prints it: its gateway tells its times in a header, its client adds its own.
"""

from itertools import pairwise
from statistics import median
from time import perf_counter

import aiohttp
import msgspec
from aiohttp import web

from rankstream.gateway.app import REQUEST_ID, Gateway
from rankstream.gateway.async_client import AsyncGatewayClient, _reply
from rankstream.gateway.client import Call, Reply
from rankstream.gateway.feeds import FeedBoard
from rankstream.gateway.road import Road
from rankstream.gateway.settings import GatewaySettings

HEADER = "Stamps"  # of an answer: when the handler began, the body was read, the feed came, and the answer left
STEPS = ("http to the gateway", "body", "check, send and worker", "feed to answer", "http back")


class _Named(msgspec.Struct):
    request_id: str


class StampedBoard(FeedBoard):
    """Notes when feeds come."""

    def __init__(self, max_followers: int) -> None:
        super().__init__(max_followers)
        self.came_s: dict[object, float] = {}  # by request; of those that others asked for, too

    def arrived(self, value: bytes) -> None:
        """Hand on a feed."""
        self.came_s[msgspec.json.decode(value, type=_Named).request_id] = perf_counter()
        super().arrived(value)


class StampedGateway(Gateway):
    """Tells with each feed when what was done for it."""

    def __init__(self, road: Road, settings: GatewaySettings) -> None:
        super().__init__(road, settings)
        self.board: StampedBoard = StampedBoard(settings.max_streams)

    async def post_rank(self, request: web.Request) -> web.StreamResponse:
        """Rank."""
        begun_s = perf_counter()
        await request.read()
        read_s = perf_counter()
        answer = await super().post_rank(request)
        stamps = (begun_s, read_s, self.board.came_s.pop(REQUEST_ID.get()), perf_counter())
        answer.headers[HEADER] = msgspec.json.encode(stamps).decode()
        return answer


class StampedClient(AsyncGatewayClient):
    """Keeps the steps of each call, ms."""

    steps: list[tuple[float, ...]]

    async def _call(self, call: Call) -> Reply:
        called_s = perf_counter()
        async with self._request(call, aiohttp.ClientTimeout(total=self._timeout_s)) as answer:
            reply = await _reply(answer)
            stamps = answer.headers.get(HEADER)
        if stamps is not None:
            times = (called_s, *msgspec.json.decode(stamps, type=tuple[float, ...]), perf_counter())
            self.steps.append(tuple(1000 * (b - a) for a, b in pairwise(times)))
        return reply


def medians(steps: list[tuple[float, ...]]) -> dict[str, float]:
    """Return the median of each step, ms."""
    return {name: median(values) for name, values in zip(STEPS, zip(*steps, strict=True), strict=True)}
