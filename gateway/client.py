"""A client of the gateway, typed, on the standard library alone; ``async_client.py`` is its twin on aiohttp.

::

    with GatewayClient("http://127.0.0.1:8080", token) as client:
        client.send_actions(ActionEvent(7, 11, "click", now_ms))
        feed = client.rank(AskedRequest(user_id=7, limit=10))
"""

import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from types import TracebackType
from typing import Self
from urllib.parse import quote, urlsplit

import msgspec
from msgspec import UNSET, Struct, UnsetType

from rankstream.events.action_event import ActionEvent
from rankstream.events.impression_event import ImpressionEvent
from rankstream.features.decoding import UNREADABLE
from rankstream.features.ids import Id
from rankstream.gateway.answers import Fault, Taken
from rankstream.gateway.intake import AskedRequest
from rankstream.ranking.request import RankingRequest
from rankstream.streams.codec import RankedFeed

TIMEOUT_S = 10.0
SILENCE_S = 60.0  # on a stream, which has a sign of life every 15 s
DATA = b"data: "
UNREACHABLE = "unreachable"


class GatewayError(Exception):
    """A call that was not done; ``retry_after_s`` says when to come again, where it is worth it."""

    def __init__(self, status: int, reason: str, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(f"{reason}: {message}")
        self.status, self.reason, self.retry_after_s = status, reason, retry_after_s


@dataclass(frozen=True)
class Call:
    """A call, whoever makes it."""

    method: str
    path: str
    body: bytes | None = None
    headers: Mapping[str, str] | None = None  # besides those of every call


@dataclass(frozen=True)
class Reply:
    """What came back of a call."""

    status: int
    body: bytes
    retry_after: str | None


class _Refusal(Struct):
    error: Fault | UnsetType = UNSET


_encode = msgspec.json.Encoder().encode


def actions_call(events: ActionEvent | Sequence[ActionEvent], headers: Mapping[str, str] | None = None) -> Call:
    """Return the call that sends actions."""
    return Call("POST", "/actions", _encode(events), headers)


def forget_call(user_id: Id, until_ms: int | None = None) -> Call:
    """Return the call that erases a user, by what was done until now or a time."""
    return Call("POST", "/forget", _encode({"user_id": user_id, "timestamp_ms": until_ms}))


def rank_call(request: RankingRequest, headers: Mapping[str, str] | None = None) -> Call:
    """Return the call that asks for a feed; an ``AskedRequest`` needs no ``request_id``."""
    return Call("POST", "/rank", _encode(request), headers)


def impressions_call(event: ImpressionEvent) -> Call:
    """Return the call that sends what a user was shown."""
    return Call("POST", "/impressions", _encode(event))


def feeds_call(user_id: Id) -> Call:
    """Return the call that follows a user's feeds."""
    return Call("GET", f"/feeds/{quote(str(user_id), safe='')}")


READY = Call("GET", "/ready")


def headers_of(token: str | None) -> dict[str, str]:
    """Return the headers of every call."""
    return {"Content-Type": "application/json"} | ({} if token is None else {"Authorization": f"Bearer {token}"})


def taken_of(reply: Reply) -> Taken:
    """Return what was taken and what was not. Raises ``GatewayError`` where nothing was looked at."""
    check(reply)
    return msgspec.json.decode(reply.body, type=Taken)


def feed_of(reply: Reply) -> RankedFeed:
    """Return the feed. Raises ``GatewayError``, also for an error feed."""
    check(reply)
    return msgspec.json.decode(reply.body, type=RankedFeed)


def check(reply: Reply) -> None:
    """Raise ``GatewayError`` for a reply that says what is wrong, or that is of something else than a gateway."""
    try:
        error = msgspec.json.decode(reply.body, type=_Refusal).error
    except UNREADABLE as exc:
        raise GatewayError(reply.status, UNREACHABLE, f"what answered is no gateway: {reply.body[:80]!r}") from exc
    if not isinstance(error, UnsetType):
        after = float(reply.retry_after) if reply.retry_after else None
        raise GatewayError(reply.status, error.reason, error.message, after)


def event_of(line: bytes) -> RankedFeed | None:
    """Return the feed in a line of a stream; None for lines without one."""
    return msgspec.json.decode(line.removeprefix(DATA), type=RankedFeed) if line.startswith(DATA) else None


class GatewayClient:
    """One connection that is kept; a client a thread."""

    def __init__(
        self,
        address: str = "http://127.0.0.1:8080",
        token: str | None = None,
        timeout_s: float = TIMEOUT_S,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """``address`` is ``http://host:port`` or ``https://...``; ``tls`` where the system's authorities don't do."""
        self._at = urlsplit(address)
        self._headers: Mapping[str, str] = headers_of(token)
        self._timeout_s = timeout_s
        self._tls = tls
        self._kept: HTTPConnection | None = None

    def send_actions(
        self, events: ActionEvent | Sequence[ActionEvent], headers: Mapping[str, str] | None = None
    ) -> Taken:
        """Send actions; return when the brokers have them. Raises ``GatewayError``.

        ``headers`` are further ones of HTTP, as those that OpenTelemetry's ``propagate.inject`` puts into a dict.
        """
        return taken_of(self._call(actions_call(events, headers)))

    def forget(self, user_id: Id, until_ms: int | None = None) -> Taken:
        """Erase a user, by what was done until now or a time (ms, UTC). Raises ``GatewayError``."""
        return taken_of(self._call(forget_call(user_id, until_ms)))

    def rank(self, request: RankingRequest | AskedRequest, headers: Mapping[str, str] | None = None) -> RankedFeed:
        """Return the feed of a request; ``headers`` as of actions. Raises ``GatewayError``."""
        return feed_of(self._call(rank_call(request, headers)))

    def send_impressions(self, event: ImpressionEvent) -> Taken:
        """Send what a user was shown. Raises ``GatewayError``."""
        return taken_of(self._call(impressions_call(event)))

    def is_ready(self) -> bool:
        """Return whether the gateway reaches a broker."""
        try:
            return self._call(READY).status == 200
        except GatewayError:
            return False

    def feeds(self, user_id: Id) -> Iterator[RankedFeed]:
        """Yield a user's feeds as they come, until the gateway ends. Raises ``GatewayError``."""
        with closing(self._connect(SILENCE_S)) as connection:
            try:
                answer = self._send(connection, feeds_call(user_id))
                if answer.status != 200:
                    check(Reply(answer.status, answer.read(), answer.headers["Retry-After"]))
                for line in answer:
                    feed = event_of(line)
                    if feed is not None:
                        yield feed
            except (OSError, HTTPException) as exc:
                raise self._unreachable(exc) from exc

    def _call(self, call: Call) -> Reply:
        """Make a call; once more where a kept connection was hung up meanwhile."""
        for is_new in (self._kept is None, True):
            connection = self._kept = self._kept or self._connect(self._timeout_s)
            try:
                answer = self._send(connection, call)
                return Reply(answer.status, answer.read(), answer.headers["Retry-After"])
            except (OSError, HTTPException) as exc:
                self.close()
                if is_new or isinstance(exc, TimeoutError):
                    raise self._unreachable(exc) from exc
        raise AssertionError("the second connection is new")

    def _send(self, connection: HTTPConnection, call: Call) -> HTTPResponse:
        connection.request(
            call.method, self._at.path.rstrip("/") + call.path, call.body, {**self._headers, **(call.headers or {})}
        )
        return connection.getresponse()

    def _connect(self, timeout_s: float) -> HTTPConnection:
        host, port = self._at.hostname or "", self._at.port
        if self._at.scheme == "https":
            return HTTPSConnection(host, port, timeout=timeout_s, context=self._tls)
        return HTTPConnection(host, port, timeout=timeout_s)

    def _unreachable(self, exc: Exception) -> GatewayError:
        return GatewayError(0, UNREACHABLE, f"no answer from {self._at.geturl()} ({exc or type(exc).__name__})")

    def close(self) -> None:
        """Hang up."""
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None) -> None:
        self.close()
