"""The application as a process: it listens, says where, and ends on SIGTERM or Ctrl-C with what it has in hand."""

import asyncio
import logging
import signal
from collections.abc import Callable
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from rankstream.gateway.answers import RefusedError, problem_answer
from rankstream.gateway.app import Gateway
from rankstream.gateway.settings import server_tls

log = logging.getLogger(__name__)

SHUTDOWN_S = 5.0  # for requests in flight to be answered
BACKLOG = 1024
HEAD_S = 10.0  # for the first request's head to come: whoever sends none, or slower, holds a descriptor for nothing
IDLE_S = 75.0  # between two requests, and for the next one's head; proxies keep connections for up to a minute


class JsonHandler(RequestHandler):
    """Answers JSON also to what is no HTTP, where no application is asked, and waits for no client for ever."""

    __slots__ = ("_patience",)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the first request, but not as long as aiohttp, which has no limit for that."""
        super().connection_made(transport)
        self._patience = self._loop.call_later(HEAD_S, self.force_close)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Wait no more."""
        self._patience.cancel()
        super().connection_lost(exc)

    async def _handle_request(self, *args: Any) -> tuple[web.StreamResponse, bool]:
        """Handle a request whose head has come."""
        self._patience.cancel()
        return await super()._handle_request(*args)

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
        answer = problem_answer(RefusedError(status, "http", "what came is not HTTP that can be read"))
        answer.force_close()
        return answer


class JsonServer(web.Server):
    """aiohttp's server with ``JsonHandler``, for which it has no parameter."""

    def __call__(self) -> RequestHandler:
        """Return the handler of one connection."""
        return JsonHandler(self, loop=self._loop, **self._kwargs)


class JsonRunner(web.AppRunner):
    """aiohttp's runner with ``JsonServer``, for which it has no parameter."""

    __slots__ = ()

    async def _make_server(self) -> web.Server:
        server = await super()._make_server()
        server.__class__ = JsonServer
        return server


async def serve(gateway: Gateway, told: Callable[[str], None], stop: asyncio.Event) -> None:
    """Serve until ``stop`` is set; ``told`` hears the address once everything is open."""
    settings = gateway.settings
    tls = server_tls(settings)
    runner = JsonRunner(
        gateway.app(),
        access_log=None,
        handler_cancellation=True,
        shutdown_timeout=SHUTDOWN_S,
        keepalive_timeout=IDLE_S,
    )
    try:
        await runner.setup()
        await web.TCPSite(runner, settings.host, settings.port, ssl_context=tls, backlog=BACKLOG).start()
        host, port = runner.addresses[0][:2]
        told(f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}")
        await stop.wait()
    finally:
        await runner.cleanup()


async def serve_until_signal(gateway: Gateway, told: Callable[[str], None]) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, stop.set)
    await serve(gateway, told, stop)
