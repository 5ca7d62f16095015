"""The live page: the gateway's routes, and beside them the page's files and what it compares its feed with.

::

    GET  /               the page                POST /page/compare   the feed without the newest actions
    GET  /page/start     what it has to know     POST /page/why       why an item has its rank
    POST /actions, /rank as any client calls     POST /page/cards     titles and pictures

The page is a client of ``POST /actions`` and ``POST /rank`` as a shop's backend would be: it shows the way that
docs/integrate.md describes, whether Kafka is behind it or not.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from aiohttp import web
from msgspec import Struct

from rankstream.features.history import DEFAULT_LIMIT
from rankstream.gateway.answers import RefusedError, json_answer
from rankstream.gateway.app import Gateway, rejections
from rankstream.gateway.road import Road
from rankstream.gateway.routes import ROUTES, Route
from rankstream.gateway.settings import GatewaySettings
from rankstream.ranking.experiment import Experiment
from rankstream.ranking.request import RankingRefusedError
from rankstream.ranking.serving import LiveRanker
from rankstream.retrieval.sources.recent_likes import polarity_of
from rankstream.streams.pipeline import wall_clock_ms
from rankstream.web.cards import AskedCards, Card, Cards, read_cards
from rankstream.web.comparison import Comparer, Comparison
from rankstream.web.files import INDEX, TYPES, ending_of, security_policy, static_files
from rankstream.web.reasons import Explainer, Reasons
from rankstream.web.side_thread import SideThread
from rankstream.web.visit import MAX_ACTIONS, AskedWhy, Replica, StaleVisit, read_stale_visit, read_why

ROW = 20  # items that the page shows
CANDIDATES = 500
MAX_COMPARISONS, MAX_REASONS = 64, 8  # that may wait: one takes some ms, the other up to a second


class ActionButton(Struct, frozen=True):
    """A name of the bundle's vocabulary, and whether the utility is for or against it."""

    name: str
    effect: str  # "positive", "negative", or "" for what it says nothing of


class Start(Struct, frozen=True):
    """What the page has to know before it asks."""

    model_version: str
    through: str  # "kafka", or "process": the worker is in this one
    actions: list[ActionButton]
    row: int
    candidates: int
    max_actions: int  # of a visitor
    answer_timeout_ms: int
    now_ms: int  # by this clock the page stamps its actions


@dataclass(frozen=True)
class PageOptions:
    """What a person may choose for the page."""

    through: str = "process"
    cards: Cards = field(default_factory=Cards)
    candidates: int = CANDIDATES  # that are ranked for a row
    history_limit: int = DEFAULT_LIMIT  # as workers have it


def _file_routes() -> tuple[Route, ...]:
    paths = ["/", *(f"/page/{name}" for name in static_files())]
    return tuple(Route("GET", path, "get_file", "A file of the live page.", guarded=False) for path in paths)


PAGE_ROUTES = (
    *_file_routes(),
    Route("GET", "/page/start", "get_start", "What the page has to know.", None, {200: ("It.", (Start,))}),
    Route("POST", "/page/cards", "post_cards", "Titles and pictures.", AskedCards, {200: ("A card an item.", (Card,))}),
    Route(
        "POST", "/page/compare", "post_compare", "The feed without the newest actions.", StaleVisit,
        {200: ("Two feeds.", (Comparison,))},
    ),
    Route("POST", "/page/why", "post_why", "Why an item has its rank.", AskedWhy, {200: ("The reasons.", (Reasons,))}),
)  # fmt: skip


class LivePage(Gateway):
    """A gateway with a page; ``serving`` is what the feeds come from, or the same bundle opened here beside Kafka."""

    routes = (*ROUTES, *PAGE_ROUTES)

    def __init__(
        self,
        road: Road,
        serving: LiveRanker | Experiment,
        settings: GatewaySettings,
        options: PageOptions,
        clock: Callable[[], int] = wall_clock_ms,
    ) -> None:
        super().__init__(road, settings, clock)
        replica = Replica(serving, options.history_limit)
        self.serving, self.options = serving, options
        self._comparer, self._explainer = Comparer(replica), Explainer(serving, replica)
        self._comparing, self._explaining = SideThread("compare", MAX_COMPARISONS), SideThread("why", MAX_REASONS)
        self._files = static_files()
        self._policy = security_policy(options.cards.sources)

    async def _close(self, app: web.Application) -> None:
        for thread in (self._comparing, self._explaining):
            await asyncio.to_thread(thread.close)
        await super()._close(app)

    async def get_file(self, request: web.Request) -> web.StreamResponse:
        """Send a file of the page."""
        name = request.path.rpartition("/")[2] or INDEX
        headers = {"Content-Security-Policy": self._policy, "Referrer-Policy": "no-referrer"}
        answer = web.Response(body=self._files[name], content_type=TYPES[ending_of(name)], charset="utf-8")
        answer.headers.update(headers)
        return answer

    async def get_start(self, request: web.Request) -> web.StreamResponse:
        """Say what the page has to know."""
        return json_answer(
            Start(
                model_version=self.serving.current.model_version,
                through=self.options.through,
                actions=self._buttons(),
                row=ROW,
                candidates=self.options.candidates,
                max_actions=MAX_ACTIONS,
                answer_timeout_ms=self.settings.answer_timeout_ms,
                now_ms=self.clock(),
            )
        )

    def _buttons(self) -> list[ActionButton]:
        vocabulary, ranker = self.serving.vocabulary, self.serving.current
        polarity = polarity_of(vocabulary, dict(zip(ranker.heads, ranker.weights, strict=True)))
        effects = {code: "positive" for code in polarity.positive} | {code: "negative" for code in polarity.negative}
        return [ActionButton(name, effects.get(code, "")) for name, code in vocabulary.action_codes.items()]

    async def post_cards(self, request: web.Request) -> web.StreamResponse:
        """Send what is shown of items."""
        with self.one_in_flight(), rejections():
            return json_answer(self.options.cards.of(read_cards(await self.body(request)).ids))

    async def post_compare(self, request: web.Request) -> web.StreamResponse:
        """Rank without the newest actions."""
        with self.one_in_flight(), rejections(), _refusals():
            visit = read_stale_visit(await self.body(request), self.clock())
            return json_answer(await self._comparing.run(lambda: self._comparer.compare(visit)))

    async def post_why(self, request: web.Request) -> web.StreamResponse:
        """Explain an item."""
        with self.one_in_flight(), rejections(), _refusals():
            asked = read_why(await self.body(request), self.clock())
            return json_answer(await self._explaining.run(lambda: self._explainer.explain(asked)))


@contextmanager
def _refusals() -> Iterator[None]:
    """Turn what a ranker refuses into an answer."""
    try:
        yield
    except RankingRefusedError as exc:
        raise RefusedError(400, exc.reason, str(exc)) from exc
