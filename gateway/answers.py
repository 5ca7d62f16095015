"""What the gateway answers besides feeds: structs of JSON, and what is wrong as an exception of one sentence."""

from collections.abc import Collection
from urllib.parse import quote

import msgspec
from aiohttp import web
from msgspec import Struct

UNREAD = "Rankstream-Unread-Fields"  # header: names of fields that were sent and that nothing reads
MAX_NAMED = 10

encode = msgspec.json.Encoder().encode


class Fault(Struct, frozen=True):
    """What is wrong: a reason for machines, a sentence for people. As in an error feed."""

    reason: str
    message: str


class Problem(Struct, frozen=True):
    """A call that was not done."""

    error: Fault


class RejectedItem(Struct, frozen=True):
    """One of several actions that was not sent."""

    index: int  # its position in the body, from 0
    reason: str
    message: str


class Taken(Struct, frozen=True):
    """What of a body the brokers have."""

    accepted: int
    rejected: list[RejectedItem] = []


class Health(Struct, frozen=True):
    """Whether the gateway can do its work."""

    ready: bool
    in_flight: int  # requests that wait for brokers or workers
    error: Fault | None = None


class Life(Struct, frozen=True):
    """Whether the event loop turns; as workers say it."""

    live: bool
    beat_age_s: float  # since it came round last


class RefusedError(Exception):
    """A call that is not done, with its HTTP status; the message says what came, what was wanted, what to do."""

    def __init__(self, status: int, reason: str, message: str, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.status, self.reason, self.retry_after_s = status, reason, retry_after_s


def json_answer(value: object, status: int = 200) -> web.Response:
    """Return a value as JSON."""
    return raw_answer(encode(value), status)


def raw_answer(value: bytes, status: int = 200) -> web.Response:
    """Return bytes that are JSON already."""
    return web.Response(body=value, status=status, content_type="application/json")


def naming(unread: Collection[str], answer: web.Response) -> web.Response:
    """Return the answer, with the names of fields that nothing reads in its header, percent-encoded."""
    if unread:
        answer.headers[UNREAD] = ", ".join(quote(name[:64], errors="replace") for name in sorted(unread)[:MAX_NAMED])
    return answer


def problem_answer(refused: RefusedError) -> web.Response:
    """Return what is wrong."""
    answer = json_answer(Problem(Fault(refused.reason, str(refused))), refused.status)
    if refused.retry_after_s is not None:
        answer.headers["Retry-After"] = str(refused.retry_after_s)
    if refused.status == 401:
        answer.headers["WWW-Authenticate"] = "Bearer"
    return answer
