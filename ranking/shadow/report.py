"""What workers found in a shadow, the figures of all of them, and what speaks against the new bundle."""

import math
from collections import Counter, deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct

from rankstream.features.files import whole_file
from rankstream.ranking.shadow.comparison import Compared, Outcome, compare

NEWEST = 2_000  # comparisons of a worker that percentiles are of
LEAST = 30  # comparisons without which nothing is said
ERRORS = 0.01  # share of requests that the new bundle alone may fail


class Report(Struct, frozen=True):
    """What one worker found so far."""

    worker: str
    at_ms: int
    compared: int = 0  # requests that both answered
    skipped: int = 0  # requests of the sample that came while earlier ones were ranked
    errors: dict[str, int] = {}  # of the new one alone, by reason: msgspec copies it
    samples: tuple[Compared, ...] = ()  # the newest
    failed: str | None = None  # why the new bundle can't even be tried there


@dataclass
class Tally:
    """Grows into a report."""

    worker: str
    compared: int = 0
    skipped: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    samples: deque[Compared] = field(default_factory=lambda: deque(maxlen=NEWEST))

    def add(self, serving: Outcome, new: Outcome) -> None:
        """Count what both made of a request; where the one that serves has no answer either, it is the request's."""
        if serving.error is not None:
            return
        if new.error is not None:
            self.errors[new.error] += 1
            return
        self.compared += 1
        self.samples.append(compare(serving, new))

    def report(self, now_ms: int, failed: str | None = None) -> Report:
        """Return the report as of now."""
        samples = tuple(self.samples)
        return Report(self.worker, now_ms, self.compared, self.skipped, dict(self.errors), samples, failed)


def write_report(folder: Path, report: Report) -> None:
    """Write a worker's report, whole or not at all, into the folder that the command has made and deletes at the end.

    Raises ``OSError``: ``FileNotFoundError`` once it is over.
    """
    with whole_file(folder / f"{report.worker}.json") as beside:
        beside.write_bytes(msgspec.json.encode(report))


def read_reports(folder: Path) -> list[Report]:
    """Return what is there, by worker."""
    return [msgspec.json.decode(path.read_bytes(), type=Report) for path in sorted(folder.glob("[!.]*.json"))]


@dataclass(frozen=True)
class Spread:
    """How something is spread over requests; None where there is none."""

    mean: float | None
    low: float | None  # the 5th of a hundred
    median: float | None
    high: float | None  # the 99th of a hundred


@dataclass(frozen=True)
class Figures:
    """What all workers found."""

    workers: int
    compared: int
    skipped: int
    errors: dict[str, int]
    overlap: Spread
    correlation: Spread
    serving_ms: Spread
    new_ms: Spread

    @property
    def ratio(self) -> float:
        """How many times as long the new bundle takes, median by median."""
        return (self.new_ms.median or 0.0) / max(self.serving_ms.median or 0.0, 1e-9)


def figures_of(reports: Collection[Report]) -> Figures:
    """Put workers' reports together."""
    samples = [sample for report in reports for sample in report.samples]
    errors = sum((Counter(report.errors) for report in reports), Counter())
    return Figures(
        workers=len(reports),
        compared=sum(report.compared for report in reports),
        skipped=sum(report.skipped for report in reports),
        errors=dict(errors),
        overlap=_spread(sample.overlap for sample in samples),
        correlation=_spread(sample.correlation for sample in samples if sample.correlation is not None),
        serving_ms=_spread(sample.serving_ms for sample in samples),
        new_ms=_spread(sample.new_ms for sample in samples),
    )


def _spread(values: Iterable[float]) -> Spread:
    given = list(values)
    if not given:
        return Spread(None, None, None, None)
    low, median, high = np.percentile(given, [5, 50, 99]).tolist()
    return Spread(round(float(np.mean(given)), 4), round(low, 4), round(median, 4), round(high, 4))


def failure_of(reports: Iterable[Report]) -> str | None:
    """Return why the new bundle can't be tried on a worker; None where it is on all."""
    return next((f"on worker {one.worker} {one.failed}" for one in reports if one.failed is not None), None)


def against(figures: Figures, slower: float, min_overlap: float) -> str | None:
    """Return what speaks against the new bundle, a sentence without its end; None where nothing does."""
    failed, asked = sum(figures.errors.values()), figures.compared + sum(figures.errors.values())
    if failed > ERRORS * asked:
        return f"it failed {failed} of {asked} requests that the one before answered ({', '.join(figures.errors)})"
    if asked < LEAST:
        return (
            f"only {asked} requests were ranked by both, and {LEAST} are wanted: raise --shadow-share or "
            "--shadow-minutes"
        )
    if figures.ratio > slower:
        return (
            f"it takes {figures.new_ms.median:.1f} ms for a request, {figures.ratio:.1f} times as long as the one "
            f"before; --slower {math.ceil(10 * figures.ratio) / 10:.1f} would let it serve"
        )
    if (figures.overlap.mean or 0.0) < min_overlap:
        return (
            f"only {figures.overlap.mean:.0%} of the 10 best items are as before; --min-overlap would have to be "
            "lower, if that is meant"
        )
    return None
