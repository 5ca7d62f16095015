"""Every route as data: ``app.py`` serves them, ``openapi.py`` describes them."""

from dataclasses import dataclass, field
from typing import Any

from rankstream.events.action_event import ActionEvent
from rankstream.events.impression_event import ImpressionEvent
from rankstream.gateway.answers import Health, Life, Problem, Taken
from rankstream.gateway.intake import AskedErasure, AskedRequest
from rankstream.streams.codec import RankedFeed

JSON, EVENTS, TEXT = "application/json", "text/event-stream", "text/plain"
Answer = tuple[str, tuple[type, ...]]  # why, and what it may be; nothing: any object

REFUSED: dict[int, Answer] = {
    400: ("What came can't be read.", (Problem,)),
    401: ("The token is missing or wrong.", (Problem,)),
    408: ("The body did not come.", (Problem,)),
    413: ("The body is too large.", (Problem,)),
    415: ("The body is not called application/json.", (Problem,)),
    429: ("Too much at once; Retry-After says when to come again.", (Problem,)),
    500: ("A bug; the gateway's log has it.", (Problem,)),
    503: ("No broker takes it; Retry-After says when to come again.", (Problem,)),
}


@dataclass(frozen=True)
class Route:
    """A method and a path, what they take and what they answer."""

    method: str
    path: str
    handler: str  # method of ``app.Gateway``
    summary: str
    body: Any = None  # a type; None: no body
    answers: dict[int, Answer] = field(default_factory=dict)  # by status
    content: str = JSON  # of the answer 200
    guarded: bool = True  # wants the token

    @property
    def all_answers(self) -> dict[int, Answer]:
        """Return also what every guarded route may answer."""
        if not self.guarded:
            return self.answers
        unread = () if self.body else (400, 408, 413, 415, 503)
        return {status: said for status, said in REFUSED.items() if status not in unread} | self.answers


ROUTES = (
    Route(
        "POST",
        "/actions",
        "post_actions",
        "Send one action or a list; answered when the brokers have them.",
        ActionEvent | list[ActionEvent],
        {
            200: ("All were taken.", (Taken,)),
            207: ("Some were taken; those that were not are listed.", (Taken,)),
            400: ("None was taken; or the body is not JSON, and error says so.", (Taken, Problem)),
        },
    ),
    Route(
        "POST",
        "/rank",
        "post_rank",
        "Rank candidates for a user.",
        AskedRequest,
        {
            200: ("The feed, as on the topic ranked-feeds.", (RankedFeed,)),
            400: ("What came can't be ranked, by the gateway or by a worker.", (Problem, RankedFeed)),
            409: ("The same request_id of the user is being answered.", (Problem,)),
            500: ("The worker or the gateway met a bug.", (Problem, RankedFeed)),
            504: ("No worker answered in time.", (Problem, RankedFeed)),
        },
    ),
    Route(
        "POST",
        "/impressions",
        "post_impressions",
        "Send one list that a user was shown; answered when the brokers have it.",
        ImpressionEvent,
        {
            200: ("It was taken.", (Taken,)),
            404: ("The cluster had no topic impressions when the gateway began, or there is none.", (Problem,)),
        },
    ),
    Route(
        "POST",
        "/forget",
        "post_forget",
        "Erase a user: what was done up to now, or to a time, is forgotten; answered when the brokers have it.",
        AskedErasure,
        {
            200: ("It was taken.", (Taken,)),
            403: ("The gateway has no token, and lets nobody erase.", (Problem,)),
        },
    ),
    Route(
        "GET",
        "/feeds/{user}",
        "get_feeds",
        "Follow a user's feeds from now on, whoever asked for them, as server-sent events.",
        None,
        {200: ("One event a feed.", (RankedFeed,))},
        content=EVENTS,
    ),
    Route(
        "GET",
        "/live",
        "get_live",
        "The event loop turns.",
        None,
        {200: ("It does.", (Life,)), 503: ("It stood still for some seconds.", (Life,))},
        guarded=False,
    ),
    Route(
        "GET",
        "/ready",
        "get_ready",
        "A broker answers.",
        None,
        {200: ("It does.", (Health,)), 503: ("None does; error says why.", (Health,))},
        guarded=False,
    ),
    Route(
        "GET",
        "/metrics",
        "get_metrics",
        "What this process has counted, for Prometheus.",
        None,
        {200: ("The text format, 0.0.4.", (str,))},
        content=TEXT,
    ),
    Route("GET", "/openapi.json", "get_openapi", "This description.", None, {200: ("It.", ())}, guarded=False),
)
