"""Slates for a target that is another model: the candidates of served feeds, re-ranked with the states as of then.

::

    served-features  ---- items shown, propensities, which state they were made from ---\
    ranking-requests ---- all candidates, groups --------------------------------------- >  Slate
    user-actions     ---- Pipeline, up to that state's offset, the target's Ranker ----/

All candidates are known here, so feeds may have been cut by ``top_k``, and ``max_per_group`` counts as it did.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec

from rankstream.evaluation.leakage import TRAIN_AGAIN, impossible_model, impossible_table, refused_or_marked
from rankstream.evaluation.off_policy.slates import (
    NO_PROPENSITIES,
    TWICE,
    Slate,
    Target,
    UnusableError,
    scored_candidates,
    slate,
)
from rankstream.evaluation.point_in_time import LiveRankerAsOf, PartitionStates, RankerAsOf, as_served
from rankstream.evaluation.time_text import time_text
from rankstream.events.action_event import Record, Rejected
from rankstream.features.ids import Id, id_bytes, id_keys
from rankstream.features.user_state import NEVER, UserState
from rankstream.ranking.blend import first_positions
from rankstream.ranking.policies import Limits
from rankstream.ranking.request import RankingRefusedError, RankingRequest
from rankstream.streams.codec import ServedFeatures, decode_request

NO_REQUEST = "without its request in the log any more"
RETRIEVED = "of candidates that retrieval found, which the request does not name"
NO_STATE = "of a state that the log of actions does not lead to (retention, or actions that the bundle does not know)"

RequestOffset = tuple[int, int]  # partition and offset of a request

_decode = msgspec.json.Decoder(ServedFeatures).decode


@dataclass(frozen=True)
class Due:
    """An answer that waits for its state."""

    served: ServedFeatures
    request: RankingRequest
    asked_ms: int  # when its record was produced


class TargetRanker(RankerAsOf):
    """The target's model, with the user vectors that it would have had at each time."""

    def check_leak(self, from_ms: int, allow: bool) -> list[str]:
        """Return the marks of a leak that was allowed. Raises ``LeakError`` for one that was not."""
        manifest, items = self.bundle.manifest, self.bundle.items
        begins = f"but the feeds that it is evaluated on begin at {time_text(from_ms)}"
        wrong = impossible_model(manifest) or impossible_table(items, f"the items of {manifest.model_version}")
        if wrong:
            return refused_or_marked(wrong, TRAIN_AGAIN, allow)
        leaks = []
        if manifest.trained_until_ms > from_ms:
            until = time_text(manifest.trained_until_ms)
            leaks.append(
                f"the model {manifest.model_version} was trained on events until {until}, {begins}: it may have seen "
                "what users did with them"
            )
        if items.as_of_ms > from_ms:
            until = time_text(items.as_of_ms)
            leaks.append(f"the items of {manifest.model_version} have vectors of events until {until}, {begins}")
        return [mark for leak in leaks for mark in refused_or_marked(leak, "train on what came before", allow)]


@dataclass(frozen=True)
class Reranking:
    """How to rank again: the model, the policy over its scores, the reward of each action."""

    ranker: TargetRanker
    target: Target
    rewards: Mapping[str, float]
    positions: int

    def slate(self, due: Due, state: UserState) -> Slate:
        """Rank one request again. Raises ``UnusableError``."""
        served = due.served
        uncut = msgspec.structs.replace(due.request, top_k=None, max_per_group=None)
        try:
            ranking = self.ranker.at(served.at_ms).rank(uncut, state, due.asked_ms)
        except RankingRefusedError as exc:
            raise UnusableError(f"refused by the bundle: {exc.reason}") from exc
        by_id = {item.item_id: item for item in ranking.items}
        given = due.request.candidates or ()
        rows = _firsts(given)
        items = [by_id[given[row]] for row in rows]  # in the request's order, as when it was served
        candidates = replace(scored_candidates(items, self.target, self.rewards), limits=_limits(due.request, rows))
        return slate(served, served.at_ms, candidates, self.target.policy, self.positions)


def reranked_slates(
    served: Iterable[Record],
    requests: Iterable[Record],
    actions: Iterable[Record],
    reranking: Reranking,
    history_limit: int,
    skipped: Counter[str],
    allow_leak: bool = False,
    forget_after_ms: int = NEVER,
) -> tuple[list[Slate], list[str]]:
    """Return the slates, and the marks of leaks; the logs are read one after the other. Raises ``LeakError``."""
    due = _due(_served(served, skipped), requests, skipped)
    if not due:
        return [], []
    times_ms = [one.served.at_ms for dues in due.values() for one in dues]
    marks = reranking.ranker.check_leak(min(times_ms), allow_leak)
    partitions = {
        number: _Partition(dues, reranking, (history_limit, forget_after_ms), skipped) for number, dues in due.items()
    }
    for record in actions:
        if record.partition in partitions:
            partitions[record.partition].apply(record)
    for partition in partitions.values():
        partition.answer_before(None)
    return [one for partition in partitions.values() for one in partition.slates], marks


def _served(records: Iterable[Record], skipped: Counter[str]) -> dict[RequestOffset, ServedFeatures]:
    """Return what was served with exploration by the request that it answers."""
    found: dict[RequestOffset, ServedFeatures] = {}
    for record in records:
        if record.value is None:
            continue
        served = _decode(record.value)
        request = served.partition, served.offset
        if isinstance(served.policy, msgspec.UnsetType):
            skipped[NO_PROPENSITIES] += 1
        elif request in found:
            skipped[TWICE] += 1
        else:
            found[request] = served
    return found


def _due(
    answers: dict[RequestOffset, ServedFeatures], requests: Iterable[Record], skipped: Counter[str]
) -> dict[int, list[Due]]:
    """Return by partition what can be ranked again, in the order of the states, last first."""
    due: dict[int, list[Due]] = {}
    for record in requests:
        served = answers.pop((record.partition, record.offset), None)
        if served is None:
            continue
        record = as_served(record, served)
        try:
            request = decode_request(record)
        except Rejected:  # another record than the one that was answered: the topic was created again
            skipped[NO_REQUEST] += 1
            continue
        if request.candidates is None:
            skipped[RETRIEVED] += 1
        else:
            due.setdefault(served.partition, []).append(Due(served, request, record.timestamp))
    if answers:
        skipped[NO_REQUEST] += len(answers)
    for dues in due.values():
        dues.sort(key=lambda one: one.served.state_offset, reverse=True)
    return due


class _Partition:
    """One partition: its users as the log goes on, and the answers that wait for them."""

    def __init__(self, due: list[Due], reranking: Reranking, kept: tuple[int, int], skipped: Counter[str]) -> None:
        serving = LiveRankerAsOf(reranking.ranker.bundle.manifest.vocabulary, reranking.ranker.at(due[-1].served.at_ms))
        self.slates: list[Slate] = []
        self._due = due  # the next one last
        self._reranking = reranking
        self._skipped = skipped
        self._states = PartitionStates(serving, {id_bytes(one.served.user_id) for one in due}, *kept)

    def apply(self, record: Record) -> None:
        """Apply the next action, after the answers that were made from those before it."""
        self.answer_before(record.offset)
        self._states.apply(record)

    def answer_before(self, offset: int | None) -> None:
        """Rank again what was made from actions before ``offset``; everything if None."""
        while self._due and (offset is None or self._due[-1].served.state_offset < offset):
            due = self._due.pop()
            try:
                self.slates.append(self._reranking.slate(due, self._state(due.served)))
            except UnusableError as why:
                self._skipped[str(why)] += 1

    def _state(self, served: ServedFeatures) -> UserState:
        state = self._states.state(id_bytes(served.user_id))
        if state.offset != served.state_offset or state.total < served.state_actions:
            raise UnusableError(NO_STATE)
        return state


def _firsts(candidates: Sequence[Id]) -> list[int]:
    """Return the index of each candidate's first occurrence."""
    firsts: list[int] = first_positions(id_keys(candidates)).tolist()
    return firsts


def _limits(request: RankingRequest, rows: Sequence[int]) -> Limits:
    """Return the limits of a request for these of its candidates."""
    if request.groups is None:
        return Limits()
    return Limits([request.groups[row] for row in rows], request.max_per_group)
