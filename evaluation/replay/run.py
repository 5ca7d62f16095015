r"""Replay: a recorded log through the pipeline that serves, with a ranking wherever the protocol asks for one.

::

    log -> arrivals -> pipelines of all variants           (user states, kept as a worker keeps them)
                   \-> protocol -> queries -> every variant ranks -> outcomes

No broker, no clock: all times are the log's. A variant ranks as a worker would have that had read so far.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np

from rankstream.evaluation.interleaving import credit, team_draft
from rankstream.evaluation.replay.candidates import Candidates, CandidateSelection
from rankstream.evaluation.replay.outcomes import (
    ALL,
    Outcomes,
    RankedQuery,
    diversity,
    score_probabilities,
    score_random,
    score_ranking,
)
from rankstream.evaluation.replay.protocols import EvaluationProtocol, Exposure, Query, exposures
from rankstream.evaluation.replay.variants import ReplayError, Variant, VariantRanking
from rankstream.evaluation.time_text import time_text
from rankstream.events.arrivals import Arrivals, RecordedLog
from rankstream.events.skipped import Skipped
from rankstream.features.actions import Vocabulary
from rankstream.metrics.arrays import Bools, Ints

POPULARITY, RANDOM = "popularity", "random order"
MINUTE_MS, HOUR_MS = 60_000, 3_600_000
DIVERSE_K = 10

Progress = Callable[[int, int], None]  # events read, queries ranked


def _no_progress(events: int, queries: int) -> None:
    """Show nothing."""


@dataclass(frozen=True)
class Plan:
    """What to replay and what to rank."""

    protocol: Callable[[], EvaluationProtocol]  # a fresh one: the log is read twice where not all queries are ranked
    select: CandidateSelection
    vocabulary: Vocabulary
    positives: int  # mask of the positive actions
    heads: Mapping[str, int]  # head -> code of the action that it predicts
    from_ms: int  # queries before it are not ranked: that part only warms the states up
    until_ms: int | None = None
    max_queries: int | None = 2_000  # sampled uniformly from all; None: all
    ks: tuple[int, ...] = (3, 10)
    shown: bool = False  # were all candidates shown to the user, so that probabilities can be scored?
    remember_seen: bool = False  # the items that each user has seen, for queries; memory grows with the log
    interleaved: tuple[str, str] | None = None  # names of two variants whose feeds are to be mixed
    seed: int = 1


@dataclass
class ReplayResult:
    """What came of a replay."""

    outcomes: Outcomes
    events: int = 0
    queries_found: int = 0
    seconds: float = 0.0
    out_of_order: int = 0  # events that happened more than a minute before one that had arrived
    first_ms: int | None = None  # event times of all that was read
    last_ms: int | None = None


@dataclass
class Popularity:
    """How many positives each item has had so far, as of the last full hour."""

    positives: Sequence[int]
    as_of_hour: Mapping[int, int] = field(default_factory=dict)
    _counts: Counter[int] = field(default_factory=Counter)
    _hour: int = 0

    def count(self, exposure: Exposure) -> None:
        """Count an exposure that has arrived."""
        hour = exposure.at_ms // HOUR_MS
        if hour > self._hour:
            self._hour, self.as_of_hour = hour, dict(self._counts)
        if any(exposure.actions >> code & 1 for code in self.positives):
            self._counts[exposure.item_key] += 1


def replay(
    log: RecordedLog, variants: Sequence[Variant], plan: Plan, progress: Progress = _no_progress
) -> ReplayResult:
    """Replay a log. Raises ``ReplayError`` if there is nothing to rank, and what the log raises."""
    started = perf_counter()
    chosen = None
    if plan.max_queries is not None:
        found = _count_queries(log, plan)
        chosen = np.zeros(found, np.bool_)
        sample = np.random.default_rng(plan.seed).choice(found, min(found, plan.max_queries), replace=False)
        chosen[sample] = True
    run = _Run(variants, plan, chosen, progress)
    for arrivals in log.batches(plan.vocabulary):
        run.apply(arrivals)
    run.finish()
    run.result.seconds = perf_counter() - started
    if not run.result.events:
        raise ReplayError(f"{log.name} holds no event that could be used{_why(log.skipped)}")
    if not run.ranked:
        raise ReplayError(_nothing_to_rank(log, plan, run.result))
    return run.result


def _nothing_to_rank(log: RecordedLog, plan: Plan, result: ReplayResult) -> str:
    first, last = time_text(result.first_ms or 0), time_text(result.last_ms or 0)
    until = "" if plan.until_ms is None else f" and before {time_text(plan.until_ms)}"
    return (
        f"there is nothing to rank in {log.name}, whose events are of {first} to {last}: no event from "
        f"{time_text(plan.from_ms)} on{until} starts a query of the protocol (ranking begins with --from, else where "
        "the newest training ended); give a log that goes on longer, another --protocol or other --positive"
    )


def _why(skipped: Skipped) -> str:
    return f"; {skipped.total():,} were skipped, {skipped.reasons()}" if skipped else ""


def _count_queries(log: RecordedLog, plan: Plan) -> int:
    """Go through the log once without states."""
    protocol, found = plan.protocol(), 0
    for arrivals in log.batches(plan.vocabulary):
        found += sum(_in_period(one, plan) for one in exposures(arrivals) if protocol.starts_query(one))
    return found


def _in_period(exposure: Exposure, plan: Plan) -> bool:
    return exposure.at_ms >= plan.from_ms and (plan.until_ms is None or exposure.at_ms < plan.until_ms)


class _Run:
    """The state of a replay on its way through a log."""

    def __init__(self, variants: Sequence[Variant], plan: Plan, chosen: Bools | None, progress: Progress) -> None:
        self.variants, self.plan, self.chosen, self.progress = variants, plan, chosen, progress
        self.protocol = plan.protocol()
        self.result = ReplayResult(Outcomes(plan.ks, (ALL, *plan.heads)))
        self.popularity = Popularity([code for code in range(64) if plan.positives >> code & 1])
        self.ranked = 0
        self.now_ms = 0  # the latest arrival so far
        self.newest_ms = 0  # the latest event so far
        self.old_users: set[bytes] = set()
        self.seen: dict[bytes, set[int]] = {}

    def apply(self, arrivals: Arrivals) -> None:
        """Let a batch arrive, with a query wherever the protocol asks for one."""
        fed = 0
        for one in exposures(arrivals):
            if self._is_wanted(one):
                self._feed(arrivals, fed, one.row)
                fed = one.row
                self.now_ms = max(self.now_ms, int(arrivals.arrived_ms[one.row]))
                self.protocol.add(self._query(one))
            self.popularity.count(one)
            if self.plan.remember_seen:
                self.seen.setdefault(one.key, set()).add(one.item_key)
            if one.at_ms < self.plan.from_ms:
                self.old_users.add(one.key)
        self._feed(arrivals, fed, len(arrivals))
        self._note(arrivals)
        for query in self.protocol.complete(self.now_ms):
            self._rank(query)

    def finish(self) -> None:
        """Rank what was still pending when the log ended."""
        for query in self.protocol.complete():
            self._rank(query)
        self.progress(self.result.events, self.ranked)

    def _is_wanted(self, exposure: Exposure) -> bool:
        if not self.protocol.starts_query(exposure) or not _in_period(exposure, self.plan):
            return False
        number, self.result.queries_found = self.result.queries_found, self.result.queries_found + 1
        return self.chosen is None or bool(self.chosen[number])

    def _feed(self, arrivals: Arrivals, start: int, stop: int) -> None:
        for variant in self.variants:
            variant.delayed.feed(arrivals, start, stop)

    def _query(self, exposure: Exposure) -> Query:
        for variant in self.variants:
            variant.delayed.advance(self.now_ms)
        states = [variant.delayed.state(exposure.key) for variant in self.variants]
        is_new, seen = exposure.key not in self.old_users, frozenset(self.seen.get(exposure.key, ()))
        return Query(exposure, states, self.popularity.as_of_hour, is_new, seen)

    def _note(self, arrivals: Arrivals) -> None:
        if not len(arrivals):
            return
        result, first, last = self.result, int(arrivals.times_ms.min()), int(arrivals.times_ms.max())
        result.events += len(arrivals)
        newest = np.maximum.accumulate(np.append(self.newest_ms, arrivals.times_ms))
        result.out_of_order += int(np.count_nonzero(arrivals.times_ms < newest[:-1] - MINUTE_MS))
        self.newest_ms = int(newest[-1])
        result.first_ms = first if result.first_ms is None else min(first, result.first_ms)
        result.last_ms = last if result.last_ms is None else max(last, result.last_ms)
        self.now_ms = max(self.now_ms, int(arrivals.arrived_ms.max()))
        self.progress(result.events, self.ranked)

    # --- queries

    def _rank(self, query: Query) -> None:
        candidates = self.plan.select(query)
        ranked = self._ranked_query(query, candidates)
        if not ranked.relevant and not self.plan.shown:
            return  # no positive of any head; where all was shown, negatives still score the probabilities
        outcomes, exposure = self.result.outcomes, query.exposure
        outcomes.queries.append(ranked)
        rankings: dict[str, VariantRanking] = {}
        for variant, state in zip(self.variants, query.states, strict=True):
            rankings[variant.name] = variant.rank(exposure.user_id, exposure.at_ms, state, candidates.ids)
            self._score(variant, candidates, ranked, rankings[variant.name])
        if self.plan.interleaved is not None:
            first, second = (rankings[name] for name in self.plan.interleaved)
            outcomes.credits.append(self._interleaved(first, second, candidates, ranked))
        popular = candidates.ranks_among_all(self._by_popularity(query, candidates))
        score_ranking(outcomes.variant(POPULARITY), outcomes.heads, outcomes.ks, ranked, popular)
        score_random(outcomes.variant(RANDOM), outcomes.heads, outcomes.ks, ranked)
        self.ranked += 1
        self.progress(self.result.events, self.ranked)

    def _interleaved(
        self, first: VariantRanking, second: VariantRanking, candidates: Candidates, query: RankedQuery
    ) -> tuple[int, int]:
        """Mix two feeds to the largest k; return the credit of each."""
        orders = [[candidates.ids[row] for row in np.argsort(ranking.ranks)] for ranking in (first, second)]
        rng = np.random.default_rng([self.plan.seed, self.ranked])
        mixed = team_draft(orders[0], orders[1], self.plan.ks[-1], rng)
        return credit(mixed, {candidates.ids[row] for row in query.relevant.get(ALL, ())})

    def _by_popularity(self, query: Query, candidates: Candidates) -> Ints:
        """Return ranks by the positives so far; ties, of which there are many, are broken at random."""
        counts = [query.popularity.get(key, 0) for key in candidates.keys.tolist()]
        noise = np.random.default_rng([self.plan.seed, self.ranked, 2]).random(len(counts))
        ranks = np.empty(len(counts), np.int64)
        ranks[np.lexsort((noise, -np.array(counts)))] = np.arange(1, len(counts) + 1)
        return ranks

    def _ranked_query(self, query: Query, candidates: Candidates) -> RankedQuery:
        actions = np.array(candidates.actions, np.uint64)
        masks = {head: 1 << code for head, code in self.plan.heads.items()} | {ALL: self.plan.positives}
        relevant = {head: np.flatnonzero(actions & np.uint64(mask)) for head, mask in masks.items()}
        return RankedQuery(
            user=str(query.exposure.user_id),
            at_ms=query.exposure.at_ms,
            num_actions=len(query.states[0].history),
            is_new=query.is_new,
            num_candidates=candidates.sampled_from or len(candidates.ids),
            relevant={head: rows for head, rows in relevant.items() if len(rows)},
            target_known=candidates.target_known,
        )

    def _score(self, variant: Variant, candidates: Candidates, query: RankedQuery, ranking: VariantRanking) -> None:
        outcomes = self.result.outcomes
        kept = outcomes.variant(variant.name)
        score_ranking(kept, outcomes.heads, outcomes.ks, query, candidates.ranks_among_all(ranking.ranks))
        if self.plan.shown:
            for column, head in enumerate(variant.heads):
                if head in self.plan.heads:
                    score_probabilities(kept, head, query, ranking.probabilities[:, column])
        top = candidates.keys[np.argsort(ranking.ranks)[:DIVERSE_K]]
        kept.top_items.update(top.tolist())
        kept.put(ALL, f"diversity@{DIVERSE_K}", diversity(variant.bundle.items.look_up(top)[0]))
        age = ranking.newest_action_age_ms
        kept.newest_age_ms.append(np.nan if age is None else age)
        kept.user_vectors_found += ranking.user_vector_found
        kept.unknown_items += ranking.unknown_items
