"""The application as a process: it listens, says where, and ends on SIGTERM or Ctrl-C with what it has in hand."""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable
from typing import Any, cast

from aiohttp import HttpVersion10, web
from aiohttp.http_exceptions import ContentEncodingError
from aiohttp.web_protocol import RequestHandler

from rankstream.gateway.answers import RefusedError, problem_answer
from rankstream.gateway.app import Gateway
from rankstream.gateway.descriptors import Descriptors, OneLine, raised_limit
from rankstream.gateway.settings import GatewaySettings, server_tls

log = logging.getLogger(__name__)

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

SHUTDOWN_S = 5.0  # for requests in flight to be answered
BACKLOG = 1024
HEAD_S = 10.0  # for the first request's head to come: whoever sends none, or slower, holds a descriptor for nothing
STALLED_S = 30.0  # for a client to take any of what was written to it
IDLE_S = 75.0  # between two requests, and for the next one's head; proxies keep connections for up to a minute


class JsonHandler(RequestHandler):
    """Answers JSON also to what is no HTTP, where no application is asked, and waits for no client for ever."""

    __slots__ = ("_left_bytes", "_patience", "_stalled")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the first request, but not as long as aiohttp, which has no limit for that."""
        super().connection_made(transport)
        self._patience = self._loop.call_later(HEAD_S, self.force_close)
        self._stalled: asyncio.TimerHandle | None = None
        server = cast(JsonServer, self._manager)
        if server.descriptors.are_gone(server.num_connections):
            self._hang_up()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Wait no more."""
        self._patience.cancel()
        self._waits_no_more()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Wait for the client to take what was written; one that never reads would keep it for ever."""
        super().pause_writing()
        self._wait_for_reader()

    def resume_writing(self) -> None:
        """Go on: the client reads."""
        super().resume_writing()
        self._waits_no_more()

    def _wait_for_reader(self) -> None:
        self._left_bytes = self._unsent_bytes()
        self._stalled = self._loop.call_later(STALLED_S, self._look_at_reader)

    def _look_at_reader(self) -> None:
        """Hang up on who has taken nothing; who reads slowly is waited for."""
        if self._unsent_bytes() < self._left_bytes:
            self._wait_for_reader()
        else:
            self._hang_up()

    def _unsent_bytes(self) -> int:
        return 0 if self.transport is None else self.transport.get_write_buffer_size()

    def _hang_up(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def _waits_no_more(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()

    async def _handle_request(
        self, request: web.BaseRequest, start_time: float | None, request_handler: Handler
    ) -> tuple[web.StreamResponse, bool]:
        """Handle a request whose head has come; what aiohttp refuses around the application is JSON, too."""
        self._patience.cancel()

        async def in_json(request: web.BaseRequest) -> web.StreamResponse:
            if request.version < HttpVersion10:
                return problem_answer(RefusedError(400, "http", "HTTP/1.0 or HTTP/1.1 is spoken here"))
            try:
                return await request_handler(request)
            except web.HTTPExpectationFailed:
                return problem_answer(RefusedError(417, "http", "wanted no Expect but 100-continue"))

        return await super()._handle_request(request, start_time, in_json)

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Log a bug; what is left of a body that can't be unpacked is none, and is read only to be thrown away."""
        if not isinstance(kw.get("exc_info"), web.RequestPayloadError):
            super().log_exception(*args, **kw)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Return what is wrong; the log has a line at most."""
        log.debug("%s sent what is not understood: %r", request.remote, exc)
        answer = problem_answer(_unread(status, exc))
        answer.force_close()
        return answer


def _unread(status: int, exc: BaseException | None) -> RefusedError:
    if isinstance(exc, ContentEncodingError):
        return RefusedError(415, "content-encoding", "wanted gzip, deflate, or no Content-Encoding")
    return RefusedError(status, "http", "what came is not HTTP that can be read")


class JsonServer(web.Server):
    """aiohttp's server with ``JsonHandler``, for which it has no parameter."""

    descriptors: Descriptors

    @property
    def num_connections(self) -> int:
        """How many are open; ``connections`` would list them, for each call."""
        return len(self._connections)

    def __call__(self) -> RequestHandler:
        """Return the handler of one connection."""
        return JsonHandler(self, loop=self._loop, **self._kwargs)


class JsonRunner(web.AppRunner):
    """aiohttp's runner with ``JsonServer``, for which it has no parameter."""

    __slots__ = ("descriptors",)

    descriptors: Descriptors

    async def _make_server(self) -> web.Server:
        server = await super()._make_server()
        server.__class__ = JsonServer
        cast(JsonServer, server).descriptors = self.descriptors
        return server


async def serve(gateway: Gateway, told: Callable[[str], None], stop: asyncio.Event) -> None:
    """Serve until ``stop`` is set; ``told`` hears the address once everything is open."""
    settings = gateway.settings
    tls = server_tls(settings)
    asyncio.get_running_loop().set_exception_handler(OneLine())
    runner = JsonRunner(
        gateway.app(),
        access_log=None,
        handler_cancellation=True,
        shutdown_timeout=SHUTDOWN_S,
        keepalive_timeout=IDLE_S,
    )
    runner.descriptors = descriptors = raised_limit()
    gateway.why_crowded = lambda: descriptors.why_not(cast(JsonServer, runner.server).num_connections)
    _compare(settings, descriptors)
    try:
        await runner.setup()
        await web.TCPSite(runner, settings.host, settings.port, ssl_context=tls, backlog=BACKLOG).start()
        host, port = runner.addresses[0][:2]
        told(f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}")
        await stop.wait()
    finally:
        await runner.cleanup()


def _compare(settings: GatewaySettings, descriptors: Descriptors) -> None:
    """Say where the limits of the settings can't be come to."""
    if settings.max_streams + settings.max_in_flight > descriptors.most:
        log.warning(
            "max_streams %s and max_in_flight %s are more than the %s connections that the descriptors of this process "
            "are enough for: raise those (`ulimit -n`, LimitNOFILE= of systemd)",
            f"{settings.max_streams:,}", f"{settings.max_in_flight:,}", f"{descriptors.most:,}",
        )  # fmt: skip


async def serve_until_signal(gateway: Gateway, told: Callable[[str], None]) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, stop.set)
    await serve(gateway, told, stop)
