r"""Replay: a recorded log through the pipeline that serves, with a ranking wherever the protocol asks for one.

::

    log -> arrivals -> timelines of all lanes          (what the users did, applied as a worker applies it)
                   \-> protocol -> drafts -> points -> every lane ranks -> outcomes

No broker, no clock: a moment is the log's. What a lane answers is what a worker that had read so far would have
answered.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np
import numpy.typing as npt

from rankstream.evaluation.interleaving import credit, team_draft
from rankstream.evaluation.replay.candidates import Choice, Choose
from rankstream.evaluation.replay.outcomes import (
    ALL,
    Ints,
    Outcomes,
    Seen,
    diversity,
    judge,
    judge_probabilities,
    score_random,
)
from rankstream.evaluation.replay.protocols import Asks, Draft, Exposure, Point, exposures
from rankstream.evaluation.replay.variants import Answer, ReplayError, Variant
from rankstream.evaluation.time_text import time_text
from rankstream.events.arrivals import Arrivals, RecordedLog
from rankstream.features.actions import Vocabulary

POPULARITY, RANDOM = "popularity", "random order"
MINUTE_MS, HOUR_MS = 60_000, 3_600_000
DIVERSE_K = 10

Progress = Callable[[int, int], None]  # events read, points ranked


def _no_progress(events: int, points: int) -> None:
    """Show nothing."""


@dataclass(frozen=True)
class Plan:
    """What to replay and what to ask."""

    asks: Callable[[], Asks]  # a fresh protocol; the log is read twice where not all points are ranked
    choose: Choose
    vocabulary: Vocabulary
    positives: int  # mask of the actions that are wanted
    heads: Mapping[str, int]  # head -> code of the action that it predicts
    from_ms: int  # points before it are not ranked: they only warm the states
    until_ms: int | None = None
    max_points: int | None = 2_000  # drawn evenly from all; None: all
    ks: tuple[int, ...] = (3, 10)
    shown: bool = False  # were the candidates shown to the user, so that probabilities can be judged?
    remember_seen: bool = False  # all items of each user, for drafts to tell; takes memory that grows with the log
    interleaved: tuple[str, str] | None = None  # names of two lanes whose feeds are to be mixed
    seed: int = 1


@dataclass
class Replayed:
    """What came of a replay."""

    outcomes: Outcomes
    events: int = 0
    points_found: int = 0
    seconds: float = 0.0
    out_of_order: int = 0  # events that happened more than a minute before one that had arrived
    first_ms: int | None = None  # event times of all that was read
    last_ms: int | None = None


@dataclass
class Popularity:
    """How often each item was wanted so far, as of the last full hour."""

    positives: Sequence[int]
    as_of_hour: Mapping[int, int] = field(default_factory=dict)
    _counts: Counter[int] = field(default_factory=Counter)
    _hour: int = 0

    def count(self, one: Exposure) -> None:
        """Count an exposure that has arrived."""
        hour = one.at_ms // HOUR_MS
        if hour > self._hour:
            self._hour, self.as_of_hour = hour, dict(self._counts)
        if any(one.done >> code & 1 for code in self.positives):
            self._counts[one.item_key] += 1


def replay(log: RecordedLog, variants: Sequence[Variant], plan: Plan, progress: Progress = _no_progress) -> Replayed:
    """Replay a log. Raises ``ReplayError`` if there is nothing to rank, and what the log raises."""
    started = perf_counter()
    chosen = None
    if plan.max_points is not None:
        found = _count_points(log, plan)
        chosen = np.zeros(found, np.bool_)
        picked = np.random.default_rng(plan.seed).choice(found, min(found, plan.max_points), replace=False)
        chosen[picked] = True
    run = _Run(variants, plan, chosen, progress)
    for arrivals in log.batches(plan.vocabulary):
        run.take(arrivals)
    run.finish()
    run.replayed.seconds = perf_counter() - started
    if not run.replayed.events:
        raise ReplayError(f"{log.name} holds no event that could be used{_why(log.skipped)}")
    if not run.ranked:
        raise ReplayError(_nothing_to_rank(log, plan, run.replayed))
    return run.replayed


def _nothing_to_rank(log: RecordedLog, plan: Plan, replayed: Replayed) -> str:
    first, last = time_text(replayed.first_ms or 0), time_text(replayed.last_ms or 0)
    until = "" if plan.until_ms is None else f" and before {time_text(plan.until_ms)}"
    return (
        f"there is nothing to rank in {log.name}, whose events are of {first} to {last}: from "
        f"{time_text(plan.from_ms)} on{until}, where the newest training ended or --from says, no moment was found "
        "that the protocol asks for; give a log that goes on longer, another --protocol or other --positive"
    )


def _why(skipped: Mapping[str, int]) -> str:
    return "".join(f"; {count:,} were skipped: {reason}" for reason, count in Counter(skipped).most_common(3))


def _count_points(log: RecordedLog, plan: Plan) -> int:
    """Go through the log once without states."""
    asks, found = plan.asks(), 0
    for arrivals in log.batches(plan.vocabulary):
        found += sum(_in_period(one, plan) for one in exposures(arrivals) if asks.begins(one))
    return found


def _in_period(one: Exposure, plan: Plan) -> bool:
    return one.at_ms >= plan.from_ms and (plan.until_ms is None or one.at_ms < plan.until_ms)


class _Run:
    """The state of a replay on its way through a log."""

    def __init__(
        self, variants: Sequence[Variant], plan: Plan, chosen: npt.NDArray[np.bool_] | None, progress: Progress
    ) -> None:
        self.variants, self.plan, self.chosen, self.progress = variants, plan, chosen, progress
        self.asks = plan.asks()
        self.replayed = Replayed(Outcomes(plan.ks, (ALL, *plan.heads)))
        self.popularity = Popularity([code for code in range(64) if plan.positives >> code & 1])
        self.ranked = 0
        self.now_ms = 0  # the latest arrival so far
        self.newest_ms = 0  # the latest event so far
        self.old_users: set[bytes] = set()
        self.met: dict[bytes, set[int]] = {}

    def take(self, arrivals: Arrivals) -> None:
        """Let a batch arrive, with a draft wherever the protocol wants one."""
        done = 0
        for one in exposures(arrivals):
            if self._is_asked(one):
                self._feed(arrivals, done, one.row)
                done = one.row
                self.now_ms = max(self.now_ms, int(arrivals.arrived_ms[one.row]))
                self.asks.take(self._draft(one))
            self.popularity.count(one)
            if self.plan.remember_seen:
                self.met.setdefault(one.key, set()).add(one.item_key)
            if one.at_ms < self.plan.from_ms:
                self.old_users.add(one.key)
        self._feed(arrivals, done, len(arrivals))
        self._note(arrivals)
        for point in self.asks.ready(self.now_ms):
            self._rank(point)

    def finish(self) -> None:
        """Rank what was still open when the log ended."""
        for point in self.asks.ready():
            self._rank(point)
        self.progress(self.replayed.events, self.ranked)

    def _is_asked(self, one: Exposure) -> bool:
        if not self.asks.begins(one) or not _in_period(one, self.plan):
            return False
        ordinal, self.replayed.points_found = self.replayed.points_found, self.replayed.points_found + 1
        return self.chosen is None or bool(self.chosen[ordinal])

    def _feed(self, arrivals: Arrivals, start: int, stop: int) -> None:
        for variant in self.variants:
            variant.delayed.feed(arrivals, start, stop)

    def _draft(self, one: Exposure) -> Draft:
        for variant in self.variants:
            variant.delayed.advance(self.now_ms)
        states = [variant.delayed.state(one.key) for variant in self.variants]
        met = frozenset(self.met.get(one.key, ()))
        return Draft(one, states, self.popularity.as_of_hour, is_new=one.key not in self.old_users, met=met)

    def _note(self, arrivals: Arrivals) -> None:
        if not len(arrivals):
            return
        replayed, first, last = self.replayed, int(arrivals.times_ms.min()), int(arrivals.times_ms.max())
        replayed.events += len(arrivals)
        newest = np.maximum.accumulate(np.append(self.newest_ms, arrivals.times_ms))
        replayed.out_of_order += int(np.count_nonzero(arrivals.times_ms < newest[:-1] - MINUTE_MS))
        self.newest_ms = int(newest[-1])
        replayed.first_ms = first if replayed.first_ms is None else min(first, replayed.first_ms)
        replayed.last_ms = last if replayed.last_ms is None else max(last, replayed.last_ms)
        self.now_ms = max(self.now_ms, int(arrivals.arrived_ms.max()))
        self.progress(replayed.events, self.ranked)

    # --- points

    def _rank(self, point: Point) -> None:
        choice = self.plan.choose(point)
        seen = self._seen(point, choice)
        if not seen.wanted and not self.plan.shown:
            return  # nothing that any head predicts; where all was shown, that tells of the probabilities
        outcomes = self.replayed.outcomes
        outcomes.seen.append(seen)
        one = point.draft.exposure
        answers: dict[str, Answer] = {}
        for variant, state in zip(self.variants, point.draft.states, strict=True):
            answers[variant.name] = variant.answer(one.user_id, one.at_ms, state, choice.ids)
            self._judge(variant, choice, seen, answers[variant.name])
        if self.plan.interleaved is not None:
            first, second = (answers[name] for name in self.plan.interleaved)
            outcomes.credits.append(self._interleaved(first, second, choice, seen))
        popular = self._by_popularity(point, choice)
        judge(outcomes.variant(POPULARITY), outcomes.heads, outcomes.ks, seen, choice.places_in_all(popular))
        score_random(outcomes.variant(RANDOM), outcomes.heads, outcomes.ks, seen)
        self.ranked += 1
        self.progress(self.replayed.events, self.ranked)

    def _interleaved(self, first: Answer, second: Answer, choice: Choice, seen: Seen) -> tuple[int, int]:
        """Mix two feeds to the length that counts; give the points of each."""
        orders = [[choice.ids[row] for row in np.argsort(answer.places)] for answer in (first, second)]
        rng = np.random.default_rng([self.plan.seed, self.ranked])
        mixed = team_draft(orders[0], orders[1], self.plan.ks[-1], rng)
        return credit(mixed, {choice.ids[row] for row in seen.wanted.get(ALL, ())})

    def _by_popularity(self, point: Point, choice: Choice) -> Ints:
        """Return the places by what was wanted most so far; chance decides between equals, of which there are many."""
        counts = [point.draft.popular.get(key, 0) for key in choice.keys.tolist()]
        noise = np.random.default_rng([self.plan.seed, self.ranked, 2]).random(len(counts))
        places = np.empty(len(counts), np.int64)
        places[np.lexsort((noise, -np.array(counts)))] = np.arange(1, len(counts) + 1)
        return places

    def _seen(self, point: Point, choice: Choice) -> Seen:
        done = np.array(choice.done, np.uint64)
        masks = {head: 1 << code for head, code in self.plan.heads.items()} | {ALL: self.plan.positives}
        wanted = {head: np.flatnonzero(done & np.uint64(mask)) for head, mask in masks.items()}
        one = point.draft.exposure
        return Seen(
            user=str(one.user_id),
            at_ms=one.at_ms,
            history=len(point.draft.states[0].history),
            is_new=point.draft.is_new,
            candidates=choice.sampled_from or len(choice.ids),
            wanted={head: rows for head, rows in wanted.items() if len(rows)},
            target_known=choice.target_known,
        )

    def _judge(self, variant: Variant, choice: Choice, seen: Seen, answer: Answer) -> None:
        outcomes = self.replayed.outcomes
        kept = outcomes.variant(variant.name)
        judge(kept, outcomes.heads, outcomes.ks, seen, choice.places_in_all(answer.places))
        if self.plan.shown:
            for column, head in enumerate(variant.heads):
                if head in self.plan.heads:
                    judge_probabilities(kept, head, seen, answer.probabilities[:, column])
        top = choice.keys[np.argsort(answer.places)[:DIVERSE_K]]
        kept.top_items.update(top.tolist())
        kept.put(ALL, f"diversity@{DIVERSE_K}", diversity(variant.bundle.items.look_up(top)[0]))
        age = answer.newest_action_age_ms
        kept.newest_age_ms.append(np.nan if age is None else age)
        kept.user_vectors_found += answer.user_vector_found
        kept.unknown_items += answer.unknown_items
