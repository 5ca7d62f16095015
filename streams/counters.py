"""What a partition has seen since it was opened: plain numbers, counted where it happens and read by whoever asks."""

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Self

from rankstream.ranking.request import Ranking
from rankstream.streams.histogram import AGES_S, MOMENTS_S, Histogram

SOURCES = ("actions", "requests")
STAGES = ("retrieve", "join", "score", "blend", "total")  # of ``Ranking.timings_ms``
WAYS = ("fetch", "hand_over", "turn", "send")  # of a request through the worker; between the last two it is ranked


def _of_moments() -> Histogram:
    return Histogram(MOMENTS_S)


def _of_ages() -> Histogram:
    return Histogram(AGES_S)


def _of_stages() -> dict[str, Histogram]:
    return {stage: _of_moments() for stage in STAGES}


def _of_ways() -> dict[str, Histogram]:
    return {way: _of_moments() for way in WAYS}


@dataclass
class Counters:
    """Counts of one partition, or of several added up."""

    actions: int = 0  # put into a history
    late: int = 0  # of these, inserted behind a newer one
    duplicates: int = 0
    too_old: int = 0
    ahead: int = 0  # read with a time after their record's: clocks differ
    erasures: int = 0  # of users, applied
    forgotten: int = 0  # actions of before an erasure of their user, which came after it
    expired: int = 0  # users of whom all was forgotten, as nothing came of them for long
    redelivered: int = 0  # skipped: at or below the user's offset
    sessions_ended: int = 0
    requests: int = 0
    ranked: int = 0  # requests answered by the model
    shed: int = 0  # requests that there was no time to rank
    fallbacks: int = 0  # of these, answered by popularity; the others with an error
    refused: dict[str, int] = field(default_factory=dict)  # requests answered with an error, by reason
    rejected: dict[str, int] = field(default_factory=dict)  # dead letters by reason
    unread: dict[str, int] = field(default_factory=dict)  # offsets that expired before they were read, by SOURCES
    candidates: int = 0  # that were ranked
    unknown_items: int = 0  # of these, without a vector
    without_history: int = 0  # requests ranked for users of whom no action is known
    # What is timed is no part of what was counted: two runs of one log have the same counters.
    stage_s: dict[str, Histogram] = field(default_factory=_of_stages, compare=False)
    way_s: dict[str, Histogram] = field(default_factory=_of_ways, compare=False)  # what requests wait for
    answer_s: Histogram = field(default_factory=_of_moments, compare=False)  # record to answer, by both clocks
    newest_action_age_s: Histogram = field(default_factory=_of_ages, compare=False)  # of requests with a history
    chunk_s: Histogram = field(default_factory=_of_moments, compare=False)  # a chunk of actions applied
    checkpoint_s: Histogram = field(default_factory=_of_moments, compare=False)

    def told(self) -> str:
        """Return what an operator may want to know, in a line."""
        return (
            f"{self.actions:,} actions applied ({self.late:,} late, {self.duplicates:,} duplicates, {self.too_old:,} "
            f"too old, {self.forgotten:,} forgotten, {self.ahead:,} stamped after their records), "
            f"{self.erasures:,} users erased, {self.requests:,} requests read, "
            f"{self.shed:,} of them answered without scoring, {sum(self.refused.values()):,} with an error, "
            f"{sum(self.rejected.values()):,} dead letters"
        )

    def reject(self, reason: str) -> None:
        """Count one dead letter."""
        self.rejected[reason] = self.rejected.get(reason, 0) + 1

    def refuse(self, reason: str) -> None:
        """Count one request that is answered with an error."""
        self.refused[reason] = self.refused.get(reason, 0) + 1

    def rank(self, ranking: Ranking, asked_ms: int, answered_ms: int) -> None:
        """Count one answer of the model to a request whose record was written at ``asked_ms``, below 1 if unknown."""
        self.ranked += 1
        self.candidates += ranking.num_candidates
        self.unknown_items += ranking.unknown_items
        if asked_ms > 0:
            self.answer_s.observe(max(0, answered_ms - asked_ms) / 1000)
        for stage, ms in ranking.timings_ms.items():
            if stage in self.stage_s:
                self.stage_s[stage].observe(ms / 1000)
        if ranking.newest_action_age_ms is None:
            self.without_history += 1
        else:
            self.newest_action_age_s.observe(max(0, ranking.newest_action_age_ms) / 1000)

    def add(self, other: Self) -> None:
        """Add what another one has counted."""
        for known in fields(self):
            mine, theirs = getattr(self, known.name), getattr(other, known.name)
            if isinstance(mine, Histogram):
                mine.add(theirs)
            elif isinstance(mine, dict):
                _add_by_key(mine, theirs)
            else:
                setattr(self, known.name, mine + theirs)


def _add_by_key(mine: dict[str, int | Histogram], theirs: dict[str, int | Histogram]) -> None:
    for key, one in dict(theirs).items():
        if isinstance(one, Histogram):
            mine.setdefault(key, Histogram(one.bounds)).add(one)  # type: ignore[union-attr]  # all are of one kind
        else:
            mine[key] = mine.get(key, 0) + one  # type: ignore[operator]


def total_of(counters: Iterable[Counters]) -> Counters:
    """Return all of them added up."""
    total = Counters()
    for one in counters:
        total.add(one)
    return total
