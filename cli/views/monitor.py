"""How a monitor's report looks in a terminal, and as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import isfinite, isnan
from typing import Any

from rich.text import Text

from rankstream.cli.views.table import Cell, Table, console, names, numbers
from rankstream.evaluation.monitoring.windows import BySource, MonitorReport, Window
from rankstream.evaluation.time_text import time_text
from rankstream.metrics.ratios import Ratio


def show(report: MonitorReport, skipped: Mapping[str, int]) -> None:
    """Print a report for people."""
    screen = console()
    screen.print(windows_table(report.windows, "by window"))
    if len(report.by_model) > 1:
        screen.print(windows_table(report.by_model, "by model"))
    if len(report.by_source) > 1:
        screen.print(sources_table(report.by_source))
    for reason, count in skipped.items():
        if count:
            screen.print(Text(f"{count:,} feeds were left out: {reason}", "dim"))
    for alert in report.alerts:
        screen.print(Text.assemble(("alert: ", "red"), alert.sentence))
    if not report.alerts:
        screen.print(Text("no alerts", "dim"))


def windows_table(windows: Sequence[Window], title: str) -> Table:
    """Return a row for each window, or model, with 95 % intervals of what is taken."""
    heads = sorted({head for one in windows for head in one.calibration})
    columns = [
        *names("from", "model"),
        *numbers("feeds", "users", "taken of", "95 % interval", "taken positions", "95 % interval"),
        *numbers(*(f"{head}: observed to predicted" for head in heads)),
        *numbers("errors", "fallbacks", "without actions", "unknown items", "newest action, s"),
    ]
    return Table(columns, [_row(one, heads) for one in windows], title)


def _row(one: Window, heads: Sequence[str]) -> list[Cell]:
    calibrated = [one.calibration.get(head) for head in heads]
    return [
        time_text(one.from_ms),
        one.model or "all",
        f"{one.feeds:,}",
        f"{one.users:,}",
        *_share(one.hit),
        *_share(one.rate),
        *("-" if ratio is None or isnan(ratio.value) else f"{ratio.value:.2f}" for ratio in calibrated),
        *(_share(ratio)[0] for ratio in (one.errors, one.fallbacks, one.strangers)),
        "-" if isnan(one.unknown.value) else f"{one.unknown.value:.1f}",
        "-" if isnan(one.median_age_ms) else f"{one.median_age_ms / 1000:,.1f}",
    ]


def _share(one: Ratio) -> tuple[str, str]:
    if isnan(one.value):
        return "-", "-"
    low, high = one.interval
    return f"{one.value:.2%}", f"{max(0.0, low):.2%} to {high:.2%}" if isfinite(one.error) else "-"


def sources_table(sources: Sequence[BySource]) -> Table:
    """Return a row for each source of candidates."""
    rows: list[list[Cell]] = [[one.source, f"{one.shown:,}", *_share(one.rate)] for one in sources]
    return Table([*names("source"), *numbers("shown", "taken positions", "95 % interval")], rows, "by source")


def document(report: MonitorReport, skipped: Mapping[str, int]) -> dict[str, Any]:
    """Return the report's JSON; what is not known is null."""
    return {
        "windows": [_window(one) for one in report.windows],
        "by_model": [_window(one) for one in report.by_model],
        "by_source": [{"source": one.source, "shown": one.shown, "rate": _ratio(one.rate)} for one in report.by_source],
        "alerts": [asdict(one) for one in report.alerts],
        "skipped": {reason: count for reason, count in skipped.items() if count},
    }


def _window(one: Window) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "from_ms": one.from_ms,
        "to_ms": one.to_ms,
        "model": one.model or None,
        "feeds": one.feeds,
        "users": one.users,
        "median_age_ms": None if isnan(one.median_age_ms) else one.median_age_ms,
        "calibration": {head: _ratio(ratio) for head, ratio in one.calibration.items()},
    }
    return plain | {name: _ratio(ratio) for name, ratio, _ in one.measures()}


def _ratio(one: Ratio) -> dict[str, float | None]:
    low, high = one.interval
    values = {"value": one.value, "low": low, "high": high, "part": one.part, "whole": one.whole}
    return {name: value if isfinite(value) else None for name, value in values.items()}
