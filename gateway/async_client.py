"""The client of the gateway for asyncio, on aiohttp: as many calls at once as there are tasks."""

import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Self

import aiohttp

from rankstream.events.action_event import ActionEvent
from rankstream.events.impression_event import ImpressionEvent
from rankstream.features.ids import Id
from rankstream.gateway.answers import Taken
from rankstream.gateway.client import (
    READY,
    SILENCE_S,
    TIMEOUT_S,
    UNREACHABLE,
    Call,
    GatewayError,
    Reply,
    actions_call,
    check,
    event_of,
    feed_of,
    feeds_call,
    forget_call,
    headers_of,
    impressions_call,
    rank_call,
    taken_of,
)
from rankstream.gateway.intake import AskedRequest
from rankstream.ranking.request import RankingRequest
from rankstream.streams.codec import RankedFeed

MAX_CONNECTIONS = 1000  # a call waits for its answer alone on its connection
LINE_BYTES = 4 << 20  # of a stream: a feed is a line
FAILURES = (aiohttp.ClientError, TimeoutError, OSError)


class AsyncGatewayClient:
    """Calls from within an event loop; ``async with`` opens and closes its connections."""

    def __init__(
        self,
        address: str = "http://127.0.0.1:8080",
        token: str | None = None,
        timeout_s: float = TIMEOUT_S,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Take the arguments of ``GatewayClient``."""
        self._address = address.rstrip("/")
        self._headers = headers_of(token)
        self._timeout_s = timeout_s
        self._tls = tls

    async def __aenter__(self) -> Self:
        connections = aiohttp.TCPConnector(limit=MAX_CONNECTIONS, ssl=self._tls or True)
        self._session = aiohttp.ClientSession(headers=self._headers, connector=connections, read_bufsize=LINE_BYTES)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None
    ) -> None:
        await self._session.close()

    async def send_actions(
        self, events: ActionEvent | Sequence[ActionEvent], headers: Mapping[str, str] | None = None
    ) -> Taken:
        """Send actions; return when the brokers have them. Raises ``GatewayError``.

        ``headers`` are further ones of HTTP, as those that OpenTelemetry's ``propagate.inject`` puts into a dict.
        """
        return taken_of(await self._call(actions_call(events, headers)))

    async def forget(self, user_id: Id, until_ms: int | None = None) -> Taken:
        """Erase a user, by what was done until now or a time (ms, UTC). Raises ``GatewayError``."""
        return taken_of(await self._call(forget_call(user_id, until_ms)))

    async def rank(
        self, request: RankingRequest | AskedRequest, headers: Mapping[str, str] | None = None
    ) -> RankedFeed:
        """Return the feed of a request; ``headers`` as of actions. Raises ``GatewayError``."""
        return feed_of(await self._call(rank_call(request, headers)))

    async def send_impressions(self, event: ImpressionEvent) -> Taken:
        """Send what a user was shown. Raises ``GatewayError``."""
        return taken_of(await self._call(impressions_call(event)))

    async def is_ready(self) -> bool:
        """Return whether the gateway reaches a broker."""
        try:
            return (await self._call(READY)).status == 200
        except GatewayError:
            return False

    async def feeds(self, user_id: Id) -> AsyncIterator[RankedFeed]:
        """Yield a user's feeds as they come, until the gateway ends. Raises ``GatewayError``."""
        silence = aiohttp.ClientTimeout(total=None, sock_read=SILENCE_S)
        try:
            async with self._request(feeds_call(user_id), silence) as answer:
                if answer.status != 200:
                    check(await _reply(answer))
                async for line in answer.content:
                    feed = event_of(line)
                    if feed is not None:
                        yield feed
        except FAILURES as exc:
            raise self._unreachable(exc) from exc

    async def _call(self, call: Call) -> Reply:
        try:
            async with self._request(call, aiohttp.ClientTimeout(total=self._timeout_s)) as answer:
                return await _reply(answer)
        except FAILURES as exc:
            raise self._unreachable(exc) from exc

    def _request(
        self, call: Call, timeout: aiohttp.ClientTimeout
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        address = self._address + call.path
        return self._session.request(call.method, address, data=call.body, headers=call.headers, timeout=timeout)

    def _unreachable(self, exc: BaseException) -> GatewayError:
        return GatewayError(0, UNREACHABLE, f"no answer from {self._address} ({str(exc) or type(exc).__name__})")


async def _reply(answer: aiohttp.ClientResponse) -> Reply:
    return Reply(answer.status, await answer.read(), answer.headers.get("Retry-After"))
