"""Why an item stands where it does: its feed ranked again without each action, by the code of `rankstream explain`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import msgspec
from msgspec import Struct, UnsetType

from rankstream.evaluation.audit.occlusion import NO_ACTIONS, Effect, effects, occluded, whole_request
from rankstream.events.action_event import Rejected
from rankstream.features.actions import ACTION_BYTES, Vocabulary, unpack_action
from rankstream.features.ids import Id, id_bytes, id_key
from rankstream.features.user_state import UserState
from rankstream.ranking.exploration import NO_EXPLORATION
from rankstream.ranking.ranker import Ranker
from rankstream.ranking.request import FeedItem, Ranking
from rankstream.web.visit import AskedWhy, Replica

NOT_IN_FEED = "not-in-feed"
ACTION = "action"
NEWEST = 30  # actions that are left out in turn: each is a ranking, and people wait


class RankerServing(Protocol):
    """What serves: ``ranking.serving.LiveRanker``, or an experiment."""

    @property
    def vocabulary(self) -> Vocabulary:
        """The names of actions."""
        ...

    def for_user(self, key: bytes) -> Ranker:
        """Return the ranker of a user."""
        ...


class Cause(Struct, frozen=True):
    """Something known of the visitor, and what the item would be without it."""

    of: str  # ``ACTION``, or what ``occlusion.py`` names
    score: float | None  # with it less without it; None: the item is left out without it
    rank_without: int | None
    item_id: Id | None = None  # of an action
    action: str | None = None
    age_ms: int | None = None


class HeadTerm(Struct, frozen=True):
    """One head's part of the score."""

    head: str
    probability: float
    weight: float


class Reasons(Struct, frozen=True):
    """Why one item has its rank."""

    item_id: Id
    rank: int
    candidates: int
    score: float
    source: str | None  # None: the worker has no catalogue, and tells none
    because_of: Id | None
    terms: list[HeadTerm]
    causes: list[Cause]  # the largest effect first; all actions at once stand in front
    left_out: int  # older actions that were not looked at one by one


@dataclass(frozen=True)
class Explainer:
    """Explains items of visitors' feeds."""

    serving: RankerServing
    replica: Replica

    def explain(self, asked: AskedWhy) -> Reasons:
        """Return the reasons of an item. Raises ``Rejected`` where the feed lacks it, and ``RankingRefusedError``."""
        served = self.serving.for_user(id_bytes(asked.user_id))
        ranker = replace(served, exploration=NO_EXPLORATION)  # sampling has no reasons
        state, at_ms = self.replica.state(asked, asked.actions), asked.timestamp_ms
        uncut = ranker.rank(msgspec.structs.replace(asked.request(), top_k=None), state, at_ms)
        rank, item = _ranked(uncut, asked.item_id)
        request, numbers = whole_request(asked.request(), uncut), range(min(NEWEST, len(state.history)))
        without = occluded(ranker, request, state, at_ms, numbers)
        found = effects([item.item_id], ranker.rank(request, state, at_ms), without)[str(item.item_id)]
        return Reasons(
            item_id=item.item_id,
            rank=rank,
            candidates=len(uncut.items),
            score=item.score,
            source=None if isinstance(item.source, UnsetType) else item.source,
            because_of=None if isinstance(item.because_of, UnsetType) else item.because_of,
            terms=_terms(item, ranker.weights),
            causes=_causes(found, state, asked, self.serving.vocabulary),
            left_out=len(state.history) - len(numbers),
        )


def _ranked(ranking: Ranking, item_id: Id) -> tuple[int, FeedItem]:
    for rank, item in enumerate(ranking.items, start=1):
        if str(item.item_id) == str(item_id):
            return rank, item
    raise Rejected(NOT_IN_FEED, f"item {item_id} is not in this feed any more; ask about one that is")


def _terms(item: FeedItem, weights: Sequence[float]) -> list[HeadTerm]:
    return [
        HeadTerm(head, one, weight) for (head, one), weight in zip(item.probabilities.items(), weights, strict=True)
    ]


def _causes(found: Sequence[Effect], state: UserState, asked: AskedWhy, vocabulary: Vocabulary) -> list[Cause]:
    """Return the effects with what they are of; the largest first, all actions at once in front."""
    ids = {id_key(one.item_id): one.item_id for one in asked.actions}
    causes = [_cause(effect, state, asked, ids, vocabulary) for effect in found]
    return sorted(causes, key=lambda one: (one.of != NO_ACTIONS, -abs(one.score or 0.0)))


def _cause(effect: Effect, state: UserState, asked: AskedWhy, ids: Mapping[int, Id], vocabulary: Vocabulary) -> Cause:
    if isinstance(effect.of, str):
        return Cause(effect.of, effect.score, effect.rank_without)
    at = effect.of * ACTION_BYTES
    action = unpack_action(state.history.packed[at : at + ACTION_BYTES])
    return Cause(
        ACTION,
        effect.score,
        effect.rank_without,
        ids[action.item_key],
        vocabulary.actions[action.action_type - 1],
        max(0, asked.timestamp_ms - action.occurred_at_ms),
    )
