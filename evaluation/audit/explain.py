"""Why an item stood where it stood: one answer taken apart, from the log that it came from.

::

    the answer in served-features  ->  when, from which state, by which model and tables
    user-actions up to that state  ->  what was known, how old; and what had happened but was not known yet
    ranked again                   ->  each head's probability, the utility's terms, the effect of each action

The state comes back by the pipeline that served it (``past.py``), so what is explained is what was served, and the
explanation says whether it is so to the bit.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from rankstream.evaluation.audit.diff import compare, in_words
from rankstream.evaluation.audit.explanation import ExplainedItem, Explanation, KnownAction, Sessions, Term, UserVector
from rankstream.evaluation.audit.occlusion import Effect, Without, effects, occluded, whole_request
from rankstream.evaluation.audit.user_records import Theirs, read_theirs
from rankstream.evaluation.point_in_time import GoneError, PastPartition, RankersOfThen
from rankstream.events.action_event import Record
from rankstream.features.actions import ACTION_BYTES, IDENTITY_BYTES, Vocabulary, unpack_action
from rankstream.features.embeddings.table import EmbeddingTable
from rankstream.features.history import History, split
from rankstream.features.ids import Id, id_bytes, id_keys
from rankstream.features.sessions import SESSION_GAP_MS, sessions_now
from rankstream.features.user_state import UserState
from rankstream.features.user_view import known_actions
from rankstream.ranking.blend import first_positions
from rankstream.ranking.exploration import NO_EXPLORATION
from rankstream.ranking.ranker import Ranker
from rankstream.ranking.request import FeedItem, Ranking, RankingRequest
from rankstream.streams.codec import ServedFeatures, decode_request
from rankstream.streams.records import Channel

BEST = 3  # items that are explained where none is named
Watch = Callable[[int, int], None]  # told how many rankings of how many are done


class ExplainError(ValueError):
    """An answer that can't be explained; one sentence with what to do."""


@dataclass(frozen=True)
class Scene:
    """One answer, and all that it was made from."""

    told: ServedFeatures
    state: UserState  # as it was, without what had not happened yet
    ranker: Ranker
    request: RankingRequest  # for all its candidates
    base: Ranking
    items: EmbeddingTable
    vocabulary: Vocabulary
    theirs: Theirs


def explain(
    told: ServedFeatures,
    request: Record,
    actions: Iterable[Record],
    rankers: RankersOfThen,
    history_limit: int,
    wanted: Sequence[Id] = (),
    watch: Watch = lambda done, of: None,
) -> Explanation:
    """Take one answer apart; ``actions`` hold those of its partition, in order. Raises ``ExplainError``."""
    serving, key = rankers.serving(), id_bytes(told.user_id)
    past = PastPartition(serving, {key}, history_limit)
    theirs = read_theirs(actions, told, request.timestamp, serving.vocabulary, past)
    state = past.state(key)
    if state.offset != told.state_offset:
        raise ExplainError(_no_state(told, state, theirs))
    try:
        serving.current = rankers.ranker(told)
    except GoneError as exc:
        raise ExplainError(f"request {told.request_id} can't be ranked again: {exc}") from exc
    differs = _differs(past, request, told)
    return _explanation(_scene(told, request, state, rankers, theirs), differs, wanted, watch)


def _no_state(told: ServedFeatures, state: UserState, theirs: Theirs) -> str:
    begins = "has no action of that partition" if theirs.first is None else f"begins at offset {theirs.first}"
    return (
        f"request {told.request_id} was ranked with the actions of user {told.user_id} up to offset "
        f"{told.state_offset} of partition {told.partition}, but the log {begins} and the last one found is at "
        f"{state.offset}: give a log that holds all actions of the user"
    )


def _differs(past: PastPartition, request: Record, told: ServedFeatures) -> str:
    """Return how what the pipeline writes now differs from what was served; "" if it does not."""
    for one in past.pipeline.on_requests([request]).answer():
        if one.channel is Channel.SERVED:
            computed = msgspec.json.decode(one.value, type=ServedFeatures)
            what, largest = compare(told, computed, 0.0)
            return in_words(told, computed, what, largest) if what else ""
    raise ExplainError(f"request {told.request_id} is refused now, so there is nothing to explain; is it that request?")


def _scene(told: ServedFeatures, record: Record, state: UserState, rankers: RankersOfThen, theirs: Theirs) -> Scene:
    bundle = rankers.bundle
    ranker = replace(rankers.ranker(told), exploration=NO_EXPLORATION)  # chance has no reasons to explain
    future = len(state.history) - len(known_actions(state, told.at_ms))
    history = History(state.history.packed[future * ACTION_BYTES :], state.history.limit)
    known = UserState(history, state.tail, state.offset, state.total)
    asked = decode_request(record)
    if not isinstance(told.policy, UnsetType):  # what it placed, limits of groups by score might leave out
        asked = msgspec.structs.replace(asked, groups=None, max_per_group=None)
    all_of_it = msgspec.structs.replace(asked, top_k=None)
    request = whole_request(asked, ranker.rank(all_of_it, known, told.at_ms))
    base = ranker.rank(request, known, told.at_ms)
    return Scene(told, known, ranker, request, base, bundle.items, bundle.manifest.vocabulary, theirs)


def _explanation(scene: Scene, differs: str, wanted: Sequence[Id], watch: Watch) -> Explanation:
    told, history = scene.told, _history(scene)
    chosen = _chosen(scene, wanted)
    others = occluded(scene.ranker, scene.request, scene.state, told.at_ms, range(len(history)))
    found = effects([item.item_id for _, item in chosen], scene.base, _watched(others, len(history) + 2, watch))
    given = scene.request.candidates or ()
    candidates = [given[place] for place in first_positions(id_keys(given))]
    return Explanation(
        request_id=told.request_id,
        user_id=told.user_id,
        at_ms=told.at_ms,
        model_version=told.model_version,
        policy=None if isinstance(told.policy, UnsetType) else told.policy,
        partition=told.partition,
        request_offset=told.offset,
        state_offset=told.state_offset,
        state_actions=told.state_actions,
        identical=not differs,
        differs=differs,
        history=history,
        missed=tuple(scene.theirs.missed),
        sessions=_sessions(scene),
        user_vector=_user_vector(scene),
        candidates=len(candidates),
        unknown_items=tuple(
            item for item, known in zip(candidates, _known(scene, candidates), strict=True) if not known
        ),
        items=tuple(_item(scene, place, item, found[str(item.item_id)]) for place, item in chosen),
    )


def _watched(steps: Iterable[Without], count: int, watch: Watch) -> Iterator[Without]:
    for done, step in enumerate(steps, start=1):
        yield step
        watch(done, count)


def _chosen(scene: Scene, wanted: Sequence[Id]) -> list[tuple[int, FeedItem]]:
    """Return the items to explain with their places: those named, or the first of the feed."""
    ranked = {str(item.item_id): (place, item) for place, item in enumerate(scene.base.items, start=1)}
    for item in wanted:
        if str(item) not in ranked:
            raise ExplainError(
                f"item {item} has no place in the answer to request {scene.told.request_id}: it was no candidate, or "
                f"left out of its group; the best ones are {', '.join(list(ranked)[:BEST])}"
            )
    first = [item.item_id for item in scene.told.items[:BEST] if str(item.item_id) in ranked]
    return [ranked[str(item)] for item in wanted or first]


def _item(scene: Scene, place: int, item: FeedItem, found: tuple[Effect, ...]) -> ExplainedItem:
    rows = zip(item.probabilities.items(), scene.ranker.weights, strict=True)
    fed = {str(one.item_id): (number, one.propensity) for number, one in enumerate(scene.told.items, start=1)}
    served_place, propensity = fed.get(str(item.item_id), (None, UNSET))
    return ExplainedItem(
        item_id=item.item_id,
        place=place,
        served_place=served_place,
        propensity=None if isinstance(propensity, UnsetType) else propensity,
        score=item.score,
        in_item_table=_known(scene, [item.item_id])[0],
        terms=tuple(Term(head, probability, weight, weight * probability) for (head, probability), weight in rows),
        effects=found,
    )


def _known(scene: Scene, items: Sequence[Id]) -> list[bool]:
    """Say of each item whether it is in the item table."""
    found: list[bool] = scene.items.rows(id_keys(items))[1].tolist()
    return found


def _history(scene: Scene) -> tuple[KnownAction, ...]:
    """Tell the known actions as their records told them, newest first."""
    columns, sizes = scene.state.history.columns(), scene.ranker.offline.sizes
    in_table = scene.items.rows(columns.item_keys)[1]
    ends = np.diff(columns.times_ms, prepend=columns.times_ms[:1]) < -SESSION_GAP_MS
    sessions, types = np.cumsum(ends), columns.action_types
    known = []
    for number, packed in enumerate(split(scene.state.history.packed)):
        origin, at_ms = scene.theirs.origins[packed[:IDENTITY_BYTES]], int(columns.times_ms[number])
        code, surface = int(types[number]), int(columns.surfaces[number])
        known.append(
            KnownAction(
                number=number,
                item_id=origin.item_id,
                action=scene.vocabulary.actions[code - 1],
                surface=scene.vocabulary.surfaces[surface - 1] if surface else None,
                value=2 ** float(columns.log_values[number]) - 1 if unpack_action(packed).value_code else None,
                occurred_at_ms=at_ms,
                age_ms=scene.told.at_ms - at_ms,
                session=int(sessions[number]),
                in_item_table=bool(in_table[number]),
                read_by_encoder=number < sizes.num_actions and code <= scene.ranker.num_types,
                offset=origin.offset,
                arrived_ms=origin.arrived_ms,
            )
        )
    return tuple(known)


def _sessions(scene: Scene) -> Sessions:
    tail = scene.state.tail
    sessions = sessions_now(tail, scene.state.history.columns(), scene.told.at_ms)
    folded = tail.tag == scene.ranker.offline.sessions.tag and bool(tail.state)
    return Sessions(len(sessions.opened), len(sessions.closed), folded)


def _user_vector(scene: Scene) -> UserVector:
    users = scene.ranker.offline.users
    as_of_ms = users.as_of_ms if isinstance(users, EmbeddingTable) else None
    age_ms = None if as_of_ms is None else scene.told.at_ms - as_of_ms
    return UserVector(scene.told.user_vectors, as_of_ms, age_ms, scene.base.user_vector_found)
