"""Ranker: one request and one user's state in, one feed out.

::

    candidates, or those of sources -> join -> score -> utility -> blend -> Ranking
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import repeat
from time import perf_counter

import numpy as np
from msgspec import UNSET, UnsetType
from msgspec.structs import replace as replaced

from rankstream.features.actions import MAX_ACTION_TYPES
from rankstream.features.embeddings.live import snapshot, table_version
from rankstream.features.ids import Id, Keys, id_key, id_keys
from rankstream.features.join import Join, OfflineFeatures, join, match_user
from rankstream.features.matches.columns import UserMatches
from rankstream.features.schema import CONTEXT_NAMES, Floats, ModelInputs
from rankstream.features.user_state import UserState
from rankstream.ranking.backends.base import Backend
from rankstream.ranking.blend import blend, first_positions
from rankstream.ranking.exploration import NO_EXPLORATION, Exploration
from rankstream.ranking.policies import Limits, Placed
from rankstream.ranking.popularity import POPULARITY, Popularity
from rankstream.ranking.request import (
    NO_CANDIDATES,
    FeedItem,
    Ranking,
    RankingRefusedError,
    RankingRequest,
    Variant,
    check_request,
)
from rankstream.ranking.retrieval_mix import (
    DEFAULT_MIX,
    RetrievalMix,
    Retrieved,
    Shelf,
    popular_instead,
    retrieve,
    retrieve_popular,
)
from rankstream.ranking.utility import Scores, utility
from rankstream.retrieval.mix import MixedSource
from rankstream.retrieval.source import CandidateSource

NO_RETRIEVAL = "no-retrieval"
NO_SCORE = "no-score"
NO_POPULARITY = "no-popularity"
NOTHING_TO_RANK = "there is nothing to rank: no candidate given or found"
CANT_PROPOSE = "this worker can't propose items; give candidates in the request"

ACTION_COLUMNS = ("action_types", "action_items", "action_ages_ms", "action_found")
USER_FOUND = CONTEXT_NAMES.index("user_found")


@dataclass(frozen=True)
class Candidates:
    """What is to be ranked: each item once, and its group where groups were given."""

    ids: Sequence[Id]
    keys: Keys
    groups: Sequence[Id] | None
    sources: Sequence[str] | None = None  # of each, what proposed it
    because_of: Mapping[str, Id] = field(default_factory=dict)  # sources that asked with one item: the item
    catalogue: str | None = None  # version that they were found with
    mix: str | None = None  # that they were found by
    index: str | None = None  # that they were found in; None: none were, or all items were compared

    def source(self, at: int) -> str | UnsetType:
        """Return what proposed one of them, where that is told."""
        return UNSET if self.sources is None else self.sources[at]

    def reason(self, at: int) -> Id | UnsetType:
        """Return the item that one of them was proposed because of, where that is told."""
        return UNSET if self.sources is None else self.because_of.get(self.sources[at], UNSET)


@dataclass(frozen=True)
class Ranker:
    """All that an answer is made of, immutable: the model, the tables, the weights, the source of candidates."""

    model_version: str
    heads: tuple[str, ...]
    weights: tuple[float, ...]  # of the heads
    backend: Backend
    offline: OfflineFeatures
    num_types: int = MAX_ACTION_TYPES  # that the model was trained with
    surface_codes: Mapping[str, int] = field(default_factory=dict)  # of the vocabulary, from 1
    source: CandidateSource | None = None
    exploration: Exploration = NO_EXPLORATION
    calibrated: tuple[str, ...] | None = None  # heads whose numbers are probabilities; None: the bundle does not say
    item_counts: str | None = None  # version of those in ``offline`` and ``source``; None for the bundle's own
    item_vectors: str | None = None  # version of those in ``offline`` and ``source``; None for the bundle's own
    item_index: str | None = None  # that ``source`` searches; None where it compares all items
    interests: str | None = None  # version of those that ``source`` asks with; None without any
    graph: str | None = None  # version of that which ``source`` walks on besides sessions; None without one
    scorer: str | None = None  # what runs the graphs in ``backend``; None for ONNX Runtime, the default
    popularity: Popularity | None = None  # orders what there is no time to score
    mix: RetrievalMix = DEFAULT_MIX  # shares of the sources, where there is a catalogue
    shelf: Shelf | None = None  # what can be had; None: no catalogue
    join: Join = join  # the plain one, or one that gives the same bytes
    described: CandidateSource | None = None  # of new items, by what they are; None: there are none
    variant: Variant | None = None  # of an experiment; None outside one

    def rank(self, request: RankingRequest, state: UserState, now_ms: int) -> Ranking:
        """Answer a request as of its timestamp, or ``now_ms``, when it was asked (UTC). Raises ``RankingRefusedError``.

        Its deadline is not looked at: see ``request.check_deadline``.
        """
        check_request(request)
        at_ms = request.as_of(now_ms)
        started = perf_counter()
        offline = self._offline_now()
        user = match_user(state, id_key(request.user_id), at_ms, offline, request.seen_until_ms(now_ms))
        candidates = self._candidates(request, user)
        found = perf_counter()
        surface = self.surface_codes.get(request.surface or "", 0)
        inputs = without_newer_types(self.join(user, candidates.keys, offline, surface), self.num_types)
        joined = perf_counter()
        probabilities = self.backend.score(inputs)
        scores = utility(probabilities, self.weights)
        if not np.isfinite(scores).all() or not np.isfinite(probabilities).all():
            raise RankingRefusedError(NO_SCORE, f"model {self.model_version} gave a score that is no number")
        scored = perf_counter()
        limits = Limits(candidates.groups, request.max_per_group, request.top_k)
        placed = self.exploration.place(scores, limits, request.user_id, request.request_id)
        items = _items(placed, candidates, scores, probabilities, self.heads)
        entropy = self.exploration.entropy(scores)
        done = perf_counter()
        timings = {
            "retrieve": found - started,
            "join": joined - found,
            "score": scored - joined,
            "blend": done - scored,
            "total": done - started,
        }
        timings_ms = {step: 1e3 * seconds for step, seconds in timings.items()}
        return self._ranking(items, inputs, table_version(offline.users), timings_ms, entropy, candidates)

    def rank_by_popularity(self, request: RankingRequest) -> Ranking:
        """Answer a request without its user and without the model, in a hundredth of the time.

        Candidates keep their order where nothing is known of them; probabilities are empty, and exploration is off.
        Raises ``RankingRefusedError``.
        """
        check_request(request)
        started = perf_counter()
        popularity = self.popularity
        if popularity is None:
            raise RankingRefusedError(NO_POPULARITY, "this worker does not know how popular items are")
        ids, groups, sources = self._popular(request, popularity)
        standing = popularity.remembered.standing(ids)
        firsts = standing.firsts()
        if firsts is not None:  # an item that comes twice counts once
            standing = standing.of(firsts)
            groups, sources = (None if one is None else [one[at] for at in firsts] for one in (groups, sources))
        order = blend(standing.scores, groups, request.max_per_group, request.top_k)
        items = standing.items(order)
        if sources is not None:
            items = tuple(replaced(item, source=sources[at]) for item, at in zip(items, order, strict=True))
        return Ranking(
            items=items,
            heads=self.heads,
            model_version=self.model_version,
            actions_used=0,
            newest_action_age_ms=None,
            user_vector_found=False,
            unknown_items=int(np.count_nonzero(~standing.known)),
            timings_ms={"total": 1e3 * (perf_counter() - started)},
            item_counts=self.item_counts,
            num_candidates=len(standing.ids),
            fallback=POPULARITY,
            variant=self.variant,
        )

    def _popular(
        self, request: RankingRequest, popularity: Popularity
    ) -> tuple[Sequence[Id], Sequence[Id] | None, Sequence[str] | None]:
        """Return the request's candidates, or the most popular items in place of what a source would propose.

        Beside them stand their groups, and their sources where these are told. Raises ``RankingRefusedError``.
        """
        if request.candidates is not None:
            return request.candidates, request.groups, None
        if self.source is None:
            raise RankingRefusedError(NO_RETRIEVAL, CANT_PROPOSE)
        found = retrieve_popular(request, popularity.best, self.shelf)
        if not found[0]:
            raise RankingRefusedError(NO_CANDIDATES, NOTHING_TO_RANK)
        return found

    def _offline_now(self) -> OfflineFeatures:
        """Hold one version of the user vectors: retrieval and join must not see two, nor the answer name a third."""
        users = snapshot(self.offline.users)
        return self.offline if users is self.offline.users else replace(self.offline, users=users)

    def _candidates(self, request: RankingRequest, user: UserMatches) -> Candidates:
        """Return the request's candidates, or what the source proposes, each item once."""
        if request.candidates is not None:
            return _each_once(request.candidates, request.groups)
        if self.source is None:
            raise RankingRefusedError(NO_RETRIEVAL, CANT_PROPOSE)
        found = self.retrieve(request, user, self.source)
        beside = (found.catalogue, self.described)
        several = isinstance(self.source, MixedSource) or any(one is not None for one in beside)
        told = several or found.is_fallback
        candidates = _each_once(found.ids, None, found.sources if told else None)
        return replace(
            candidates,
            because_of=found.because_of,
            catalogue=found.catalogue,
            mix=found.mix,
            index=self.item_index,
        )

    def retrieve(self, request: RankingRequest, user: UserMatches, source: CandidateSource) -> Retrieved:
        """Return what ``source`` proposes, or what is popular where that is nothing. Raises ``RankingRefusedError``."""
        found = retrieve(request, user, source, self.mix, self.shelf, self.described)
        if found.ids or self.popularity is None:
            return found
        seen = user.excluded if self.mix.exclude_seen else None
        return popular_instead(request, self.popularity.best, found, seen)

    def _ranking(
        self,
        items: tuple[FeedItem, ...],
        inputs: ModelInputs,
        user_vectors: str | None,
        timings_ms: dict[str, float],
        entropy: float | None,
        candidates: Candidates,
    ) -> Ranking:
        ages = inputs.action_ages_ms
        return Ranking(
            items=items,
            heads=self.heads,
            model_version=self.model_version,
            actions_used=len(ages),
            newest_action_age_ms=int(ages[0]) if len(ages) else None,
            user_vector_found=bool(inputs.context[USER_FOUND]),
            unknown_items=int(np.count_nonzero(inputs.candidate_features[:, -1] == 0)),
            timings_ms=timings_ms,
            user_vectors=user_vectors,
            item_counts=self.item_counts,
            item_vectors=self.item_vectors,
            item_index=candidates.index,
            inputs=inputs,
            policy=self.exploration.text,
            num_candidates=inputs.num_candidates,
            entropy=entropy,
            calibrated=self.calibrated,
            interests=self.interests if candidates.sources is not None else None,
            graph=self.graph if candidates.sources is not None else None,
            catalogue=candidates.catalogue,
            retrieval=candidates.mix,
            scorer=self.scorer,
            variant=self.variant,
        )


def _each_once(ids: Sequence[Id], groups: Sequence[Id] | None, sources: Sequence[str] | None = None) -> Candidates:
    """Return candidates, each at its first position. Raises ``RankingRefusedError`` where there is none."""
    if not ids:
        raise RankingRefusedError(NO_CANDIDATES, NOTHING_TO_RANK)
    keys = id_keys(ids)
    firsts = first_positions(keys)
    if len(firsts) == len(ids):
        return Candidates(ids, keys, groups, sources)
    groups, sources = (None if one is None else [one[at] for at in firsts] for one in (groups, sources))
    return Candidates([ids[at] for at in firsts], keys[firsts], groups, sources)


def without_newer_types(inputs: ModelInputs, num_types: int) -> ModelInputs:
    """Leave out actions of types that the model does not know: a state may hold actions from under a newer bundle."""
    known = inputs.action_types <= num_types
    if known.all():
        return inputs
    return replace(inputs, **{name: getattr(inputs, name)[known] for name in ACTION_COLUMNS})


def _items(
    placed: Placed, candidates: Candidates, scores: Scores, probabilities: Floats, heads: Sequence[str]
) -> tuple[FeedItem, ...]:
    order = placed.order  # C-level maps: of hundreds of items, a call of Python's each would take as long as their join
    chosen = [candidates.ids[at] for at in order]
    by_head = map(dict, map(zip, repeat(heads), probabilities[order].tolist()))
    propensities: Iterable[float | UnsetType] = placed.propensities or repeat(UNSET)
    told = candidates.sources is not None
    sources: Iterable[str | UnsetType] = map(candidates.source, order) if told else repeat(UNSET)
    reasons: Iterable[Id | UnsetType] = map(candidates.reason, order) if told else repeat(UNSET)
    return tuple(map(FeedItem, chosen, scores[order].tolist(), by_head, propensities, sources, reasons))
