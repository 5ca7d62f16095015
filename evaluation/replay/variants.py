"""Variants: the rankers that one replay compares, each at one delay, all driven by the same arrivals.

::

                        +-- DelayedPipeline, no delay -- Variant: bundle A
    arrivals, in order -+-- DelayedPipeline, no delay -- Variant: bundle B
                        +-- DelayedPipeline, 1 h ------- Variant: bundle A, an hour behind
                        +-- DelayedPipeline, never ----- Variant: bundle A, without realtime actions

A ``DelayedPipeline`` is a ``Pipeline`` that gets each arrival its delay late, so a variant knows what a worker that
lags as much would have known. Its batch vectors lag too, those of users and items, and its item counts: the newest that
were there a delay ago.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import perf_counter

import msgspec
import numpy as np

from rankstream.evaluation.point_in_time import (
    CatalogueAsOf,
    GraphsAsOf,
    InterestsAsOf,
    ItemsAsOf,
    LiveRankerAsOf,
    RankerAsOf,
    TablesAsOf,
    bundles_items,
    no_catalogue,
    no_graph,
    no_interests,
)
from rankstream.evaluation.replay.counts import BundlesOwn, CountsOverTime
from rankstream.evaluation.replay.rank_search import Scorer, Search
from rankstream.events.arrivals import Arrivals
from rankstream.features.ids import Id, Keys
from rankstream.features.stores.memory import MemoryStore
from rankstream.features.user_state import NEVER as NEVER_FORGOTTEN
from rankstream.features.user_state import UserState
from rankstream.metrics.arrays import Floats, Ints
from rankstream.ranking.bundle import Bundle
from rankstream.ranking.ranker import Ranker
from rankstream.ranking.request import CLOCKS_DIFFER_MS, MAX_CANDIDATES, RankingRefusedError, RankingRequest
from rankstream.streams.codec import RankedFeed, decode_request
from rankstream.streams.engine import PLAIN, Engine
from rankstream.streams.pipeline import PendingRequests, Pipeline, ServingState
from rankstream.streams.records import recorded_request
from rankstream.streams.tracing import UNTRACED

NEVER = None  # the delay of a variant that sees no realtime actions
ASKED_LATER_MS = 2 * CLOCKS_DIFFER_MS  # about the past: no row of a later time is seen, in whatever order rows stand

_decode_feed = msgspec.json.Decoder(RankedFeed).decode


class ReplayError(ValueError):
    """A replay can't go on; the message is one sentence and says what to do."""


class DelayedPipeline:
    """User states as a worker would have them that applies every action ``delay_ms`` late."""

    def __init__(
        self,
        serving: ServingState,
        delay_ms: int | None,
        history_limit: int,
        forget_after_ms: int = NEVER_FORGOTTEN,
        engine: Engine = PLAIN,
    ) -> None:
        """Keep the states with the plain engine, unless they are all that is wanted.

        The compiled one takes long for each call, however few actions come between two queries.
        """
        self.delay_ms = delay_ms
        self.pipeline = engine.pipeline(
            engine.users(MemoryStore(), history_limit, forget_after_ms=forget_after_ms), serving
        )
        self.applied = 0
        self._waiting: deque[tuple[Arrivals, int]] = deque()  # and the first row of it that waits

    def feed(self, arrivals: Arrivals, start: int, stop: int) -> None:
        """Let these rows arrive; without a delay they are applied at once."""
        if start >= stop or self.delay_ms is NEVER:
            return
        rows = arrivals.rows(slice(start, stop))
        if self.delay_ms == 0:
            self._apply(rows, 0, len(rows))
        else:
            self._waiting.append((rows, 0))

    def advance(self, now_ms: int) -> None:
        """Apply what has waited long enough, in order of arrival."""
        if not self.delay_ms:
            return
        while self._waiting:
            rows, start = self._waiting.popleft()
            late = np.flatnonzero(rows.arrived_ms[start:] > now_ms - self.delay_ms)
            stop = start + int(late[0]) if len(late) else len(rows)
            self._apply(rows, start, stop)
            if stop < len(rows):
                self._waiting.appendleft((rows, stop))
                return

    def _apply(self, rows: Arrivals, start: int, stop: int) -> None:
        if start >= stop:
            return
        ahead = np.count_nonzero(rows.times_ms[start:stop] > rows.arrived_ms[start:stop])
        self.pipeline.counters.ahead += int(ahead)
        self.pipeline.apply(rows.user_keys[start:stop], rows.packed[start:stop], rows.offsets[start:stop])
        self.applied += stop - start
        users = self.pipeline.users
        if users.num_cached > users.max_cached:  # nothing is lost in a kill here: states are packed to save memory
            users.commit(users.take_changes(int(rows.offsets[stop - 1]) + 1))

    def state(self, key: bytes, at_ms: int | None = None) -> UserState:
        """Return a user as of now, as a request of a time would see it; what happens later does not change it."""
        users = self.pipeline.users
        state = users.get(key)
        return state if at_ms is None or not users.forget_after_ms else state.as_of(at_ms, users.forget_after_ms)


@dataclass(frozen=True)
class VariantRanking:
    """A variant's ranking of one query, by row of the candidate in the request."""

    ranks: Floats  # (N,) from 1; infinite for what was not ranked
    probabilities: Floats  # (N, heads); (0, heads) where only the target's rank was searched
    actions_used: int
    newest_action_age_ms: int | None
    user_vector_found: bool
    unknown_items: int
    whole: bool = True  # are all candidates ranked? Else the target alone

    def among(self, rows: Ints, count: int) -> "VariantRanking":
        """Return the ranking of ``count`` candidates of which ``rows`` were ranked, and the others not at all."""
        ranks, probabilities = np.full(count, np.inf), np.zeros((count, self.probabilities.shape[1]))
        ranks[rows] = self.ranks
        if self.whole:
            probabilities[rows] = self.probabilities
        return replace(self, ranks=ranks, probabilities=probabilities)

    def top(self, k: int) -> Ints:
        """Return the rows of the first ``k``, best first."""
        order = np.argsort(self.ranks, kind="stable")[:k]
        return order[np.isfinite(self.ranks[order])]


def nothing_ranked(count: int, heads: int, actions: int) -> VariantRanking:
    """Return the ranking of ``count`` candidates none of which a variant ranks."""
    return VariantRanking(np.full(count, np.inf), np.zeros((count, heads)), actions, None, False, 0)


class Variant:
    """One ranker at one delay."""

    def __init__(
        self,
        name: str,
        bundle: Bundle,
        tables: TablesAsOf,
        delayed: DelayedPipeline,
        counts: CountsOverTime | None = None,
        items: ItemsAsOf = bundles_items,
        catalogues: CatalogueAsOf = no_catalogue,
        interests: InterestsAsOf = no_interests,
        graphs: GraphsAsOf = no_graph,
    ) -> None:
        """Without ``counts`` and ``items`` the bundle's own serve."""
        self.name = name
        self.bundle = bundle
        self.delayed = delayed
        self.counts = BundlesOwn(bundle) if counts is None else counts
        self.heads = bundle.manifest.heads
        self.seconds = {"scoring": 0.0, "ranking": 0.0}
        self._rankers = RankerAsOf(bundle, tables, self.counts.as_of, catalogues, items, interests, graphs)

    def rank(
        self, user_id: Id, at_ms: int, state: UserState, candidates: Sequence[Id], surface: int = 0
    ) -> VariantRanking:
        """Rank candidates, each of them once, for a state, through bytes as a worker would.

        ``surface`` is the code of the request's, 0 for none. More than a request may hold are ranked in parts:
        no score depends on the other candidates.
        """
        started = perf_counter()
        pipeline = self.delayed.pipeline
        serving: LiveRankerAsOf = pipeline.serving  # type: ignore[assignment]  # set by hand, see plan.py
        serving.current = self.ranker(at_ms)
        feeds = [
            self._request(pipeline, user_id, at_ms, state, candidates[at : at + MAX_CANDIDATES], surface)
            for at in range(0, len(candidates), MAX_CANDIDATES)
        ]
        ranking = _merged(candidates, feeds, self.heads)
        self.seconds["scoring"] += sum(_scoring_ms(feed) for feed in feeds) / 1e3
        self.seconds["ranking"] += perf_counter() - started
        return ranking

    def rank_target(
        self,
        user_id: Id,
        at_ms: int,
        state: UserState,
        keys: Keys,
        target: int | None,
        search: Search,
        surface: int = 0,
    ) -> VariantRanking:
        """Search the rank of one candidate among all, without scoring more of them than that takes.

        The scores are those of ``rank``, so a rank that the search finds out is the same one. With no target there is
        none to find: what was known of the user is returned alone.
        """
        started = perf_counter()
        scorer = Scorer(self.ranker(at_ms), user_id, at_ms, state, surface)
        ranks = np.full(len(keys), np.inf)
        try:
            if target is None:
                scorer.scores(keys[:1])
            else:
                ranks[target] = search.rank(lambda rows: scorer.scores(keys[rows]), len(keys), target)
        except RankingRefusedError as exc:
            raise ReplayError(f"{self.name} could not rank {len(keys)} candidates: {exc}") from exc
        self.seconds["scoring"] += scorer.seconds
        self.seconds["ranking"] += perf_counter() - started
        ages = scorer.action_ages_ms
        return VariantRanking(
            ranks,
            np.zeros((0, len(self.heads))),
            actions_used=len(ages),
            newest_action_age_ms=int(ages[0]) if len(ages) else None,
            user_vector_found=scorer.user_vector_found,
            unknown_items=0,
            whole=False,
        )

    def known(self, keys: Keys, at_ms: int) -> Ints:
        """Return the rows of the items ``(N,)`` that have a vector at a time."""
        return np.flatnonzero(self.ranker(at_ms).offline.items.look_up(keys)[1])

    def trained_on(self, item_key: int) -> bool:
        """Return whether the bundle's own items, those of its training, hold this one."""
        return bool(self.bundle.items.rows(np.array([item_key], np.uint64))[1][0])

    def ranker(self, at_ms: int) -> Ranker:
        """Return its ranker as of a time, less its delay."""
        return self._rankers.at(at_ms - (self.delayed.delay_ms or 0))

    def _request(
        self, pipeline: Pipeline, user_id: Id, at_ms: int, state: UserState, candidates: Sequence[Id], surface: int
    ) -> RankedFeed:
        name = self.bundle.manifest.vocabulary.surfaces[surface - 1] if surface else None
        request = RankingRequest("replay", user_id, tuple(candidates), timestamp_ms=at_ms, surface=name)
        record = recorded_request(request, 0, at_ms + ASKED_LATER_MS)
        pending = PendingRequests(pipeline, [(record, decode_request(record), UNTRACED)], [state], [])
        feed = _decode_feed(pending.answer()[-1].value)
        if isinstance(feed.error, msgspec.UnsetType):
            return feed
        raise ReplayError(f"{self.name} could not rank {len(candidates)} candidates: {feed.error.message}")


def _scoring_ms(feed: RankedFeed) -> float:
    return 0.0 if isinstance(feed.timings_ms, msgspec.UnsetType) else feed.timings_ms["score"]


def _merged(candidates: Sequence[Id], feeds: Sequence[RankedFeed], heads: Sequence[str]) -> VariantRanking:
    """Merge the parts of a ranking by score; items of one part keep the order of its feed."""
    row_of = {candidate: row for row, candidate in enumerate(candidates)}
    items = [item for feed in feeds for item in feed.items]  # type: ignore[union-attr]  # no error, so there are items
    if len(feeds) > 1:
        items.sort(key=lambda item: -item.score)
    ranks = np.full(len(candidates), np.inf)
    probabilities = np.zeros((len(candidates), len(heads)))
    for rank, item in enumerate(items, start=1):
        row = row_of[item.item_id]
        ranks[row] = rank
        probabilities[row] = [item.probabilities[head] for head in heads]
    first = feeds[0]
    return VariantRanking(
        ranks,
        probabilities,
        first.actions_used,  # type: ignore[arg-type]
        first.newest_action_age_ms,  # type: ignore[arg-type]
        first.user_vector_found,  # type: ignore[arg-type]
        sum(feed.unknown_items for feed in feeds),  # type: ignore[misc]
    )
