"""The item counts that a replayed ranker had at each time: the bundle's own, published ones, or counted anew.

::

    bundle's own      | trained until | ------------------------------------------------->
    counted anew      | trained until | ---> | midnight: all before it | ---> | midnight ...

Counted anew is what a nightly job would have had: what had arrived, and had happened, before the boundary. It is only
counted where a query needs it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from rankstream.bundles.item_counts import NotCountableError, counts_recipe_of
from rankstream.evaluation.leakage import CountsVersions, check_table
from rankstream.evaluation.time_text import delay_text, time_text
from rankstream.events.ids import plain_ids
from rankstream.events.kept_actions import KeptActions
from rankstream.features.embeddings.memory import ItemTable
from rankstream.features.item_counts.counts import ItemCounts
from rankstream.models.items.item_counts import item_counts
from rankstream.ranking.bundle import Bundle

MAX_VERSIONS = 3  # counts that are held: variants are of several delays, and queries end around a boundary in any order
PART = 0.5  # a log with a smaller share of the actions that a bundle was counted from is taken for a part of its log


class CountsOverTime(Protocol):
    """Where a variant's item counts come from."""

    @property
    def past(self) -> KeptActions | None:
        """What is to be kept of the log for it."""
        ...

    def as_of(self, at_ms: int) -> ItemCounts | None:
        """Return the counts that there were at a time; None: the bundle's own."""
        ...

    def about(self) -> str:
        """Say what was done, for the report."""
        ...


@dataclass(frozen=True)
class BundlesOwn:
    """The counts of the training, at all times."""

    bundle: Bundle
    why: str = ""  # no others are used
    past: KeptActions | None = None

    def as_of(self, at_ms: int) -> ItemCounts | None:
        """Return None."""
        return None

    def about(self) -> str:
        """Say what was done."""
        own = f"the bundle's own, as of {time_text(self.bundle.manifest.trained_until_ms)}"
        return f"{own}: {self.why}" if self.why else own


@dataclass(frozen=True)
class Published:
    """Versions that were published: at each time the newest one that there was."""

    versions: CountsVersions
    leaks: bool = False  # may a version of later than the query serve where there is no older one?
    past: KeptActions | None = None

    def as_of(self, at_ms: int) -> ItemCounts | None:
        """Return the newest version as of a time."""
        found = self.versions.as_of(at_ms)
        return self.versions.opened[0] if found is None and self.leaks else found

    def about(self) -> str:
        """Say what was done."""
        return f"the {len(self.versions.opened)} published versions in {self.versions.root}"


class CountedAnew:
    """Counts made of the log itself at each boundary, as far as queries ask for them."""

    def __init__(self, bundle: Bundle, past: KeptActions, every_ms: int, least: int = 0) -> None:
        """Count of what ``past`` keeps; where less than ``least`` actions were read, the bundle's own serve.

        Raises ``NotCountableError`` for a bundle that does not say how, or wants what this version does not count.
        """
        self.bundle, self.past, self.every_ms, self.least = bundle, past, every_ms, least
        self.counted_at: set[int] = set()  # boundaries
        self._recipe = counts_recipe_of(bundle.manifest)
        ids = plain_ids(bundle.items.ids(np.arange(len(bundle.items))))
        self._items = ItemTable(ids, np.zeros((len(ids), 0), np.float32))
        self._made: dict[int, ItemCounts] = {}  # by boundary, the one that was asked for last at the end
        self._count(0)

    def as_of(self, at_ms: int) -> ItemCounts | None:
        """Return the counts of the last boundary; None where the training ended after it."""
        boundary_ms = at_ms // self.every_ms * self.every_ms
        if boundary_ms <= self.bundle.manifest.trained_until_ms or self.past.read < self.least:
            return None
        found = self._made.pop(boundary_ms, None)
        if found is None:
            self.counted_at.add(boundary_ms)
            found = self._count(boundary_ms)
        self._made[boundary_ms] = found
        for oldest in list(self._made)[:-MAX_VERSIONS]:
            del self._made[oldest]
        return found

    def about(self) -> str:
        """Say what was done."""
        if not self.counted_at and self.past.read < self.least:
            why = f"the log holds {self.past.read:,} actions, too small a part of those that were counted"
            return BundlesOwn(self.bundle, why).about()
        every, times = delay_text(self.every_ms), len(self.counted_at)
        return f"counted anew every {every} from what the log held before, {times:,} time{'s' * (times != 1)}"

    def _count(self, boundary_ms: int) -> ItemCounts:
        return item_counts(self.past.before(boundary_ms), self._items, self._recipe, boundary_ms - 1)


def counts_by_default(bundle: Bundle, past: KeptActions) -> CountsOverTime:
    """Return counts made anew as often as those that the bundle's ranker learned from, mostly each midnight, UTC.

    The bundle's own where it does not say how they are made.

    A log with less than ``PART`` of the actions that the bundle was counted from is taken for a part of its log.
    """
    try:
        recipe = counts_recipe_of(bundle.manifest)
        return CountedAnew(bundle, past, recipe.every_ms, int(PART * recipe.actions))
    except NotCountableError as exc:
        return BundlesOwn(bundle, str(exc))


def published_counts(root: Path, bundle: Bundle, from_ms: int, allow_leak: bool) -> tuple[CountsOverTime, list[str]]:
    """Return the published versions of a bundle's item counts, and the marks of allowed leaks.

    Raises ``LeakError`` where none is old enough for the first query, ``BrokenTableError`` for one that can't be
    trusted, ``NotCountableError`` for another model's.
    """
    versions = CountsVersions(root)
    versions.check_made_with(bundle.manifest)
    marks = check_table(versions.opened[0], from_ms, allow_leak, f"the items in {root}", "counts")
    return Published(versions, leaks=bool(marks)), marks
