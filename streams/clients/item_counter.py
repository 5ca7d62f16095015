r"""The process that counts items by the minute: reads actions as they come, and publishes at each boundary of time.

::

    a recorded log, once -\
    user-actions ----------> KeptActions --\     each boundary: what was known before it
    impressions -----------> KeptLists -----\--> item_counts -> a version, which workers follow

A boundary is closed when the clock is a grace past it and all was read that the topics held then. So a version is a
function of the log up to its boundary: of what had happened before it, and arrived. Nothing is kept but versions: who
starts reads again.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import numpy as np

from rankstream.bundles.item_counts import NotCountableError
from rankstream.events.action_event import Record, Rejected
from rankstream.events.arrivals import Arrivals, arrivals_of
from rankstream.events.impression_event import ImpressionEvent, decode_impressions
from rankstream.events.impressions import Impressions
from rankstream.events.kept_actions import KeptActions
from rankstream.events.kept_lists import KeptLists
from rankstream.events.skipped import Skipped
from rankstream.features.actions import Vocabulary
from rankstream.features.embeddings.files import BrokenTableError
from rankstream.features.item_counts.files import counting, publish_newer
from rankstream.models.items.item_counts import item_counts
from rankstream.ranking.counted_items import CountedItems, open_counted, stamp_of
from rankstream.streams.clients.whole_topic import TopicReplacedError, WholeTopic
from rankstream.streams.histogram import Histogram
from rankstream.streams.partitioner import PartitionCheck
from rankstream.streams.pipeline import WRONG_PARTITION, wall_clock_ms
from rankstream.streams.settings import Settings
from rankstream.streams.topics import ACTIONS, IMPRESSIONS

log = logging.getLogger(__name__)

READ_AT_ONCE = 20  # polls, of 5,000 records each
PART = 0.5  # fewer actions than this share of those that the bundle was counted from are taken for a part of its log
SECONDS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)


class NotPublishedError(Exception):
    """A version that can't be written; one sentence, with the reason."""


class ReadBefore(Protocol):
    """A recorded log that is counted before the topics."""

    def batches(self, vocabulary: Vocabulary) -> Iterable[Arrivals]:
        """Read its actions and erasures from the start, by the codes of a vocabulary. Raises ``LogError``."""
        ...

    def lists(self, vocabulary: Vocabulary) -> Impressions | None:
        """Return what it says of what was shown; None where it does not."""
        ...


@dataclass(frozen=True)
class Pace:
    """When versions are published, and how many are kept."""

    every_ms: int = 600_000
    grace_ms: int = 10_000  # that the clock is past a boundary: what arrives later counts for the next one
    keep: int = 2


@dataclass(frozen=True)
class Published:
    """One version."""

    folder: Path
    as_of_ms: int
    items: int
    actions: int  # read until then
    seconds: float  # that counting and writing took


@dataclass
class CounterFigures:
    """What was done since the start."""

    actions: int = 0
    lists: int = 0
    passed_over: Counter[str] = field(default_factory=Counter)  # records by reason
    versions: int = 0
    as_of_ms: int | None = None  # of the newest version that was published here
    complete_ms: int | None = None  # all that was known before is in a version
    publish_s: Histogram = field(default_factory=lambda: Histogram(SECONDS))
    refused_bundles: int = 0


class ItemCounter:
    """Counts the items of a bundle into the folder ``root``; use it in a ``with`` block."""

    def __init__(
        self,
        settings: Settings,
        root: Path,
        pace: Pace = Pace(),  # frozen
        before: ReadBefore | None = None,
        *,
        allow_few: bool = False,
        clock: Callable[[], int] = wall_clock_ms,
    ) -> None:
        """Read the recorded log, and open the topics; ``settings`` name the bundle.

        Raises ``NotCountableError``, ``BrokenTableError``, ``ClientError``, ``FolderInUseError``, ``LogError``.
        """
        self.settings, self.root, self.pace, self.figures = settings, root, pace, CounterFigures()
        self._before, self._allow_few, self._clock = before, allow_few, clock
        self._stamp, self._counted = stamp_of(*self._bundle), _opened(*self._bundle)
        self._published_until_ms = 0  # the newest boundary that needs no version any more
        self._closing_ms: int | None = None  # a boundary that the clock has closed, and not all was read of
        self._has_more = False  # than was read at once
        self._starts_over = False  # before anything else is read
        self._open = ExitStack()
        with ExitStack() as opened:
            opened.enter_context(counting(root))
            self._actions = opened.enter_context(WholeTopic(settings, ACTIONS))
            self._lists = None
            if self._counted.recipe.lists:
                self._lists = opened.enter_context(WholeTopic(settings, IMPRESSIONS))
            self._begin()
            self._open = opened.pop_all()

    @property
    def _bundle(self) -> tuple[Path, Path | None]:
        return self.settings.bundle, self.settings.item_vectors

    def _begin(self) -> None:
        """Forget all that was read, and read the recorded log."""
        vocabulary, shown = self._counted.vocabulary, KeptLists() if self._counted.recipe.lists else None
        self._kept, self._shown = KeptActions(vocabulary, shown), shown
        self._newest_before_ms = -1  # of the recorded log: what the topic has of until then is in it
        self.figures.actions = self.figures.lists = 0
        self._published_until_ms, self._closing_ms = 0, None
        if self._before is None:
            return
        for arrivals in self._before.batches(vocabulary):
            self._kept.feed(arrivals)
            if len(arrivals):
                self._newest_before_ms = max(self._newest_before_ms, int(arrivals.times_ms.max()))
        if shown is not None and (lists := self._before.lists(vocabulary)) is not None:
            shown.add(lists)
        self.figures.actions = self._kept.read

    def _start_over(self) -> None:
        """Read all again; where brokers are away now, before anything else is read."""
        self._starts_over = True
        for topic in self._topics:
            topic.start_over()
        self._begin()
        self._starts_over = False

    @property
    def _topics(self) -> Sequence[WholeTopic]:
        return [self._actions] if self._lists is None else [self._actions, self._lists]

    @property
    def has_work(self) -> bool:
        """Return whether a boundary has closed that nothing was published for, or there is more to be read."""
        return self._has_more or self._closing_ms is not None or self._closed_ms() > self._published_until_ms

    def step(self) -> Published | None:
        """Read what has come, and publish where a boundary has closed; return the version, if one.

        Raises ``ClientError``, ``NotPublishedError``, and ``NotCountableError`` for a log that is only a part of the
        bundle's. Who goes on calls it again.
        """
        if self._starts_over:
            self._start_over()
        self._follow_bundle()
        try:
            self._read()
            closing_ms = self._closed_ms()  # first: what arrives while the end is asked for is later
            if self._closing_ms is None and closing_ms > self._published_until_ms:
                for topic in self._topics:
                    topic.mark_end()
                self._closing_ms = closing_ms
                self._read()
        except TopicReplacedError as exc:
            log.warning("%s, so all is read again", exc)
            self._start_over()
            return None
        if self._closing_ms is None or not all(topic.is_read for topic in self._topics):
            return None
        closed_ms, self._closing_ms = self._closing_ms, None
        return self._publish(closed_ms)

    def read_to_end(self) -> Published | None:
        """Read what the topics hold now, and publish as of the last boundary, if that is newer than what is there.

        Raises as ``step`` does.
        """
        done = self.figures.complete_ms
        while self.figures.complete_ms == done:
            published = self.step()
        return published

    def _read(self) -> None:
        """Read what has come, but no more than so much at once."""
        self._has_more = self._read_topic(self._actions, self._take)
        if self._lists is not None:
            self._has_more |= self._read_topic(self._lists, self._take_lists)

    def _read_topic(self, topic: WholeTopic, take: Callable[[Sequence[Record]], None]) -> bool:
        """Read what has come; return whether there may be more."""
        for _ in range(READ_AT_ONCE):
            records = topic.poll()
            if not records:
                return False
            take(records)
        return True

    def _take(self, records: Sequence[Record]) -> None:
        skipped = Skipped()
        arrivals = arrivals_of(self._where_they_belong(records), self._counted.vocabulary, skipped)
        self._count_passed_over(skipped)
        if self._newest_before_ms >= 0:
            newer = (arrivals.times_ms > self._newest_before_ms) | arrivals.erasures
            arrivals = arrivals.taken(np.flatnonzero(newer))
        self._kept.feed(arrivals)
        self.figures.actions = self._kept.read

    def _where_they_belong(self, records: Sequence[Record]) -> list[Record]:
        """Return the records without those that lie on another partition than their user's, which no worker applies."""
        if self.settings.partitioner != "murmur2":
            return list(records)
        keys: dict[int, set[bytes]] = {}
        for record in records:
            keys.setdefault(record.partition, set()).add(record.key or b"")
        wrong = {
            (number, key)
            for number, some in keys.items()
            for key in PartitionCheck(number, self._actions.partitions)(list(some - {b""}))
        }
        kept = [one for one in records if (one.partition, one.key) not in wrong] if wrong else list(records)
        if len(kept) < len(records):
            self.figures.passed_over[WRONG_PARTITION] += len(records) - len(kept)
        return kept

    def _take_lists(self, records: Sequence[Record]) -> None:
        shown: list[tuple[ImpressionEvent, int]] = []
        skipped = Skipped()
        for record in records:
            try:
                event = decode_impressions(record, self._clock())
            except Rejected as why:
                skipped.reject(why)
                continue
            if event.timestamp_ms > self._newest_before_ms:
                shown.append((event, record.timestamp if record.timestamp >= 0 else event.timestamp_ms))
        self._count_passed_over(skipped)
        if self._shown is not None:
            self._shown.feed(shown)
            self.figures.lists = self._shown.read

    def _count_passed_over(self, skipped: Skipped) -> None:
        for kind, count in skipped.by_kind().items():
            self.figures.passed_over[kind.partition(":")[0]] += count

    def _closed_ms(self) -> int:
        """Return the newest boundary that the clock is a grace past."""
        every_ms = self.pace.every_ms
        return (self._clock() - self.pace.grace_ms) // every_ms * every_ms

    def _boundary_of(self, closed_ms: int) -> int:
        """Return the first boundary after all that was known before ``closed_ms``; 0 where nothing was."""
        newest_ms, every_ms = self._kept.newest_before(closed_ms), self.pace.every_ms
        if self._shown is not None:
            newest_ms = max(newest_ms, self._shown.newest_before(closed_ms))
        return 0 if newest_ms < 0 else (newest_ms // every_ms + 1) * every_ms

    def _publish(self, closed_ms: int) -> Published | None:
        boundary_ms, published = self._boundary_of(closed_ms), None
        is_new, self._published_until_ms = boundary_ms > self._published_until_ms, closed_ms
        if is_new:
            self._check_part()
            published = self._publish_as_of(boundary_ms)
        self.figures.complete_ms = closed_ms
        return published

    def _publish_as_of(self, boundary_ms: int) -> Published | None:
        started, counted = time.monotonic(), self._counted
        counts = item_counts(self._kept.before(boundary_ms), counted.items, counted.recipe, boundary_ms - 1)
        try:
            folder = publish_newer(self.root, counts, self.pace.keep)
        except OSError as exc:
            raise NotPublishedError(
                f"item counts can't be written into {self.root} ({exc.strerror}): make room there, or let this user "
                "write"
            ) from exc
        if folder is None:
            return None
        items, seconds = len(counts.item_features), time.monotonic() - started
        found = Published(folder, counts.as_of_ms, items, self._kept.read, seconds)
        self.figures.versions += 1
        self.figures.as_of_ms = counts.as_of_ms
        self.figures.publish_s.observe(found.seconds)
        return found

    def _check_part(self) -> None:
        """Raise ``NotCountableError`` where so few actions were read that their counts would make serving worse."""
        trained, read = self._counted.recipe.actions, self._kept.read
        if not self._allow_few and read < PART * trained:
            raise NotCountableError(
                f"{self._actions.name} holds {read:,} actions that can be counted, and the counts of model "
                f"{self._counted.model_version} are of {trained:,}: of a part of the log all would be counted too low; "
                "give what the topic does not hold any more with --from LOG, or allow it with --allow-few"
            )

    def _follow_bundle(self) -> None:
        """Count for another bundle, or for newer items, from now on where there is one that can be."""
        stamp = stamp_of(*self._bundle)
        if stamp is None or stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            counted = _opened(*self._bundle)
        except (NotCountableError, BrokenTableError) as exc:
            self.figures.refused_bundles += 1
            log.error("%s; items are counted for model %s as before", exc, self._counted.model_version)
            return
        before, self._counted = self._counted, counted
        log.info("items are counted for model %s from now on", counted.model_version)
        self._published_until_ms = 0
        if (before.vocabulary, before.recipe.lists) != (counted.vocabulary, counted.recipe.lists):
            log.info("its actions are others, or whether lists count, so all is read again")
            self._reopen_lists()
            self._start_over()

    def _reopen_lists(self) -> None:
        if self._counted.recipe.lists and self._lists is None:
            self._lists = self._open.enter_context(WholeTopic(self.settings, IMPRESSIONS))
        if not self._counted.recipe.lists:
            self._lists = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None) -> None:
        self._open.close()


def _opened(bundle_dir: Path, item_vectors: Path | None) -> CountedItems:
    """Open what is counted, and count nothing, to see that it can be.

    Raises ``NotCountableError``, ``BrokenTableError``.
    """
    counted = open_counted(bundle_dir, item_vectors)
    nothing = KeptActions(counted.vocabulary, KeptLists() if counted.recipe.lists else None).before(0)
    item_counts(nothing, counted.items, counted.recipe, 0)
    return counted
