"""A visitor as the page tells of it: who, and all that it did, oldest first; and the state that follows from that.

The page keeps the list, so the server keeps nothing of anybody: the feed without realtime actions, the one of a minute
ago and the reasons of an item are all ranked with states made anew of a part of the list, by the pipeline that serves.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Struct

from rankstream.events.action_event import ActionEvent, Name, Rejected, TimeMs, WireId, check_time, decoded
from rankstream.features.history import DEFAULT_LIMIT
from rankstream.features.ids import id_bytes
from rankstream.features.stores.cache import UserCache
from rankstream.features.stores.memory import MemoryStore
from rankstream.features.user_state import UserState
from rankstream.ranking.request import MAX_CANDIDATES, RankingRequest
from rankstream.streams.codec import DeadLetter
from rankstream.streams.pipeline import Pipeline, ServingState
from rankstream.streams.records import recorded_actions

MAX_ACTIONS = 1_000  # of a visitor: it sends all of them with each question
MAX_VISIT_BYTES = 1 << 20

V = TypeVar("V", bound="Visit")

_decode_dead_letter = msgspec.json.Decoder(DeadLetter).decode


class Did(Struct, frozen=True):
    """One action of the visitor."""

    item_id: WireId
    action: Name
    timestamp_ms: TimeMs


class Visit(Struct, frozen=True, kw_only=True):
    """A visitor, and the feed that the page compares: asked for at ``timestamp_ms`` as ``request_id``."""

    user_id: WireId
    request_id: WireId
    timestamp_ms: TimeMs
    limit: Annotated[int, Meta(ge=1, le=MAX_CANDIDATES)]
    top_k: Annotated[int, Meta(ge=1, le=MAX_CANDIDATES)]
    actions: Annotated[tuple[Did, ...], Meta(max_length=MAX_ACTIONS)] = ()

    def request(self, request_id: WireId | None = None) -> RankingRequest:
        """Return the request for the feed, under another name where one is given."""
        named = self.request_id if request_id is None else request_id
        return RankingRequest(named, self.user_id, limit=self.limit, top_k=self.top_k, timestamp_ms=self.timestamp_ms)


class StaleVisit(Visit, frozen=True, kw_only=True):
    """A visit, and how old an action must be to count."""

    older_than_ms: Annotated[int, Meta(ge=0, le=7 * 24 * 3_600_000)]


class AskedWhy(Visit, frozen=True, kw_only=True):
    """A visit, and the item of its feed that the visitor asks about."""

    item_id: WireId


decode_stale_visit: Callable[[bytes], StaleVisit] = msgspec.json.Decoder(StaleVisit).decode
decode_why: Callable[[bytes], AskedWhy] = msgspec.json.Decoder(AskedWhy).decode


def read_stale_visit(body: bytes, now_ms: int) -> StaleVisit:
    """Return the visit of a body. Raises ``Rejected``."""
    return _checked(decoded(body, decode_stale_visit, MAX_VISIT_BYTES, "a visit"), now_ms)


def read_why(body: bytes, now_ms: int) -> AskedWhy:
    """Return the question of a body. Raises ``Rejected``."""
    return _checked(decoded(body, decode_why, MAX_VISIT_BYTES, "a question about an item"), now_ms)


def _checked(visit: V, now_ms: int) -> V:
    for at_ms in (visit.timestamp_ms, *(one.timestamp_ms for one in visit.actions)):
        check_time("timestamp_ms", at_ms, now_ms, "the server's clock")
    return visit


@dataclass(frozen=True)
class Replica:
    """Makes states of actions as a worker would have them; keeps none."""

    serving: ServingState
    history_limit: int = DEFAULT_LIMIT

    def state(self, visit: Visit, actions: Sequence[Did]) -> UserState:
        """Return the visitor's state after these actions. Raises ``Rejected`` for one that a worker would reject."""
        pipeline = Pipeline(UserCache(MemoryStore(), self.history_limit), self.serving)
        for out in pipeline.on_actions(recorded_actions(_events(visit, actions))):
            letter = _decode_dead_letter(out.value)
            raise Rejected(letter.reason, f"action {letter.offset}: {letter.message}")
        return pipeline.users.get(id_bytes(visit.user_id))


def _events(visit: Visit, actions: Iterable[Did]) -> list[ActionEvent]:
    return [ActionEvent(visit.user_id, one.item_id, one.action, one.timestamp_ms) for one in actions]
