"""What each action was worth: the same request ranked again without it, by the same ranker.

::

    history  a b c d        score(b's absence) of item 11 = 0.8, with b 1.3, place 4 instead of 1
               x        ->  effect of b on item 11: +0.5

An action is taken out of the state, so all that follows from it goes with it: its place in the sequence, its share in
the session vector, the age of the newest action. Candidates stay the same ones, also where retrieval found them. One
ranking an action tells the effect on every item.
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

Without = tuple[int | str, Ranking]  # what was left out, and what came of it
NO_ACTIONS, NO_USER_VECTOR = "all actions", "batch vector"


@dataclass(frozen=True)
class Standing:
    """Where an item stands in a ranking; neither if it was left out (``max_per_group``)."""

    score: float | None
    place: int | None  # from 1


NOWHERE = Standing(None, None)


@dataclass(frozen=True)
class Effect:
    """What something known did to one item."""

    of: int | str  # number of an action from the newest, 0; or all actions, or the user vector
    score: float | None  # score with it - score without it; None where the item was left out without it
    place_without: int | None


def whole_request(request: RankingRequest, ranking: Ranking) -> RankingRequest:
    """Return the request for the same candidates, all of them in the answer."""
    candidates = request.candidates
    if candidates is None:
        candidates = tuple(item.item_id for item in ranking.items)
    return msgspec.structs.replace(request, candidates=candidates, limit=None, top_k=None)


def standings(ranking: Ranking) -> dict[str, Standing]:
    """Return where each item stands, by the text of its id."""
    return {str(item.item_id): Standing(item.score, place) for place, item in enumerate(ranking.items, start=1)}


def without_action(state: UserState, number: int) -> UserState:
    """Return the state as if the action of that number, from the newest of the history, had never been."""
    packed, at = state.history.packed, number * ACTION_BYTES
    history = History(packed[:at] + packed[at + ACTION_BYTES :], state.history.limit)
    return UserState(history, state.tail, state.offset, state.total)


def without_actions(state: UserState) -> UserState:
    """Return the state of somebody who has never done anything."""
    return UserState(History(b"", state.history.limit))


def occluded(
    ranker: Ranker, request: RankingRequest, state: UserState, at_ms: int, numbers: Iterable[int]
) -> Iterator[Without]:
    """Rank again without each action, without all of them, and without the user vector."""
    blind = replace(ranker, offline=replace(ranker.offline, users=NoVectors(ranker.offline.users.dim)))
    yield NO_ACTIONS, ranker.rank(request, without_actions(state), at_ms)
    yield NO_USER_VECTOR, blind.rank(request, state, at_ms)
    for number in numbers:
        yield number, ranker.rank(request, without_action(state, number), at_ms)


def effects(items: Sequence[Id], base: Ranking, others: Iterable[Without]) -> dict[str, tuple[Effect, ...]]:
    """Return the effects on these items, by the text of their ids, in the order of ``others``."""
    with_all = standings(base)
    found: dict[str, list[Effect]] = {str(item): [] for item in items}
    for of, ranking in others:
        without = standings(ranking)
        for item, told in found.items():
            there, here = without.get(item, NOWHERE), with_all[item]
            told.append(Effect(of, _minus(here.score, there.score), there.place))
    return {item: tuple(told) for item, told in found.items()}


def _minus(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other
