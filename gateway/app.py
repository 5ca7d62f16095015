"""The routes: what comes by HTTP goes to the road, and what the road brings is the answer.

::

    POST /actions ------> intake: the topic's own rules ----> road.send, acknowledged --> 200, 207 or 400
    POST /rank ---------> board.expecting, road.send -------> board: the feed of that id --> 200 or 504
    GET /feeds/{user} --> board.following ------------------> server-sent events

Nothing but JSON leaves, whatever comes (but for streams and metrics), and what a client does wrong is not even logged.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from urllib.parse import unquote_to_bytes

from aiohttp import web
from msgspec.structs import replace

from rankstream.events.action_event import TOO_LARGE, Rejected
from rankstream.features.ids import MAX_ID_BYTES
from rankstream.gateway.access import RateLimit, Tokens
from rankstream.gateway.answers import (
    UNREAD,
    Fault,
    Health,
    Life,
    RefusedError,
    Taken,
    encode,
    json_answer,
    naming,
    problem_answer,
    raw_answer,
)
from rankstream.gateway.counts import GatewayCounts
from rankstream.gateway.feeds import Feed, FeedBoard, Follower
from rankstream.gateway.figures import TELL_FIGURES_S, FiguresLine
from rankstream.gateway.intake import Asked, read_actions, read_erasure, read_impressions, read_request
from rankstream.gateway.openapi import openapi
from rankstream.gateway.road import Road, no_broker
from rankstream.gateway.routes import ROUTES, Route
from rankstream.gateway.settings import GatewaySettings
from rankstream.gateway.telemetry import SHOWN_BY_GATEWAYS, GatewayLook
from rankstream.ranking.request import DEADLINE_PASSED
from rankstream.streams.exposition import CONTENT_TYPE, Exposition
from rankstream.streams.heartbeat import Heartbeat
from rankstream.streams.pipeline import INTERNAL, WRONG_PARTITION, wall_clock_ms
from rankstream.streams.topics import ACTIONS, IMPRESSIONS, REQUESTS
from rankstream.streams.tracing import NO_TRACES, UNTRACED_CALL, CallTrace, Traces

log = logging.getLogger(__name__)

REQUEST_ID: ContextVar[object] = ContextVar("request_id", default=None)  # of the call at hand, once its body is read
TRACE: ContextVar[CallTrace] = ContextVar("trace", default=UNTRACED_CALL)  # of the call at hand, where traces are kept
BODY_S = 10.0  # for a body to come: who sends slower holds a place that others want
KEEP_ALIVE_S = 15.0  # between two signs of life on a stream: proxies cut what is silent
NO_DESCRIPTORS = "no-descriptors"  # reason
STATUSES = {DEADLINE_PASSED: 504, INTERNAL: 500, WRONG_PARTITION: 500}  # of workers' reasons; 400 for the others

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Gateway:
    """The handlers of ``ROUTES``, and what they share; pages over them add routes and handlers of their own."""

    routes: tuple[Route, ...] = ROUTES

    def __init__(
        self,
        road: Road,
        settings: GatewaySettings,
        clock: Callable[[], int] = wall_clock_ms,
        traces: Traces = NO_TRACES,
    ) -> None:
        self.road = road
        self.settings = settings
        self.clock = clock
        self.traces = traces
        self.board = FeedBoard(settings.max_streams)
        self.in_flight = 0
        self.counts = GatewayCounts()
        self.heartbeat = Heartbeat()
        self.why_crowded: Callable[[], str | None] = lambda: None  # why one connection more is not answered
        self._exposition = Exposition(SHOWN_BY_GATEWAYS, self.look)
        self._tokens = Tokens(settings.tokens)
        self._rate = RateLimit(settings.rate_limit)
        self._openapi = encode(openapi())
        self._unguarded = {route.path for route in self.routes if not route.guarded}

    def app(self) -> web.Application:
        """Return the application; its start opens the road."""
        around = [self.trace, self.answer] if self.traces.keeps else [self.answer]
        app = web.Application(middlewares=around, client_max_size=self.settings.body_limit_bytes)
        for route in self.routes:
            app.router.add_route(route.method, route.path, getattr(self, route.handler))
        app.on_startup.append(self._open)
        app.on_shutdown.append(self._let_go)
        app.on_cleanup.append(self._close)
        return app

    async def _open(self, app: web.Application) -> None:
        await self.road.open(self.board.arrived)
        self._beside = [asyncio.create_task(one) for one in (self.heartbeat.keep_beating(), self._tell_figures())]

    async def _tell_figures(self) -> None:
        line = FiguresLine(self.look)
        while True:
            await asyncio.sleep(TELL_FIGURES_S)
            told, figures = line.next()
            log.info("%s", told, extra={"figures": figures})

    async def _let_go(self, app: web.Application) -> None:
        self.board.close()
        for task in self._beside:
            task.cancel()

    async def _close(self, app: web.Application) -> None:
        await self.road.close()
        await asyncio.to_thread(self.traces.close)

    # --- around every call

    @web.middleware
    async def trace(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Have it kept what a call that sends something leads to; looking at this process leads to nothing."""
        if request.method != "POST":
            return await handler(request)
        trace = self.traces.call(request.method, route_of(request), request.scheme, request.headers.items())
        TRACE.set(trace)
        status = None
        try:
            response = await handler(request)
            status = response.status
            return response
        finally:
            trace.answered(status)

    @web.middleware
    async def answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let in who may come, turn whatever goes wrong into JSON, and count."""
        started = time.monotonic()
        REQUEST_ID.set(None)  # calls on one connection share a context
        try:
            if request.method == "OPTIONS" and self._is_allowed_origin(request):
                response: web.StreamResponse = web.Response(status=204)
            else:
                self._let_in(request)
                response = await handler(request)
        except RefusedError as exc:
            response = problem_answer(exc)
            if exc.reason == NO_DESCRIPTORS:
                response.force_close()
        except web.HTTPException as exc:
            response = problem_answer(_told(exc, request, self.routes))
        except ConnectionResetError:  # the client is gone, and no answer reaches it
            raise
        except Exception:
            log.exception("%s %s met a bug", request.method, request.path, extra={"request_id": REQUEST_ID.get()})
            response = problem_answer(RefusedError(500, INTERNAL, "the gateway met a bug; its log says which"))
        if not response.prepared:
            response.headers.update(self._headers(request))
        took_s = None if response.prepared else time.monotonic() - started
        self.counts.answered(route_of(request), response.status, took_s)
        return response

    def _let_in(self, request: web.Request) -> None:
        """Raise ``RefusedError`` for who is one too many, has no token, or comes too often."""
        if request.path in self._unguarded:
            return
        if (crowded := self.why_crowded()) is not None:
            raise RefusedError(503, NO_DESCRIPTORS, crowded, 5)
        wait_s = self._rate.wait_s(request.remote or "", time.monotonic())
        if wait_s:
            most = self.settings.rate_limit
            raise RefusedError(429, "rate-limit", f"more than {most:g} requests/s from one address", 1 + int(wait_s))
        if not self._tokens.admits(request.headers.get("Authorization")):
            raise RefusedError(401, "token", "wanted `Authorization: Bearer` with the gateway's token")

    def _is_allowed_origin(self, request: web.Request) -> bool:
        allowed = self.settings.cors_origin
        return allowed is not None and request.headers.get("Origin") == allowed

    def _headers(self, request: web.Request) -> dict[str, str]:
        headers = {"Server": "rankstream", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
        if not self._is_allowed_origin(request):
            return headers
        return headers | {
            "Access-Control-Allow-Origin": request.headers["Origin"],
            "Access-Control-Allow-Methods": "GET, POST",
            "Access-Control-Allow-Headers": "Authorization, Content-Type, traceparent, tracestate",
            "Access-Control-Expose-Headers": f"Retry-After, {UNREAD}",
            "Vary": "Origin",
        }

    @contextmanager
    def one_in_flight(self) -> Iterator[None]:
        """Count a call while it is worked on. Raises ``RefusedError`` where too many are."""
        if self.in_flight >= self.settings.max_in_flight:
            raise RefusedError(429, "too-many", f"{self.in_flight} requests are in flight here, max_in_flight", 1)
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1

    async def body(self, request: web.Request) -> bytes:
        """Return the body. Raises ``RefusedError``; JSON by its name only: pages of others can't send that unasked."""
        if request.content_type != "application/json":
            raise RefusedError(415, "content-type", f"{request.content_type} came; wanted application/json")
        limit = self.settings.body_limit_bytes
        if (request.content_length or 0) > limit:
            raise _too_large(limit)
        try:
            async with asyncio.timeout(BODY_S):
                return await request.read()
        except TimeoutError as exc:
            raise RefusedError(408, "slow-body", f"the body did not come within {BODY_S:g} s") from exc
        except web.RequestPayloadError as exc:
            said = request.headers.get("Content-Encoding", "its framing")[:20]
            told = f"the body is not what {said} makes; send it as its headers say, or without Content-Encoding"
            raise RefusedError(400, "content-encoding", told) from exc

    # --- the routes

    async def post_actions(self, request: web.Request) -> web.StreamResponse:
        """Send actions."""
        with self.one_in_flight(), rejections():
            actions = read_actions(await self.body(request), self.clock())
            sent = await self.road.send(ACTIONS, actions.records, TRACE.get()) if actions.records else ()
        later = [replace(one, index=actions.indices[one.index]) for one in sent]
        rejected = sorted([*actions.rejected, *later], key=lambda one: one.index)
        accepted = len(actions.records) - len(later)
        self.counts.actions += accepted
        self.counts.rejected += len(rejected)
        status = 200 if not rejected else 207 if accepted else 400
        return naming(actions.unread, json_answer(Taken(accepted, rejected), status))

    async def post_impressions(self, request: web.Request) -> web.StreamResponse:
        """Send one list of impressions."""
        with self.one_in_flight(), rejections():
            if (told := self.road.why_lacks(IMPRESSIONS)) is not None:
                raise RefusedError(404, "no-topic", told)
            shown = read_impressions(await self.body(request), self.clock())
            await self.road.send(IMPRESSIONS, [shown.record], TRACE.get())
        return naming(shown.unread, json_answer(Taken(1)))

    async def post_forget(self, request: web.Request) -> web.StreamResponse:
        """Erase a user; whoever may come where no token is asked for may not."""
        if not self.settings.tokens:
            told = "this gateway asks for no token, so it can't tell who may erase; set one, or use `rankstream forget`"
            raise RefusedError(403, "no-token", told)
        with self.one_in_flight(), rejections():
            erasure = read_erasure(await self.body(request), self.clock())
            await self.road.send(ACTIONS, [erasure], TRACE.get())
        return json_answer(Taken(1))

    async def post_rank(self, request: web.Request) -> web.StreamResponse:
        """Send a request and wait for its feed."""
        with self.one_in_flight(), rejections():
            asked = read_request(await self.body(request), self.clock())
            REQUEST_ID.set(asked.request.request_id)
            TRACE.get().asks(asked.request.request_id)
            feed = await self._feed_of(asked)
        status = 200 if feed.error is None else STATUSES.get(feed.error.reason, 400)
        return naming(asked.unread, raw_answer(feed.value, status))

    async def _feed_of(self, asked: Asked) -> Feed:
        """Return the answer of a worker. Raises ``RefusedError`` where none comes in time."""
        within_ms = self.settings.answer_timeout_ms
        if asked.request.deadline_ms is not None:
            within_ms = min(within_ms, asked.request.deadline_ms - self.clock())
        if within_ms <= 0:
            raise RefusedError(504, DEADLINE_PASSED, f"deadline_ms passed {-within_ms} ms before the request came")
        with self.board.expecting(asked.request.user_id, asked.request.request_id) as feed:
            sent = False
            try:
                async with asyncio.timeout(within_ms / 1000):
                    await self.road.send(REQUESTS, [asked.record], TRACE.get())
                    sent = True
                    return await feed
            except TimeoutError as exc:
                if not sent:
                    raise no_broker(f"no broker acknowledged the request within {within_ms} ms") from exc
                told = f"no worker answered within {within_ms} ms: is one running, and does it keep up?"
                raise RefusedError(504, "no-answer", told) from exc

    async def get_feeds(self, request: web.Request) -> web.StreamResponse:
        """Follow a user's feeds."""
        user = _user_in(request)
        with self.board.following(user) as follower:
            headers = {"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"}
            stream = web.StreamResponse(headers=headers | self._headers(request))
            await stream.prepare(request)
            await _write_events(stream, follower)
            return stream

    async def get_live(self, request: web.Request) -> web.StreamResponse:
        """Say whether the event loop turns."""
        beat = self.heartbeat
        return json_answer(Life(beat.is_live, round(beat.age_s, 3)), 200 if beat.is_live else 503)

    async def get_ready(self, request: web.Request) -> web.StreamResponse:
        """Say whether the road is open."""
        why = self.road.why_not()
        error = None if why is None else Fault("not-ready", why)
        return json_answer(Health(why is None, self.in_flight, error), 200 if why is None else 503)

    def look(self) -> GatewayLook:
        """Return the gateway as it is now."""
        return GatewayLook(
            counts=self.counts,
            in_flight=self.in_flight,
            streams=self.board.num_followers,
            ready=self.road.why_not() is None,
            loop_delay_s=self.heartbeat.delay_s,
            ranked_here=self.road.counters(),
        )

    async def get_metrics(self, request: web.Request) -> web.StreamResponse:
        """Show what was counted."""
        return web.Response(body=self._exposition.text(), headers={"Content-Type": CONTENT_TYPE})

    async def get_openapi(self, request: web.Request) -> web.StreamResponse:
        """Describe the routes."""
        return raw_answer(self._openapi)


def route_of(request: web.Request) -> str:
    """Return the path of the route that was called, `other` for one that is not there."""
    resource = request.match_info.route.resource
    return "other" if resource is None else resource.canonical


def _user_in(request: web.Request) -> str:
    """Return the user that a path names. Raises ``RefusedError`` for what can't be an id.

    aiohttp would read what is no UTF-8 as the text ``%FF``, which is another user.
    """
    raw = unquote_to_bytes(request.rel_url.raw_path.rpartition("/")[2])
    if len(raw) > MAX_ID_BYTES:
        raise RefusedError(400, "schema", f"a user's id has at most {MAX_ID_BYTES} bytes")
    try:
        return raw.decode()
    except UnicodeDecodeError as exc:
        raise RefusedError(400, "schema", "a user's id is UTF-8, percent-encoded in a path") from exc


async def _write_events(stream: web.StreamResponse, follower: Follower) -> None:
    """Write feeds as they come, until the gateway ends or the client is gone."""
    await stream.write(b": from now on\n\n")
    while True:
        try:
            async with asyncio.timeout(KEEP_ALIVE_S):
                feed = await follower.get()
        except TimeoutError:
            await stream.write(b": nothing new\n\n")
            continue
        if feed is None:
            return
        line = feed.value.replace(b"\n", b" ").replace(b"\r", b" ")  # an event's data is a line, and JSON can be one
        await stream.write(b"event: feed\ndata: " + line + b"\n\n")


@contextmanager
def rejections() -> Iterator[None]:
    """Turn what a worker would reject into an answer."""
    try:
        yield
    except Rejected as exc:
        raise RefusedError(413 if exc.reason == TOO_LARGE else 400, exc.reason, str(exc)) from exc


def _too_large(limit: int) -> RefusedError:
    return RefusedError(
        413, TOO_LARGE, f"the body is over {limit:,} bytes, body_limit_bytes; send several with fewer items"
    )


def _told(exc: web.HTTPException, request: web.Request, routes: tuple[Route, ...]) -> RefusedError:
    """Return what aiohttp itself refuses: a body too large, a path or a method that is not there."""
    if isinstance(exc, web.HTTPRequestEntityTooLarge):
        return _too_large(request.app._client_max_size)
    if isinstance(exc, web.HTTPMethodNotAllowed):
        told = f"{exc.method} came; {request.path} takes {', '.join(sorted(exc.allowed_methods))}"
        return RefusedError(405, "method", told)
    if isinstance(exc, web.HTTPNotFound):
        known = ", ".join(route.path for route in routes)
        return RefusedError(404, "path", f"there is no {request.path[:100]}; there are {known}")
    return RefusedError(exc.status, "http", exc.reason)
