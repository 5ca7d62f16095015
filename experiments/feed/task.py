"""What is asked of all rankers of one log: the last part of its actions, by time, and which items are ranked.

::

    actions, by time   [ . . . . . . trained on . . . . . . | tested ]      the cut holds out ``TEST_SHARE`` of them

The whole catalogue is ranked (the items acted on before the cut), just before each positive on one of them; where the
log holds impressions, each list that was shown. A target that nobody has acted on before the cut is no question of
this table: no ranker here could find it; ``Task.known_share`` says how many there are.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from rankstream.evaluation.baselines.panel import ALL_ACTIONS
from rankstream.evaluation.replay.candidates import Catalogue, as_shown, whole
from rankstream.evaluation.replay.exposures import Exposure
from rankstream.evaluation.replay.protocols import LoggedSession, NextPositive, bits
from rankstream.evaluation.replay.run import Plan
from rankstream.events.log import EventLog
from rankstream.events.log_kind import LogKind
from rankstream.events.open import FileLog, open_log
from rankstream.events.registry import kind_of, read_log
from rankstream.experiments.feed.logs import FeedLog
from rankstream.features.ids import Id
from rankstream.metrics.arrays import Bools, Ints

TEST_SHARE = 0.15
KS = (10, 20)


@dataclass(frozen=True)
class LogItems:
    """Items of a log, for a catalogue."""

    items: Sequence[Id]

    def __len__(self) -> int:
        return len(self.items)

    def ids(self, rows: Ints) -> list[Id]:
        """Return the ids of these rows."""
        return [self.items[row] for row in rows.tolist()]


class NextKnown(NextPositive):
    """Just before each positive on an item of the catalogue."""

    def __init__(self, positives: int, known: Collection[int]) -> None:
        super().__init__(positives)
        self.known = known  # keys of items

    def starts_query(self, exposure: Exposure) -> bool:
        """Return whether the exposure holds a positive on a known item."""
        return super().starts_query(exposure) and exposure.item_key in self.known


@dataclass(frozen=True)
class Task:
    """One log, its cut, and how it is asked."""

    log: EventLog  # whole
    kind: LogKind
    opened: FileLog  # the same log, as replay reads it
    positives: int  # mask

    @classmethod
    def open(cls, log: FeedLog, data: Path) -> "Task":
        """Read a log. Raises ``LogError``."""
        opened = open_log(log.at(data), replace(log.options, history=False))
        events = read_log(opened, strict=False)
        kind = kind_of(opened, events)
        codes = opened.vocabulary.action_codes
        wanted = log.positives or tuple(name for name, weight in kind.utility.items() if weight > 0 and name in codes)
        in_order = open_log(log.at(data), replace(log.options, sort=True))
        return cls(events, kind, in_order, bits(codes[name] for name in wanted))

    @cached_property
    def cut_ms(self) -> int:
        """Return when training ends and the test begins."""
        return self.log.time_at(1 - TEST_SHARE)

    @cached_property
    def past(self) -> EventLog:
        """Return what may be trained on."""
        return self.log.split_at(self.cut_ms)[0]

    @cached_property
    def catalogue(self) -> Catalogue:
        """Return the items acted on before the cut."""
        return Catalogue([LogItems(self.past.items().tolist())])

    @property
    def shown(self) -> bool:
        """Return whether lists that were shown are ranked, not the catalogue."""
        return self.kind.exposures

    @property
    def exclude_seen(self) -> bool:
        """Return whether items that the user has seen are left out: where hardly any item is ever repeated."""
        return not self.shown and not self.kind.repeats

    @property
    def is_positive(self) -> Bools:
        """Return whether each row of the log is a positive, ``(n,)``."""
        positive: Bools = (self.positives >> self.log.actions & 1).astype(np.bool_)
        return positive

    @cached_property
    def known_share(self) -> float:
        """Return the share of the tested positives that are on items of the catalogue."""
        tested = self.is_positive & (self.log.times_ms >= self.cut_ms)
        return float(self.catalogue.holds(self.log.item_keys[tested]).mean()) if tested.any() else 0.0

    def plan(self, queries: int, seed: int, from_ms: int | None = None, until_ms: int | None = None) -> Plan:
        """Return the replay's plan: ``queries`` of the time from the cut on, or of another time; all lists shown."""
        catalogue = self.catalogue
        known = frozenset(catalogue.keys.tolist())
        return Plan(
            protocol=LoggedSession if self.shown else partial(NextKnown, self.positives, known),
            select=as_shown(seed) if self.shown else whole(catalogue, exclude_seen=self.exclude_seen, seed=seed),
            vocabulary=self.opened.vocabulary,
            positives=self.positives,
            heads={},
            from_ms=self.cut_ms if from_ms is None else from_ms,
            until_ms=until_ms,
            max_queries=None if self.shown else queries,
            ks=KS,
            unseen_only=self.exclude_seen,
            acts=self.positives if self.shown else ALL_ACTIONS,
            seed=seed,
        )
