r"""Replay: a recorded log through the pipeline that serves, with a ranking wherever the protocol asks for one.

::

    log -> arrivals -> pipelines of all variants           (user states, kept as a worker keeps them)
                   \-> protocol -> queries -> every variant ranks -> outcomes

No broker, no clock: all times are the log's. A variant ranks as a worker would have that had read so far: all that
happened before the query's time, and nothing of that time itself, whatever the order of the log's rows.
"""

from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from time import perf_counter

import numpy as np

from rankstream.evaluation.baselines.panel import ALL_ACTIONS, RANDOM, Baselines, MakeBaseline, MakeOfLists
from rankstream.evaluation.baselines.ranks import mixed
from rankstream.evaluation.baselines.steps import Counted
from rankstream.evaluation.interleaving import credit, team_draft
from rankstream.evaluation.replay.candidates import Candidates, CandidateSelection, Catalogue
from rankstream.evaluation.replay.exposures import Exposure, exposures_of, groups_of, whole_groups
from rankstream.evaluation.replay.funnel import (
    Proposed,
    proposed,
    rows_in,
    score_as_retrieval,
    score_firsts,
    score_funnel,
)
from rankstream.evaluation.replay.item_ages import YOUNG_SHOWN, YOUNG_WANTED, ItemAges
from rankstream.evaluation.replay.outcomes import (
    ALL,
    Outcomes,
    RankedQuery,
    diversity,
    score_probabilities,
    score_random,
    score_ranking,
)
from rankstream.evaluation.replay.own_scores import OwnScores, PastActions, Question, UserAsOf
from rankstream.evaluation.replay.protocols import EvaluationProtocol, Query, bits
from rankstream.evaluation.replay.rank_search import MIN_ABOVE, Search
from rankstream.evaluation.replay.variants import ReplayError, Variant, VariantRanking, nothing_ranked
from rankstream.evaluation.time_text import time_text
from rankstream.events.arrivals import Arrivals, RecordedLog, late
from rankstream.events.skipped import Skipped
from rankstream.features.actions import Vocabulary
from rankstream.features.ids import id_keys
from rankstream.features.sessions import SESSION_GAP_MS
from rankstream.features.user_state import UserState
from rankstream.metrics.arrays import Ints
from rankstream.ranking.request import MAX_CANDIDATES

DIVERSE_K = 10
SCAN, MIX = 5, 6  # purposes of random numbers

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
    max_queries: int | None = 2_000  # sampled uniformly from all that hold something to rank; None: all
    ks: tuple[int, ...] = (3, 10)
    shown: bool = False  # were all candidates shown to the user, so that probabilities can be scored?
    unseen_only: bool = False  # are only items ranked that the user has not seen? What was seen grows with the log
    catalogue: Catalogue | None = None  # of the items that feeds can be filled from, for coverage
    acts: int = ALL_ACTIONS  # mask of the actions that baselines learn from: what users chose to do
    session_gap_ms: int = SESSION_GAP_MS  # of the baselines' sessions
    further: tuple[MakeBaseline, ...] = ()  # baselines besides those that always stand there
    of_lists: tuple[MakeOfLists, ...] = ()  # likewise, of what the log says was shown
    own: tuple[OwnScores, ...] = ()  # variants of one's own, which rank by scores that they bring
    whole_rankings: bool = False  # rank a large catalogue to its end, where the order of all is wanted
    retrieve: int | None = None  # rank what retrieval proposes, so many, instead of the whole catalogue
    interleaved: tuple[str, str] | None = None  # names of two variants whose feeds are to be mixed
    seed: int = 1


@dataclass
class ReplayResult:
    """What came of a replay."""

    outcomes: Outcomes
    events: int = 0
    events_in_period: int = 0  # of these, in the time that is ranked
    queries_found: int = 0  # that hold something to rank
    seconds: float = 0.0
    out_of_order: int = 0  # events that happened more than a minute before one that had arrived
    first_ms: int | None = None  # event times of all that was read
    last_ms: int | None = None


def replay(
    log: RecordedLog, variants: Sequence[Variant], plan: Plan, progress: Progress = _no_progress
) -> ReplayResult:
    """Replay a log. Raises ``ReplayError`` if there is nothing to rank, and what the log raises."""
    started = perf_counter()
    chosen, found = (None, None) if plan.max_queries is None else _choose_queries(log, plan, plan.max_queries)
    run = _Run(variants, plan, chosen, progress)
    for arrivals in whole_groups(log.batches(plan.vocabulary, erasures=True)):
        run.apply(arrivals)
    run.finish()
    run.result.seconds = perf_counter() - started
    run.result.queries_found = run.ranked if found is None else found
    if not run.result.events:
        raise ReplayError(f"{log.name} holds no event that could be used{_why(log.skipped)}")
    if not run.ranked:
        raise ReplayError(_nothing_to_rank(log, plan, run.result))
    return run.result


def _nothing_to_rank(log: RecordedLog, plan: Plan, result: ReplayResult) -> str:
    first, last = time_text(result.first_ms or 0), time_text(result.last_ms or 0)
    until = "" if plan.until_ms is None else f" and before {time_text(plan.until_ms)}"
    return (
        f"there is nothing to rank in {log.name}, whose events are of {first} to {last}: "
        f"{result.events_in_period:,} of {result.events:,} rows are from {time_text(plan.from_ms)} on{until}, and none "
        "starts a query of the protocol (ranking begins with --from, else where the newest training ended); give a log "
        "that goes on longer, a bundle of `rankstream train --until` an earlier time, another --protocol or other "
        "--positive"
    )


def _why(skipped: Skipped) -> str:
    return f"; {skipped.total():,} were skipped, {skipped.reasons()}" if skipped else ""


def _choose_queries(log: RecordedLog, plan: Plan, count: int) -> tuple[frozenset[int], int]:
    """Go through the log once without states; return the identities of the chosen queries, and how many there are.

    Of all that hold something to rank those with the smallest hashes are chosen: a uniform sample over the whole time,
    which the order of rows of one time does not touch.
    """
    protocol, seen = plan.protocol(), _Seen(plan.unseen_only)
    identities, now_ms = array("Q"), 0
    due = (query for query in protocol.due() if _in_period(query.exposure, plan))
    identities.extend(query.identity for query in due if _has_labels(query, plan))
    for arrivals in whole_groups(log.batches(plan.vocabulary)):
        for group in groups_of(arrivals):
            together = exposures_of(arrivals, group)
            for one in together:
                if protocol.starts_query(one) and _in_period(one, plan) and not seen.has(one):
                    protocol.add(Query(one))
            seen.add(together)
        now_ms = max(now_ms, int(arrivals.arrived_ms.max()))
        identities.extend(query.identity for query in protocol.complete(now_ms) if _has_labels(query, plan))
    identities.extend(query.identity for query in protocol.complete() if _has_labels(query, plan))
    drawn = np.random.default_rng(plan.seed).integers(1 << 63, dtype=np.uint64)
    different = np.unique(np.frombuffer(identities, np.uint64))
    order = np.argsort(mixed(different ^ drawn), kind="stable")
    return frozenset(different[order[:count]].tolist()), len(different)


def _has_labels(query: Query, plan: Plan) -> bool:
    """Return whether a query has a positive; where all was shown, negatives alone still score the probabilities."""
    masks = plan.positives | bits(plan.heads.values())
    return plan.shown or any(actions & masks for actions in query.actions)


def _in_period(exposure: Exposure, plan: Plan) -> bool:
    return exposure.at_ms >= plan.from_ms and (plan.until_ms is None or exposure.at_ms < plan.until_ms)


class _Seen:
    """The items that each user has seen, if they are to be remembered."""

    def __init__(self, remembers: bool) -> None:
        self.remembers = remembers
        self._items: dict[bytes, set[int]] = {}

    def add(self, together: Sequence[Exposure]) -> None:
        """Take note of what one user saw at one time."""
        if self.remembers:
            self._items.setdefault(together[0].key, set()).update(one.item_key for one in together)

    def has(self, exposure: Exposure) -> bool:
        """Return whether the user has seen the item before: it is not ranked then, so it can't be found either."""
        return exposure.item_key in self._items.get(exposure.key, ())

    def of(self, exposure: Exposure) -> frozenset[int]:
        """Return all that the user has seen."""
        return frozenset(self._items.get(exposure.key, ()))


class _Run:
    """The state of a replay on its way through a log."""

    def __init__(
        self, variants: Sequence[Variant], plan: Plan, chosen: frozenset[int] | None, progress: Progress
    ) -> None:
        self.variants, self.plan, self.chosen, self.progress = variants, plan, chosen, progress
        self.protocol = plan.protocol()
        self.result = ReplayResult(Outcomes(plan.ks, (ALL, *plan.heads)))
        counted = Counted(plan.positives, plan.acts)
        self.baselines = Baselines(counted, plan.session_gap_ms, plan.further, plan.of_lists)
        self.past = PastActions(plan.vocabulary)
        self.keeps_past = bool(plan.own) or not variants
        self.kept = list(dict.fromkeys(one.counts.past for one in variants if one.counts.past is not None))
        self.ranked = 0
        self.now_ms = 0  # the latest arrival so far
        self.newest_ms = 0  # the latest event so far
        self.old_users: set[bytes] = set()
        self.old_items: set[int] = set()
        self.seen = _Seen(plan.unseen_only)
        self.ages = ItemAges()
        self.proposed: dict[str, Proposed] = {}  # by variant, to the newest query, where retrieval proposes

    def apply(self, arrivals: Arrivals) -> None:
        """Let rows arrive (``whole_groups``), with a query wherever the protocol asks for one."""
        fed = 0
        for group in groups_of(arrivals):
            together = exposures_of(arrivals, group)
            arrived_ms = int(arrivals.arrived_ms[group.rows[0]])
            for query in chain(self._due(arrived_ms), self._wanted(together)):
                self._feed(arrivals, fed, group.rows[0])
                fed = max(fed, group.rows[0])
                asked_ms = query.exposure.at_ms if query.shown else arrived_ms
                self.now_ms = max(self.now_ms, asked_ms)
                self._fill(query, asked_ms)
                self.protocol.add(query)
            self.seen.add(together)
            if self.plan.retrieve is not None:
                self.ages.note(together)
            if group.at_ms < self.plan.from_ms:
                self.old_users.add(group.key)
                self.old_items.update(one.item_key for one in together)
        self._feed(arrivals, fed, len(arrivals))
        self._note(arrivals.without_erasures())
        for query in self.protocol.complete(self.now_ms):
            self._rank(query)

    def finish(self) -> None:
        """Rank what was still pending when the log ended, and the lists that were shown after its last action."""
        for query in self._due(None):
            self.now_ms = max(self.now_ms, query.exposure.at_ms)
            self._fill(query, query.exposure.at_ms)
            self.protocol.add(query)
        for query in self.protocol.complete():
            self._rank(query)
        self._keep_baselines()
        self.progress(self.result.events, self.ranked)

    def _wanted(self, together: Sequence[Exposure]) -> Iterator[Query]:
        """Yield the queries that one user's exposures of one time start, each before the next one is looked at."""
        for one in together:
            if self.protocol.starts_query(one) and _in_period(one, self.plan) and not self.seen.has(one):
                query = Query(one)
                if self.chosen is None or query.identity in self.chosen:
                    yield query

    def _due(self, now_ms: int | None) -> list[Query]:
        """Return the queries that no exposure starts, up to a time."""
        due = [query for query in self.protocol.due(now_ms) if _in_period(query.exposure, self.plan)]
        return [query for query in due if self.chosen is None or query.identity in self.chosen]

    def _feed(self, arrivals: Arrivals, start: int, stop: int) -> None:
        for variant in self.variants:
            variant.delayed.feed(arrivals, start, stop)
        rows = arrivals.rows(slice(start, stop))
        for kept in self.kept:
            kept.feed(rows)
        rows = rows.without_erasures()
        self.baselines.feed(rows)
        if self.keeps_past:
            self.past.feed(rows)

    def _fill(self, query: Query, arrived_ms: int) -> None:
        """Hold what is known just before a query's time."""
        for variant in self.variants:
            variant.delayed.advance(self.now_ms)
        key = query.exposure.key
        query.states = [variant.delayed.state(key, query.exposure.at_ms) for variant in self.variants]
        query.is_new, query.seen = key not in self.old_users, self.seen.of(query.exposure)
        query.past = self.past.of(key, arrived_ms)
        query.asked = self.baselines.ask(key, query.exposure.at_ms, arrived_ms)

    def _note(self, arrivals: Arrivals) -> None:
        if not len(arrivals):
            return
        result, first, last = self.result, int(arrivals.times_ms.min()), int(arrivals.times_ms.max())
        result.events += len(arrivals)
        until_ms = np.iinfo(np.int64).max if self.plan.until_ms is None else self.plan.until_ms
        in_period = (arrivals.times_ms >= self.plan.from_ms) & (arrivals.times_ms < until_ms)
        result.events_in_period += int(np.count_nonzero(in_period))
        result.out_of_order += int(np.count_nonzero(late(arrivals.times_ms, self.newest_ms)))
        self.newest_ms = max(self.newest_ms, last)
        result.first_ms = first if result.first_ms is None else min(first, result.first_ms)
        result.last_ms = last if result.last_ms is None else max(last, result.last_ms)
        self.now_ms = max(self.now_ms, int(arrivals.arrived_ms.max()))
        self.progress(result.events, self.ranked)

    # --- queries

    def _rank(self, query: Query) -> None:
        if not _has_labels(query, self.plan):
            return
        candidates = self.plan.select(query)
        ranked = self._ranked_query(query, candidates)
        outcomes = self.result.outcomes
        outcomes.queries.append(ranked)
        rankings: dict[str, VariantRanking] = {}
        for variant, state in zip(self.variants, query.states, strict=True):
            rankings[variant.name] = self._ranking(variant, query, state, candidates)
            self._score(variant, candidates, ranked, rankings[variant.name])
        if self.plan.interleaved is not None:
            first, second = (rankings[name] for name in self.plan.interleaved)
            outcomes.credits.append(self._interleaved(first, second, candidates, query, ranked))
        for own in self.plan.own:
            user = UserAsOf(query.exposure.user_id, query.exposure.at_ms, query.past)
            asked = Question(ranked.query, user, candidates.ids, candidates.keys)
            found = own.ranks(asked, ranked.rows, self.plan.seed)
            score_ranking(outcomes.variant(own.name), outcomes.heads, outcomes.ks, ranked, found)
        baselines = self.baselines.ranks(query.asked, candidates.keys, ranked.rows, self.plan.seed, query.identity)
        for name, ranks in baselines.items():
            score_ranking(outcomes.variant(name), outcomes.heads, outcomes.ks, ranked, ranks)
            if self.plan.retrieve is not None:
                score_as_retrieval(outcomes.variant(name), ranked, ranks, self.plan.retrieve)
        score_random(outcomes.variant(RANDOM), outcomes.heads, outcomes.ks, ranked)
        self.ranked += 1
        self.progress(self.result.events, self.ranked)

    def _ranking(self, variant: Variant, query: Query, state: UserState, candidates: Candidates) -> VariantRanking:
        """Let a variant rank what its bundle knows of the catalogue, or all that was shown."""
        user_id, at_ms, surface = query.exposure.user_id, query.exposure.at_ms, query.exposure.surface
        if not candidates.only_known:
            return variant.rank(user_id, at_ms, state, candidates.ids, surface)
        if self.plan.retrieve is None:
            rows = variant.known(candidates.keys, at_ms)
        else:
            rows = self._retrieved(variant, query, state, candidates)
        if not len(rows):
            return nothing_ranked(len(candidates), len(variant.heads), len(state.history))
        target = np.flatnonzero(rows == candidates.target)
        if len(rows) > MAX_CANDIDATES and not self.plan.whole_rankings:
            search = Search(max(self.plan.ks[-1], MIN_ABOVE), query.rng(self.plan.seed, SCAN))
            wanted = int(target[0]) if len(target) else None
            found = variant.rank_target(user_id, at_ms, state, candidates.keys[rows], wanted, search, surface)
        else:
            known = [candidates.ids[row] for row in rows.tolist()]
            found = variant.rank(user_id, at_ms, state, known, surface)
        return found if len(rows) == len(candidates) else found.among(rows, len(candidates))

    def _retrieved(self, variant: Variant, query: Query, state: UserState, candidates: Candidates) -> Ints:
        """Return the rows that a variant's sources propose, and score what they find."""
        user_id, at_ms = query.exposure.user_id, query.exposure.at_ms
        found = proposed(variant.ranker(at_ms), user_id, at_ms, state, self.plan.retrieve or 0, query.name)
        self.proposed[variant.name], outcomes = found, self.result.outcomes
        score_funnel(outcomes.variant(variant.name), outcomes.queries[-1], candidates.keys, found)
        return rows_in(candidates.keys, found)

    def _interleaved(
        self,
        first: VariantRanking,
        second: VariantRanking,
        candidates: Candidates,
        query: Query,
        ranked: RankedQuery,
    ) -> tuple[int, int]:
        """Mix two feeds to the largest k; return the credit of each."""
        orders = [[candidates.ids[row] for row in ranking.top(len(candidates))] for ranking in (first, second)]
        mixed = team_draft(orders[0], orders[1], self.plan.ks[-1], query.rng(self.plan.seed, MIX))
        return credit(mixed, {candidates.ids[row] for row in ranked.relevant.get(ALL, ())})

    def _keep_baselines(self) -> None:
        """Leave out the baselines that mean nothing on this log."""
        left_out, outcomes = self.baselines.left_out(), self.result.outcomes
        for name in left_out:
            outcomes.variants.pop(name, None)
        outcomes.baselines = {name: about for name, about in self.baselines.about().items() if name not in left_out}

    def _ranked_query(self, query: Query, candidates: Candidates) -> RankedQuery:
        masks = {head: 1 << code for head, code in self.plan.heads.items()} | {ALL: self.plan.positives}
        relevant = {head: np.flatnonzero(candidates.actions & np.uint64(mask)) for head, mask in masks.items()}
        missed = 0 if candidates.target_known else query.exposure.actions
        targets = [candidates.ids[row] for row in relevant[ALL].tolist()]
        targets += [query.exposure.item_id] if missed & self.plan.positives else []
        return RankedQuery(
            user=str(query.exposure.user_id),
            at_ms=query.exposure.at_ms,
            num_actions=len(query.states[0].history if query.states else query.past),
            is_new=query.is_new,
            is_new_item=query.exposure.item_key not in self.old_items,
            is_trained_item=self.plan.retrieve is None or self._trained_on(query.exposure.item_key),
            num_candidates=len(candidates),
            relevant={head: rows for head, rows in relevant.items() if len(rows) or missed & masks[head]},
            target_known=candidates.target_known,
            query=query.name,
            user_id=query.exposure.user_id,
            targets=tuple(targets),
        )

    def _trained_on(self, item_key: int) -> bool:
        """Return whether any of the bundles was trained on an item."""
        return any(variant.trained_on(item_key) for variant in self.variants)

    def _score(self, variant: Variant, candidates: Candidates, query: RankedQuery, ranking: VariantRanking) -> None:
        outcomes = self.result.outcomes
        kept = outcomes.variant(variant.name)
        score_ranking(kept, outcomes.heads, outcomes.ks, query, ranking.ranks)
        if self.plan.retrieve is not None:
            first = ranking.top(DIVERSE_K)
            score_firsts(kept, query, candidates.keys, first, self.proposed[variant.name])
            self._score_ages(variant, candidates, query, ranking)
        if self.plan.shown:
            for column, head in enumerate(variant.heads):
                if head in self.plan.heads:
                    score_probabilities(kept, head, query, ranking.probabilities[:, column])
        if ranking.whole:
            top = candidates.keys[ranking.top(DIVERSE_K)]
            known = top if self.plan.catalogue is None else top[self.plan.catalogue.holds(top)]
            kept.top_items.update(known.tolist())
            kept.put(ALL, f"diversity@{DIVERSE_K}", diversity(variant.bundle.items.look_up(top)[0]))
        else:
            kept.put(ALL, f"diversity@{DIVERSE_K}", np.nan)
        age = ranking.newest_action_age_ms
        kept.newest_age_ms.append(np.nan if age is None else age)
        kept.user_vectors_found += ranking.user_vector_found
        kept.unknown_items += ranking.unknown_items

    def _score_ages(
        self, variant: Variant, candidates: Candidates, query: RankedQuery, ranking: VariantRanking
    ) -> None:
        """Add what share of the first items, and of those that were wanted, is young."""
        kept, shelf = self.result.outcomes.variant(variant.name), variant.ranker(query.at_ms).shelf
        catalogue = None if shelf is None else shelf.catalogues.snapshot()
        wanted = id_keys(query.targets)  # also what no bundle holds
        for metric, keys in ((YOUNG_SHOWN, candidates.keys[ranking.top(DIVERSE_K)]), (YOUNG_WANTED, wanted)):
            young = self.ages.young(keys, query.at_ms, catalogue)
            kept.put(ALL, metric, float(young.mean()) if len(keys) else np.nan)
