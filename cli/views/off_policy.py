"""How off-policy estimates look in a terminal."""

from collections.abc import Iterable
from math import isfinite

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rankstream.evaluation.off_policy.estimators import Estimate
from rankstream.evaluation.off_policy.report import Evaluation, Report
from rankstream.evaluation.time_text import time_text


def show(report: Report) -> None:
    """Print a report for people."""
    console = Console()
    for evaluation in report.evaluations:
        console.print(_table(evaluation))
        console.print(_trust(evaluation, report.feeds), style="dim", highlight=False)
    for reason, count in report.skipped.items():
        console.print(f"{count:,} feeds were left out: {reason}", style="yellow", highlight=False)
    for warning in report.warnings:
        console.print(Text.assemble(("warning: ", "yellow"), warning))
    served = ", ".join(f"{policy} ({count:,})" for policy, count in report.served_by.items())
    console.print(
        f"{report.feeds:,} feeds of {report.users:,} users, {time_text(report.from_ms)} to "
        f"{time_text(report.to_ms)}; served by {served}; {report.rewarded:,} positions with a reward",
        style="dim",
        highlight=False,
    )
    console.print(Text(f"target: {report.target}"))
    console.print(Text(report.verdict, "bold"))


def _table(evaluation: Evaluation) -> Table:
    title = "the first position" if evaluation.positions == 1 else f"the first {evaluation.positions} positions"
    table = Table("", "value of a feed", "95 % interval", "gain over served", "95 % interval", title=title)
    table.add_row("as served", *_cells(evaluation.served), "", "")
    for name, found in evaluation.estimates.items():
        table.add_row(f"target by {name}", *_cells(found.value), *_cells(found.gain, sign="+"))
    return table


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
