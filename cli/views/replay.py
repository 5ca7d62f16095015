"""How a replay looks in a terminal: the verdict, the metrics of each ranker, and what was skipped."""

from rich.console import Console
from rich.text import Text

from rankstream.cli.views.table import Table, console, names, numbers
from rankstream.evaluation.replay.funnel_tables import ranked_table, sources_table
from rankstream.evaluation.replay.outcomes import ALL
from rankstream.evaluation.replay.report import REASONS, ranked_by, without_nan
from rankstream.evaluation.replay.wording import (
    NONE,
    Summary,
    difference,
    lead_over,
    stacked,
    title_of,
    verdicts,
    with_interval,
)


def print_summary(summary: Summary, to: Console | None = None) -> None:
    """Print a summary for people."""
    summary, screen = without_nan(summary), to or console()
    for mark in summary["marks"]:
        screen.print(Text(mark, "bold red"))
    first, *others = verdicts(summary)
    screen.print(Text(first, "bold"))
    for sentence in others:
        screen.print(Text(sentence))
    screen.print(metrics_table(summary))
    if summary["funnel"]:
        screen.print(*funnel_tables(summary), sep="\n")
    log, took = summary["log"], summary["time"]
    for done in ("skipped", "ignored"):
        for reason, count in list(log.get(done, {}).items())[:REASONS]:
            screen.print(Text(f"{done} {count:,}: {reason}", "yellow"))
    for path, about in summary["item_counts"].items():
        screen.print(Text(f"item counts of {path}: {about}"))
    count = len(summary["variants"])
    rankings = f"{summary['requests']:,} requests ranked by {count} ranker{'s' * (count > 1)}"
    share = 100 * took["scoring_share"]
    screen.print(
        Text(f"{log['events']:,} events, {rankings}, in {took['seconds']:,.1f} s; {share:.0f} % of it scoring")
    )


def funnel_tables(summary: Summary) -> list[Table]:
    """Return what retrieval found and what came of it, for all items, warm and cold ones; and what each source did."""
    return [
        Table([*names(*one.names), *numbers(*one.numbers)], one.rows, one.title)
        for one in (ranked_table(summary), sources_table(summary))
    ]


def metrics_table(summary: Summary) -> Table:
    """Return two metrics of each ranker, and by how much the first is ahead."""
    main = summary["main_metric"]
    metrics = list(dict.fromkeys([main, f"ndcg@{summary['ks'][-1]}", "mrr"]))[:2]
    rows = []
    for name in ranked_by(summary):
        found, ahead = summary["metrics"][name][ALL], lead_over(summary, name)
        cells = [stacked(with_interval(found.get(metric), metric)) for metric in metrics]
        rows.append([name, *cells, NONE if ahead is None else stacked(difference(ahead, main))])
    columns = [*names("ranked by"), *numbers(*map(title_of, metrics), f"first ahead by\n{title_of(main)}")]
    return Table(columns, rows, f"{summary['protocol']['name']}: any positive action, 95 % intervals")
