"""What is asked of a ranker and what it answers: one request and one feed item, on the wire and in the process.

A request that came from a topic was checked against its schema when it was decoded, and has its ``timestamp_ms`` from
then on. One that was built by hand has passed no check yet: ``Ranker.rank`` refuses it by the same rules.
"""

from dataclasses import dataclass, field
from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from rankstream.content.filters import ItemFilters
from rankstream.events.action_event import MAX_AHEAD_MS, Name, TimeMs, WireId
from rankstream.features.ids import Id
from rankstream.features.schema import ModelInputs

MAX_CANDIDATES = 5_000
CLOCKS_DIFFER_MS = 5 * 60_000  # who asks as of a time further back than that means the past

DEADLINE_PASSED = "deadline-passed"
NO_CANDIDATES = "no-candidates"
TOO_MANY_CANDIDATES = "too-many-candidates"
BAD_GROUPS = "bad-groups"
BAD_LIMIT = "bad-limit"
BAD_FILTERS = "bad-filters"


class RankingRequest(Struct, frozen=True, omit_defaults=True):
    """Rank candidates for a user. Topic ranking-requests, keyed by the text of user_id in UTF-8."""

    request_id: WireId
    user_id: WireId
    candidates: Annotated[tuple[WireId, ...], Meta(min_length=1, max_length=MAX_CANDIDATES)] | None = None
    limit: Annotated[int, Meta(ge=1, le=MAX_CANDIDATES, description="candidates from retrieval instead")] | None = None
    groups: Annotated[tuple[WireId, ...], Meta(description="of each candidate, for max_per_group")] | None = None
    max_per_group: Annotated[int, Meta(ge=1)] | None = None
    top_k: Annotated[int, Meta(ge=1, description="how many to answer with; all if absent")] | None = None
    timestamp_ms: Annotated[TimeMs, Meta(description="the time to rank as of; the record's if absent")] | None = None
    deadline_ms: Annotated[TimeMs, Meta(description="an answer later than this is of no use")] | None = None
    surface: Annotated[Name, Meta(description="where it will be shown; unknown names count as none")] | None = None
    exclude: (
        Annotated[
            tuple[WireId, ...], Meta(max_length=MAX_CANDIDATES, description="with limit: items never to be proposed")
        ]
        | None
    ) = None
    filters: Annotated[ItemFilters, Meta(description="with limit: what an item must be")] | None = None

    def as_of(self, now_ms: int) -> int:
        """Return the time to rank at: the request's own, or ``now_ms`` where it has none."""
        return now_ms if self.timestamp_ms is None else self.timestamp_ms

    def seen_until_ms(self, asked_ms: int) -> int:
        """Return the time of the latest action that it sees of those known at ``asked_ms``, when it was asked.

        As of now that is every action which its record's check has let in: one that is known has happened, whatever the
        clock that stamped it. As of the past nothing later is seen.
        """
        at_ms = self.as_of(asked_ms)
        return at_ms if at_ms < asked_ms - CLOCKS_DIFFER_MS else at_ms + MAX_AHEAD_MS


class FeedItem(Struct, frozen=True):
    """One position of a feed."""

    item_id: Id
    score: float  # utility
    probabilities: Annotated[
        dict[str, float],
        Meta(
            description="by head, 0 to 1: for the heads that the feed's `calibrated` names the probability of the "
            "action if the item is shown; for the others a score, which orders candidates and means no more"
        ),
    ]
    propensity: (
        Annotated[
            float,
            Meta(
                gt=0,
                le=1,
                description="with exploration: the probability of this item at this position, given those before it",
            ),
        ]
        | UnsetType
    ) = UNSET
    source: (
        Annotated[
            str,
            Meta(
                description="where the request has a limit and several sources are asked: what proposed it; "
                "popular:fallback where nothing else could be proposed"
            ),
        ]
        | UnsetType
    ) = UNSET
    because_of: (
        Annotated[Id, Meta(description="the item that stands for the interest which it was proposed for")] | UnsetType
    ) = UNSET


@dataclass(frozen=True, slots=True)
class Variant:
    """The side of an experiment that a user is on (``ranking/experiment.py``), and what assigned them."""

    name: str
    share: float  # of all users that the treatment has; 0 while it can't serve
    salt: str


@dataclass(frozen=True, slots=True)
class Ranking:
    """The answer, best first."""

    items: tuple[FeedItem, ...]
    heads: tuple[str, ...]
    model_version: str
    actions_used: int  # newest actions that the encoder saw
    newest_action_age_ms: int | None  # None for a user without actions
    user_vector_found: bool
    unknown_items: int  # candidates that are not in the item table: ranked by a zero vector
    timings_ms: dict[str, float] = field(default_factory=dict)  # retrieve, join, score, blend, total
    user_vectors: str | None = None  # version of the table of user vectors; None without one
    item_counts: str | None = None  # version of the item counts; None for the bundle's own
    item_vectors: str | None = None  # version of the table of item vectors; None for the bundle's own
    item_index: str | None = None  # what the items were searched with; None: none were, or all were compared
    inputs: ModelInputs | None = field(default=None, compare=False, repr=False)  # exactly what was scored
    policy: str | None = None  # what chose the order besides the scores; None without exploration
    num_candidates: int = 0  # that were ranked, each item once; more than items where limits left some out
    calibrated: tuple[str, ...] | None = None  # heads whose numbers are probabilities; None: the bundle does not say
    entropy: float | None = None  # with exploration: of the first position, 1 if any candidate is as likely there
    fallback: str | None = None  # what ordered the items where there was no time to score them
    interests: str | None = None  # version that candidates were found by; None where none was used
    graph: str | None = None  # version that walks went on besides sessions; None where there was none
    catalogue: str | None = None  # version that candidates were found with; None where none was used
    retrieval: str | None = None  # the mix that they were found by; None where only the default can have been
    scorer: str | None = None  # what ran the model's graphs; None for ONNX Runtime in float32
    variant: Variant | None = None  # of the experiment that the user is part of; None outside one


class RankingRefusedError(ValueError):
    """A request that can't be answered; ``reason`` is a short constant, the message has the facts."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def check_request(request: RankingRequest) -> None:
    """Raise ``RankingRefusedError`` for a request that no ranker can answer.

    First the rules across fields, which the schema can't state; then the sizes, which it does state, for requests that
    were built by hand.
    """
    candidates, groups, limit = request.candidates, request.groups, request.limit
    given = 0 if candidates is None else len(candidates)
    if (candidates is None) == (limit is None):
        reason = NO_CANDIDATES if candidates is None else BAD_LIMIT
        raise RankingRefusedError(reason, "a request has either candidates or limit; this one has both or neither")
    if groups is not None and len(groups) != given:
        raise RankingRefusedError(BAD_GROUPS, f"{len(groups)} groups for {given} candidates; give one each")
    if request.max_per_group is not None and groups is None:
        raise RankingRefusedError(BAD_GROUPS, "max_per_group needs groups, one for each candidate")
    if limit is not None and not 1 <= limit <= MAX_CANDIDATES:
        raise RankingRefusedError(BAD_LIMIT, f"limit {limit} given; wanted 1 to {MAX_CANDIDATES}")
    if given > MAX_CANDIDATES:
        raise RankingRefusedError(
            TOO_MANY_CANDIDATES, f"{given} candidates given; split the request, at most {MAX_CANDIDATES} are ranked"
        )
    _check_filters(request)
    if request.max_per_group is not None and request.max_per_group < 1:
        raise RankingRefusedError(BAD_GROUPS, f"max_per_group {request.max_per_group} given; wanted at least 1")
    if request.top_k is not None and request.top_k < 1:
        raise RankingRefusedError(BAD_LIMIT, f"top_k {request.top_k} given; wanted at least 1")


def _check_filters(request: RankingRequest) -> None:
    filters, excluded = request.filters, request.exclude
    if request.candidates is not None and (filters is not None or excluded is not None):
        raise RankingRefusedError(BAD_FILTERS, "filters and exclude go with limit; candidates are ranked as they came")
    if filters is not None and None not in (filters.price_min, filters.price_max):
        low, high = filters.price_min or 0.0, filters.price_max or 0.0
        if low > high:
            raise RankingRefusedError(BAD_FILTERS, f"price_min {low:g} is above price_max {high:g}; no price is both")
    if excluded is not None and len(excluded) > MAX_CANDIDATES:
        raise RankingRefusedError(BAD_FILTERS, f"{len(excluded)} items excluded; at most {MAX_CANDIDATES} can be")


def check_deadline(request: RankingRequest, clock_ms: int) -> None:
    """Raise ``RankingRefusedError`` if the deadline has passed by the worker's clock.

    Only the pipeline compares, never a ranker: a deadline is about when the answer leaves, which no record's time
    shows, and a ranking that depends on records' times alone comes out of a replay as it was served.
    """
    if request.deadline_ms is not None and clock_ms > request.deadline_ms:
        late = clock_ms - request.deadline_ms
        raise RankingRefusedError(DEADLINE_PASSED, f"its turn came {late} ms after deadline_ms")
