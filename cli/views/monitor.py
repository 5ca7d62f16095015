"""How a monitor's report looks in a terminal, and as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import isfinite, isnan
from typing import Any

from rich.text import Text

from rankstream.cli.views.table import Cell, Table, console, names, numbers
from rankstream.evaluation.monitoring.sample_ratio import SampleRatio
from rankstream.evaluation.monitoring.windows import BySource, Contrast, MonitorReport, Window
from rankstream.evaluation.time_text import time_text
from rankstream.metrics.ratios import Ratio


def show(report: MonitorReport, skipped: Mapping[str, int]) -> None:
    """Print a report for people."""
    screen = console()
    screen.print(windows_table(report.windows, "by window"))
    if len(report.by_model) > 1:
        screen.print(windows_table(report.by_model, "by model"))
    if report.by_variant:
        screen.print(windows_table(report.by_variant, "by variant", "variant"))
    if report.differences:
        screen.print(differences_table(report.differences))
    for line in experiment_notes(report):
        screen.print(Text(line, "dim"))
    if len(report.by_source) > 1:
        screen.print(sources_table(report.by_source))
    for reason, count in skipped.items():
        if count:
            screen.print(Text(f"{count:,} feeds were left out: {reason}", "dim"))
    for alert in report.alerts:
        screen.print(Text.assemble(("alert: ", "red"), alert.sentence))
    if not report.alerts:
        screen.print(Text("no alerts", "dim"))


def experiment_notes(report: MonitorReport) -> list[str]:
    """Return what to know of an experiment's users before its differences are believed; mismatches are alerts."""
    notes = [
        f"{one.treatment:,} of {one.users:,} users had the treatment, as they should by its share of {one.share:g} "
        f"(p = {one.p_value:.2g})"
        for one in report.sample_ratios
        if not one.is_mismatch
    ]
    if report.of_both:
        notes.append(f"{report.of_both:,} users had feeds of both variants and are left out of these")
    if report.of_both or len(report.sample_ratios) > 1:
        notes.append(
            "who had which variant has changed within these feeds, and those who had one all the time are not like "
            "the others: compare feeds of after the change alone"
        )
    return notes


def windows_table(windows: Sequence[Window], title: str, of: str = "model") -> Table:
    """Return a row for each window, model or variant, with 95 % intervals of what is taken."""
    heads = sorted({head for one in windows for head in one.calibration})
    columns = [
        *names("from", of),
        *numbers("feeds", "users", "taken of", "95 % interval", "taken positions", "95 % interval"),
        *numbers(*(f"{head}: observed to predicted" for head in heads)),
        *numbers("errors", "fallbacks", "without actions", "unknown items", "newest action, s"),
    ]
    return Table(columns, [_row(one, heads) for one in windows], title)


def _row(one: Window, heads: Sequence[str]) -> list[Cell]:
    calibrated = [one.calibration.get(head) for head in heads]
    return [
        time_text(one.from_ms),
        one.name or "all",
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


def differences_table(differences: Sequence[Contrast]) -> Table:
    """Return a row for each measure of an experiment; bold where the interval leaves out zero."""
    rows: list[list[Cell]] = []
    for one in differences:
        apart, low, high = one.interval
        if isfinite(low) and isfinite(high):
            surely = "bold" if low > 0 or high < 0 else ""
            rows.append([one.what, *_values(one), Text(f"{apart:+.4f}", surely), f"{low:+.4f} to {high:+.4f}"])
        else:
            rows.append([one.what, *_values(one), "-", "-"])
    columns = [*names("measure"), *numbers("treatment", "control", "treatment less control", "95 % interval")]
    return Table(columns, rows, "experiment")


def _values(one: Contrast) -> list[str]:
    return ["-" if isnan(ratio.value) else f"{ratio.value:.4f}" for ratio in (one.treatment, one.control)]


def sources_table(sources: Sequence[BySource]) -> Table:
    """Return a row for each source of candidates."""
    rows: list[list[Cell]] = [[one.source, f"{one.shown:,}", *_share(one.rate)] for one in sources]
    return Table([*names("source"), *numbers("shown", "taken positions", "95 % interval")], rows, "by source")


def document(report: MonitorReport, skipped: Mapping[str, int]) -> dict[str, Any]:
    """Return the report's JSON; what is not known is null."""
    return {
        "windows": [_window(one) for one in report.windows],
        "by_model": [_window(one) for one in report.by_model],
        "by_variant": [_window(one, "variant") for one in report.by_variant],
        "differences": [_difference(one) for one in report.differences],
        "users_of_both_variants": report.of_both,
        "sample_ratios": [_sample_ratio(one) for one in report.sample_ratios],
        "by_source": [{"source": one.source, "shown": one.shown, "rate": _ratio(one.rate)} for one in report.by_source],
        "alerts": [asdict(one) for one in report.alerts],
        "skipped": {reason: count for reason, count in skipped.items() if count},
    }


def _sample_ratio(one: SampleRatio) -> dict[str, Any]:
    found = {"p_value": one.p_value, "is_mismatch": one.is_mismatch}
    return asdict(one) | found


def _difference(one: Contrast) -> dict[str, Any]:
    found = zip(("difference", "low", "high"), one.interval, strict=True)
    plain = {name: value if isfinite(value) else None for name, value in found}
    return {"measure": one.what, "treatment": _ratio(one.treatment), "control": _ratio(one.control)} | plain


def _window(one: Window, of: str = "model") -> dict[str, Any]:
    plain: dict[str, Any] = {
        "from_ms": one.from_ms,
        "to_ms": one.to_ms,
        of: one.name or None,
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
