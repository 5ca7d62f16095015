"""How off-policy estimates look in a terminal."""

from collections.abc import Iterable, Sequence
from math import isfinite

from rich.text import Text

from rankstream.cli.views.table import Table, console, names, numbers
from rankstream.evaluation.off_policy.by_source import SourceResult
from rankstream.evaluation.off_policy.estimators import Estimate
from rankstream.evaluation.off_policy.report import Evaluation, Report
from rankstream.evaluation.time_text import time_text


def show(report: Report) -> None:
    """Print a report for people."""
    screen = console()
    for evaluation in report.evaluations:
        screen.print(estimates_table(evaluation, report.feeds))
    if report.by_source:
        screen.print(sources_table(report.by_source, report.best, report.evaluations[-1].positions))
    for reason, count in report.skipped.items():
        screen.print(Text(f"{count:,} feeds were left out: {reason}", "yellow"))
    for warning in report.warnings:
        screen.print(Text.assemble(("warning: ", "yellow"), warning))
    served = ", ".join(f"{policy} ({count:,})" for policy, count in report.served_by.items())
    span = f"{time_text(report.from_ms)} to {time_text(report.to_ms)}"
    counts = f"{report.feeds:,} feeds of {report.users:,} users, {span}; served by {served}"
    screen.print(Text(f"{counts}; {report.rewarded:,} positions with a reward", "dim"))
    screen.print(Text(f"target: {report.target}"))
    screen.print(Text(report.verdict, "bold"))


def estimates_table(evaluation: Evaluation, feeds: int) -> Table:
    """Return the value of what was served and of the target, by each estimator, and how far to trust it."""
    title = "the first position" if evaluation.positions == 1 else f"the first {evaluation.positions} positions"
    columns = [*names(""), *numbers("value of a feed", "95 % interval", "gain over served", "95 % interval")]
    rows = [["as served", *_cells(evaluation.served), "", ""]]
    for name, found in evaluation.estimates.items():
        rows.append([f"target by {name}", *_cells(found.value), *_cells(found.gain, sign="+")])
    return Table(columns, rows, title, [_trust(evaluation, feeds)])


def sources_table(by_source: Sequence[SourceResult], best: str, positions: int) -> Table:
    """Return what each source earns as served and of the target, by estimator ``best``, and the target without it."""
    title = f"by source, the first {positions} positions" if positions > 1 else "by source, the first position"
    columns = [
        *names("source"),
        *numbers("shown", "reward an item", "of a feed", f"of the target, {best}"),
        *numbers("target without it", "worth", "95 % interval"),
    ]
    rows = [
        [
            one.source,
            f"{one.shown:.1%}",
            *list(_cells(one.per_item))[:1],
            *list(_cells(one.served))[:1],
            *list(_cells(one.target[best]))[:1],
            *list(_cells(one.without[best]))[:1],
            *_cells(one.worth[best], sign="+"),
        ]
        for one in by_source
    ]
    return Table(columns, rows, title)


def _cells(estimate: Estimate, sign: str = "") -> Iterable[str]:
    if not isfinite(estimate.value):
        return "-", "-"
    low, high = (f"{one:{sign}.4f}" for one in (estimate.low, estimate.high))
    return f"{estimate.value:{sign}.4f}", f"{low} to {high}"


def _trust(evaluation: Evaluation, feeds: int) -> str:
    sizes = ", ".join(f"{size:,.0f}" for size in evaluation.effective_sample_size)
    means = ", ".join(f"{mean:.2f}" for mean in evaluation.mean_weight)
    return (
        f"effective sample size by position: {sizes} of {feeds:,}; mean weight {means} (1 expected), "
        f"largest {evaluation.largest_weight:,.1f}"
    )
