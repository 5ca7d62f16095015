"""The effect of each action by occlusion: the same request ranked again without it, by the same ranker.

::

    history  a b c d        score of item 11 without b 0.8, with b 1.3; rank 4 instead of 1
               x        ->  effect of b on item 11: +0.5

An action is taken out of the state, so all that follows from it goes with it: its position in the sequence, its part
of the session vector, the age of the newest action. Candidates stay the same ones, also where retrieval found them. One
ranking an action yields the effect on every item.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import msgspec

from rankstream.features.actions import ACTION_BYTES
from rankstream.features.embeddings.base import NoVectors
from rankstream.features.history import History
from rankstream.features.ids import Id
from rankstream.features.user_state import UserState
from rankstream.ranking.ranker import Ranker
from rankstream.ranking.request import Ranking, RankingRequest

Without = tuple[int | str, Ranking]  # what was left out, and the ranking without it
NO_ACTIONS, NO_USER_VECTOR = "all actions", "batch vector"
NO_ATTRIBUTES, NO_PROFILE = "what items are", "what the user is"


@dataclass(frozen=True)
class ScoreAndRank:
    """An item's score and rank; neither if it was left out (``max_per_group``)."""

    score: float | None
    rank: int | None  # from 1


LEFT_OUT = ScoreAndRank(None, None)


@dataclass(frozen=True)
class Effect:
    """The effect of something known on one item."""

    of: int | str  # number of an action from the newest, 0; or one of the above
    score: float | None  # score with it - score without it; None where the item was left out without it
    rank_without: int | None


def whole_request(request: RankingRequest, ranking: Ranking) -> RankingRequest:
    """Return the request for the same candidates, all of them in the answer."""
    candidates = request.candidates
    if candidates is None:
        candidates = tuple(item.item_id for item in ranking.items)
    return msgspec.structs.replace(request, candidates=candidates, limit=None, top_k=None, exclude=None, filters=None)


def scores_and_ranks(ranking: Ranking) -> dict[str, ScoreAndRank]:
    """Return each item's score and rank, by the text of its id."""
    return {str(item.item_id): ScoreAndRank(item.score, rank) for rank, item in enumerate(ranking.items, start=1)}


def without_action(state: UserState, number: int) -> UserState:
    """Return the state as if the action of that number, from the newest of the history, had never been."""
    packed, at = state.history.packed, number * ACTION_BYTES
    history = History(packed[:at] + packed[at + ACTION_BYTES :], state.history.limit)
    return UserState(history, state.tail, state.offset, state.total, state.departed, state.forgotten_ms)


def without_actions(state: UserState) -> UserState:
    """Return the state of a user who has never done anything."""
    return UserState(History(b"", state.history.limit))


def occluded(
    ranker: Ranker, request: RankingRequest, state: UserState, at_ms: int, numbers: Iterable[int]
) -> Iterator[Without]:
    """Rank again without each action, without all of them, the user vector, what items are, and what the user is.

    The last two only where the model was trained with a catalogue, or with a file of users.
    """
    blind = replace(ranker, offline=replace(ranker.offline, users=NoVectors(ranker.offline.users.dim)))
    yield NO_ACTIONS, ranker.rank(request, without_actions(state), at_ms)
    yield NO_USER_VECTOR, blind.rank(request, state, at_ms)
    if len(attributes := ranker.offline.attributes):
        nameless = replace(ranker, offline=replace(ranker.offline, attributes=attributes.of_no_item()))
        yield NO_ATTRIBUTES, nameless.rank(request, state, at_ms)
    if (profiles := ranker.offline.profiles).width:
        anyone = replace(ranker, offline=replace(ranker.offline, profiles=profiles.of_no_user()))
        yield NO_PROFILE, anyone.rank(request, state, at_ms)
    for number in numbers:
        yield number, ranker.rank(request, without_action(state, number), at_ms)


def effects(items: Sequence[Id], base: Ranking, others: Iterable[Without]) -> dict[str, tuple[Effect, ...]]:
    """Return the effects on these items, by the text of their ids, in the order of ``others``."""
    with_all = scores_and_ranks(base)
    found: dict[str, list[Effect]] = {str(item): [] for item in items}
    for of, ranking in others:
        without = scores_and_ranks(ranking)
        for item, measured in found.items():
            there, here = without.get(item, LEFT_OUT), with_all[item]
            measured.append(Effect(of, _minus(here.score, there.score), there.rank))
    return {item: tuple(measured) for item, measured in found.items()}


def _minus(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other
