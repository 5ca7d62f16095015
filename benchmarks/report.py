"""What a run of the list found, for people: a table in Markdown, and the same as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.entries import ENTRIES
from benchmarks.figures import Figure
from benchmarks.machine import Machine, is_busy
from benchmarks.suite import FAILED, KEPT, MEASURED, SKIPPED, Outcome
from rankstream.experiments.markdown import table

HEAD = ("benchmark", "what", "median", "lowest to highest", "unit", "rounds", "load before, after")
MEASURES: Mapping[str, str] = {entry.name: entry.measures for entry in ENTRIES}


@dataclass(frozen=True)
class Report:
    """A run of the list, or what there was of it when it was stopped."""

    title: str
    machine: Machine
    begun_at: str  # UTC
    ended_at: str
    load_before: float
    load_after: float
    outcomes: Sequence[Outcome]
    whole: bool = True  # it was not stopped

    @property
    def is_good(self) -> bool:
        """Return whether all was measured that could be."""
        return self.whole and all(one.state != FAILED for one in self.outcomes)

    def as_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)

    def as_markdown(self) -> str:
        """Return the page."""
        parts = [f"# {self.title}", self._about(), *self._warnings(), self._table()]
        parts += self._told("Not measured here", SKIPPED) + self._told("Failed", FAILED)
        return "\n\n".join(parts) + "\n"

    def _about(self) -> str:
        here = self.machine
        libraries = ", ".join(f"{name} {number}" for name, number in here.versions.items())
        return (
            f"{here.processor}, {here.cores} cores, {here.memory_gb:g} GB; {here.system}; {libraries}; revision "
            f"{here.revision}; {self.begun_at} to {self.ended_at} (UTC); load average {self.load_before:g} at the "
            f"begin, {self.load_after:g} at the end."
        )

    def _warnings(self) -> list[str]:
        loads = [load for one in self.outcomes if one.figures for load in (one.load_before, one.load_after)]
        found = []
        if is_busy(*loads, self.load_before, self.load_after):
            found.append("**The machine was busy with other work: ratios say more than absolute figures.**")
        if not self.whole:
            found.append("**Stopped before the end of the list.**")
        return found

    def _table(self) -> str:
        rows = [row for one in self.outcomes if one.state in (MEASURED, KEPT) for row in _rows(one)]
        return table(HEAD, rows) if rows else "No figures."

    def _told(self, title: str, state: str) -> list[str]:
        found = [f"- {one.name}: {one.reason}" for one in self.outcomes if one.state == state]
        return [f"## {title}", "\n".join(found)] if found else []


def _rows(outcome: Outcome) -> list[list[str]]:
    """Return a row a figure; what the benchmark is, and its load, stand in the first."""
    rows = []
    for number, figure in enumerate(outcome.figures):
        name = f"{outcome.name}: {MEASURES.get(outcome.name, '')}" if number == 0 else ""
        loads = f"{outcome.load_before:g}, {outcome.load_after:g}" if number == 0 else ""
        spread = f"{number_text(figure.low)} to {number_text(figure.high)}" if figure.rounds > 1 else "-"
        rows.append([name, figure.name, number_text(figure.median), spread, figure.unit, str(figure.rounds), loads])
    return rows


def number_text(value: float) -> str:
    """Write a number with three digits or more: ``0.0123``, ``1.23``, ``123,456``."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def panels(outcomes: Sequence[Outcome]) -> dict[tuple[str, str], list[Figure]]:
    """Return the figures that can be compared, by benchmark and unit: those that have another beside them."""
    found: dict[tuple[str, str], list[Figure]] = {}
    for outcome in outcomes:
        for figure in outcome.figures:
            found.setdefault((outcome.name, figure.unit), []).append(figure)
    return {key: figures for key, figures in found.items() if len(figures) > 1}
