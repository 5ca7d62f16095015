"""Why an item has its rank: one answer taken apart, from the log that it came from.

::

    the answer in served-features  ->  when, from which state, by which model and tables
    user-actions up to that state  ->  what was known, how old; and what had happened but was not known yet
    ranked again                   ->  each head's probability, the utility's terms, the effect of each action

The state is rebuilt by the pipeline that served it (``point_in_time.py``), so what is explained is what was served,
and the explanation says whether it is so to the bit.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from rankstream.evaluation.audit.diff import compare, in_words
from rankstream.evaluation.audit.explanation import (
    CountsOfItems,
    ExplainedItem,
    Explanation,
    KnownAction,
    Sessions,
    Term,
    UserVector,
    VectorsOfItems,
)
from rankstream.evaluation.audit.occlusion import Effect, Without, effects, occluded, whole_request
from rankstream.evaluation.audit.user_records import UserRecords, read_user_records
from rankstream.evaluation.point_in_time import NotRetainedError, PartitionStates, RankersAsServed, as_served
from rankstream.events.action_event import Record
from rankstream.features.actions import ACTION_BYTES, IDENTITY_BYTES, ActionColumns, Vocabulary, unpack_action
from rankstream.features.embeddings.table import EmbeddingTable
from rankstream.features.history import History, split
from rankstream.features.ids import Id, id_bytes, id_keys
from rankstream.features.sessions import SESSION_GAP_MS, sessions_now
from rankstream.features.user_state import NEVER, UserState
from rankstream.features.user_view import known_actions
from rankstream.ranking.blend import first_positions
from rankstream.ranking.exploration import NO_EXPLORATION
from rankstream.ranking.ranker import Ranker
from rankstream.ranking.request import FeedItem, Ranking, RankingRequest
from rankstream.streams.codec import ServedFeatures, decode_request
from rankstream.streams.records import Channel

BEST = 3  # items that are explained where none is named
Progress = Callable[[int, int], None]  # how many rankings of how many are done


class ExplainError(ValueError):
    """An answer that can't be explained; one sentence with what to do."""


@dataclass(frozen=True)
class AnswerContext:
    """One answer, and everything that it was made from."""

    served: ServedFeatures
    state: UserState  # as it was, without what the request did not see
    ranker: Ranker
    request: RankingRequest  # for all its candidates
    base: Ranking
    proposed: Ranking  # of all its candidates, as they were found for it
    items: EmbeddingTable
    vocabulary: Vocabulary
    records: UserRecords

    @property
    def actions(self) -> ActionColumns:
        """The state's actions as the ranker saw them: none later than the request."""
        columns = self.state.history.columns()
        return replace(columns, times_ms=np.minimum(columns.times_ms, self.served.at_ms))


def explain(
    served: ServedFeatures,
    request: Record,
    actions: Iterable[Record],
    rankers: RankersAsServed,
    history_limit: int,
    items: Sequence[Id] = (),
    progress: Progress = lambda done, of: None,
    forget_after_ms: int = NEVER,
) -> Explanation:
    """Take one answer apart; ``actions`` hold those of its partition, in order. Raises ``ExplainError``."""
    serving, key, request = rankers.serving(), id_bytes(served.user_id), as_served(request, served)
    states = PartitionStates(serving, {key}, history_limit, forget_after_ms)
    records = read_user_records(actions, served, request.timestamp, serving.vocabulary, states)
    state = states.state(key)
    if state.offset != served.state_offset:
        raise ExplainError(_no_state(served, state, records))
    try:
        serving.current = rankers.ranker(served)
    except NotRetainedError as exc:
        raise ExplainError(f"request {served.request_id} can't be ranked again: {exc}") from exc
    differs = _differs(states, request, served)
    return _explanation(_context(served, request, state, rankers, records), differs, items, progress)


def _no_state(served: ServedFeatures, state: UserState, records: UserRecords) -> str:
    begins = "has no action of that partition" if records.first is None else f"begins at offset {records.first}"
    return (
        f"request {served.request_id} was ranked with the actions of user {served.user_id} up to offset "
        f"{served.state_offset} of partition {served.partition}, but the log {begins} and the last one found is at "
        f"{state.offset}: give a log that holds all actions of the user"
    )


def _differs(states: PartitionStates, request: Record, served: ServedFeatures) -> str:
    """Return how what the pipeline writes now differs from what was served; "" if it does not."""
    for one in states.pipeline.on_requests([request]).answer():
        if one.channel is Channel.SERVED:
            computed = msgspec.json.decode(one.value, type=ServedFeatures)
            fields, largest = compare(served, computed, 0.0)
            return in_words(served, computed, fields, largest) if fields else ""
    raise ExplainError(
        f"request {served.request_id} is refused now, so there is nothing to explain; is it that request?"
    )


def _context(
    served: ServedFeatures, record: Record, state: UserState, rankers: RankersAsServed, records: UserRecords
) -> AnswerContext:
    items = rankers.items(served).table
    ranker = replace(rankers.ranker(served), exploration=NO_EXPLORATION)  # sampling has no reasons
    original = decode_request(record)
    seen = known_actions(state.history.columns(), served.at_ms, original.seen_until_ms(record.timestamp))
    history = History(state.history.packed[(len(state.history) - len(seen)) * ACTION_BYTES :], state.history.limit)
    known = UserState(history, state.tail, state.offset, state.total, state.departed, state.forgotten_ms)
    if not isinstance(served.policy, UnsetType):  # limits of groups by score might leave out what it explored
        original = msgspec.structs.replace(original, groups=None, max_per_group=None)
    uncut = msgspec.structs.replace(original, top_k=None)
    proposed = ranker.rank(uncut, known, served.at_ms)
    request = whole_request(original, proposed)
    base = ranker.rank(request, known, served.at_ms)
    return AnswerContext(served, known, ranker, request, base, proposed, items, rankers.vocabulary, records)


def _explanation(context: AnswerContext, differs: str, items: Sequence[Id], progress: Progress) -> Explanation:
    served, history = context.served, _history(context)
    chosen = _chosen(context, items)
    others = occluded(context.ranker, context.request, context.state, served.at_ms, range(len(history)))
    tables = context.ranker.offline
    count = len(history) + 2 + bool(len(tables.attributes)) + bool(tables.profiles.width)
    found = effects([item.item_id for _, item in chosen], context.base, _watched(others, count, progress))
    given = context.request.candidates or ()
    candidates = [given[index] for index in first_positions(id_keys(given))]
    return Explanation(
        request_id=served.request_id,
        user_id=served.user_id,
        at_ms=served.at_ms,
        model_version=served.model_version,
        calibrated=context.ranker.calibrated,
        policy=None if isinstance(served.policy, UnsetType) else served.policy,
        partition=served.partition,
        request_offset=served.offset,
        state_offset=served.state_offset,
        state_actions=served.state_actions,
        identical=not differs,
        differs=differs,
        history=history,
        missed=tuple(context.records.missed),
        sessions=_sessions(context),
        user_vector=_user_vector(context),
        item_counts=_item_counts(context),
        item_vectors=_item_vectors(context),
        candidates=len(candidates),
        unknown_items=tuple(
            item for item, known in zip(candidates, _known(context, candidates), strict=True) if not known
        ),
        items=tuple(_item(context, rank, item, found[str(item.item_id)]) for rank, item in chosen),
    )


def _watched(steps: Iterable[Without], count: int, progress: Progress) -> Iterator[Without]:
    for done, step in enumerate(steps, start=1):
        yield step
        progress(done, count)


def _chosen(context: AnswerContext, items: Sequence[Id]) -> list[tuple[int, FeedItem]]:
    """Return the items to explain with their ranks: those named, or the first of the feed."""
    ranked = {str(item.item_id): (rank, item) for rank, item in enumerate(context.base.items, start=1)}
    for item in items:
        if str(item) not in ranked:
            raise ExplainError(
                f"item {item} is not in the answer to request {context.served.request_id}: it was no candidate, or "
                f"left out of its group; the best ones are {', '.join(list(ranked)[:BEST])}"
            )
    first = [item.item_id for item in context.served.items[:BEST] if str(item.item_id) in ranked]
    return [ranked[str(item)] for item in items or first]


def _item(context: AnswerContext, rank: int, item: FeedItem, found: tuple[Effect, ...]) -> ExplainedItem:
    rows = zip(item.probabilities.items(), context.ranker.weights, strict=True)
    fed = {str(one.item_id): (number, one.propensity) for number, one in enumerate(context.served.items, start=1)}
    served_rank, propensity = fed.get(str(item.item_id), (None, UNSET))
    found_by = next(one for one in context.proposed.items if str(one.item_id) == str(item.item_id))
    return ExplainedItem(
        item_id=item.item_id,
        rank=rank,
        served_rank=served_rank,
        propensity=None if isinstance(propensity, UnsetType) else propensity,
        score=item.score,
        in_item_table=_known(context, [item.item_id])[0],
        terms=tuple(Term(head, probability, weight, weight * probability) for (head, probability), weight in rows),
        effects=found,
        source=None if isinstance(found_by.source, UnsetType) else found_by.source,
        because_of=None if isinstance(found_by.because_of, UnsetType) else found_by.because_of,
    )


def _known(context: AnswerContext, items: Sequence[Id]) -> list[bool]:
    """Return of each item whether it is in the item table."""
    found: list[bool] = context.items.rows(id_keys(items))[1].tolist()
    return found


def _history(context: AnswerContext) -> tuple[KnownAction, ...]:
    """Return the known actions as their records hold them, newest first."""
    columns, sizes = context.actions, context.ranker.offline.sizes
    in_table = context.items.rows(columns.item_keys)[1]
    ends = np.diff(columns.times_ms, prepend=columns.times_ms[:1]) < -SESSION_GAP_MS
    sessions, types = np.cumsum(ends), columns.action_types
    known = []
    for number, packed in enumerate(split(context.state.history.packed)):
        origin = context.records.origins[packed[:IDENTITY_BYTES]]
        code, surface = int(types[number]), int(columns.surfaces[number])
        known.append(
            KnownAction(
                number=number,
                item_id=origin.item_id,
                action=context.vocabulary.actions[code - 1],
                surface=context.vocabulary.surfaces[surface - 1] if surface else None,
                value=2 ** float(columns.log_values[number]) - 1 if unpack_action(packed).value_code else None,
                occurred_at_ms=unpack_action(packed).occurred_at_ms,
                age_ms=context.served.at_ms - int(columns.times_ms[number]),
                session=int(sessions[number]),
                in_item_table=bool(in_table[number]),
                read_by_encoder=number < sizes.num_actions and code <= context.ranker.num_types,
                offset=origin.offset,
                arrival_delay_ms=origin.arrival_delay_ms,
            )
        )
    return tuple(known)


def _sessions(context: AnswerContext) -> Sessions:
    tail = context.state.tail
    sessions = sessions_now(tail, context.actions, context.served.at_ms)
    folded = tail.tag == context.ranker.offline.sessions.tag and bool(tail.state)
    return Sessions(len(sessions.opened), len(sessions.closed), folded)


def _user_vector(context: AnswerContext) -> UserVector:
    users = context.ranker.offline.users
    as_of_ms = users.as_of_ms if isinstance(users, EmbeddingTable) else None
    age_ms = None if as_of_ms is None else context.served.at_ms - as_of_ms
    return UserVector(context.served.user_vectors, as_of_ms, age_ms, context.base.user_vector_found)


def _item_counts(context: AnswerContext) -> CountsOfItems:
    features = context.ranker.offline.item_features
    as_of_ms = features.as_of_ms if isinstance(features, EmbeddingTable) else context.items.as_of_ms
    return CountsOfItems(context.served.item_counts, as_of_ms, context.served.at_ms - as_of_ms)


def _item_vectors(context: AnswerContext) -> VectorsOfItems:
    as_of_ms = context.items.as_of_ms
    return VectorsOfItems(context.ranker.item_vectors, as_of_ms, context.served.at_ms - as_of_ms)
