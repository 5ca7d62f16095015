"""`rankstream monitor`: how served feeds do over time."""

from collections import Counter
from pathlib import Path

import click

from rankstream.cli.errors import Refusal, refusing
from rankstream.cli.options.served_feeds import (
    length_ms,
    open_actions,
    positions_option,
    read_feeds,
    served_feeds_options,
    within_ms,
)
from rankstream.cli.options.settings import CONNECTED, settings_options
from rankstream.cli.options.topics import open_source
from rankstream.cli.views.as_json import json_option, print_json
from rankstream.cli.views.monitor import document, show
from rankstream.cli.views.monitor_metrics import MONITOR_METRICS
from rankstream.cli.views.skipped import print_skipped
from rankstream.evaluation.monitoring.feeds import Outcomes, SeenFeed, seen_feeds
from rankstream.evaluation.monitoring.windows import MonitorReport, monitor
from rankstream.events.arrivals import Arrivals, LogError
from rankstream.events.dumps import DumpError
from rankstream.events.open import LogOptions
from rankstream.features.files import whole_file
from rankstream.streams.clients.connect import ClientError
from rankstream.streams.exposition import text_of
from rankstream.streams.settings import Settings

TOO_NEW = "too new to know what follows"


@click.command()
@served_feeds_options
@click.option(
    "--take",
    required=True,
    multiple=True,
    metavar="ACTION",
    help="An action on a shown item that counts as success; again for others.",
)
@positions_option(10)
@click.option("--every", default="1h", show_default=True, metavar="TIME", help="Length of a window.")
@click.option(
    "--metrics",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the numbers as metrics of Prometheus too, for node_exporter's textfile collector (*.prom).",
)
@json_option
@settings_options(*CONNECTED)
@refusing(ClientError, LogError, DumpError)
@click.pass_context
def command(
    context: click.Context,
    feeds: Path | None,
    actions: Path | None,
    log_options: LogOptions,
    take: tuple[str, ...],
    within: str,
    positions: int,
    every: str,
    folder: Path | None,
    metrics: Path | None,
    as_json: bool,
    settings: Settings,
) -> None:
    """Measure how served feeds do over time, and say what changed.

    By window, by model and by source of the candidates: feeds of which something is taken, positions that are taken,
    how many actions follow where so many were predicted (heads whose numbers are probabilities), errors, fallbacks,
    users without actions, items that the model does not know. An action counts for the newest feed that showed the item
    to its user. The newest window is set against all before it; an alert is a difference that chance does not make and
    that is large enough to care. In an experiment the variants are compared, and it is an alert where they have not as
    many users as they should. Ends with 1 where there is one.

    \b
    Examples:
      rankstream monitor --take click --take save
      rankstream monitor --take click --every 1d --positions 20 --json
      rankstream monitor --take save --from monday
      rankstream monitor --take save --metrics /var/lib/node_exporter/feeds.prom
    """
    window_ms = length_ms("--every", every, "the length of a window, as in 1h")
    source, skipped = open_source(folder, settings), Counter[str]()
    log = open_actions(actions, log_options, take, source, "--take")
    found = seen_feeds(read_feeds(feeds, source, skipped), positions, skipped)
    batches = list(log.batches(log.vocabulary))
    if actions is not None:
        print_skipped(log.skipped)
    judged = _judged(found, batches, within_ms(within), skipped)
    codes = {name: log.vocabulary.action_codes[name] for name in take}
    report = monitor(Outcomes.of(judged, batches, codes, positions, within_ms(within)), window_ms)
    if metrics is not None:
        _write_metrics(metrics, report)
    if as_json:
        print_json(document(report, skipped))
    else:
        show(report, skipped)
    if report.alerts:
        context.exit(1)


def _write_metrics(path: Path, report: MonitorReport) -> None:
    """Write them whole or not at all: the collector may read at any time."""
    try:
        with whole_file(path) as beside:
            beside.write_bytes(text_of(MONITOR_METRICS, report))
    except OSError as exc:
        raise Refusal(f"--metrics {path} can't be written: {exc.strerror}") from exc


def _judged(feeds: list[SeenFeed], actions: list[Arrivals], within: int, skipped: Counter[str]) -> list[SeenFeed]:
    """Return the feeds of which it is known what followed, up to the newest record of either kind."""
    if not feeds:
        raise Refusal("there are no feeds to look at; serve some, or name a file with --feeds")
    until_ms = max([feeds[-1].at_ms, *(int(batch.times_ms.max()) for batch in actions if len(batch))]) - within
    judged = [one for one in feeds if one.at_ms <= until_ms]
    skipped[TOO_NEW] += len(feeds) - len(judged)
    if not judged:
        raise Refusal(
            f"all {len(feeds):,} feeds are less than --within before the newest record, so nobody knows yet what "
            "follows; wait, or give a shorter time"
        )
    return judged
