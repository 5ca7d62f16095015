"""`rankstream produce`: a file of actions or requests to Kafka, at a given rate."""

import time
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from rankstream.cli.errors import Refusal, refusing
from rankstream.cli.options.settings import CONNECTED, pairs, settings_options
from rankstream.cli.views.as_json import json_option, print_json
from rankstream.cli.views.skipped import print_skipped
from rankstream.events.action_event import MAX_AHEAD_MS, MIN_TIME_MS, ActionEvent
from rankstream.events.arrivals import LogError
from rankstream.events.readers.rows import TIME_UNITS, Row, RowFile, Shape, open_rows
from rankstream.ranking.request import RankingRequest
from rankstream.streams.clients.connect import ClientError
from rankstream.streams.clients.producer import Producer
from rankstream.streams.pipeline import wall_clock_ms
from rankstream.streams.settings import Settings

Sendable = ActionEvent | RankingRequest
SHOW_EVERY = 200  # rows between two updates of the progress bar


@click.command()
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--map", callback=pairs, multiple=True, metavar="FIELD=COLUMN", help="The column that holds a field.")
@click.option("--set", callback=pairs, multiple=True, metavar="FIELD=VALUE", help="The same value for all rows.")
@click.option(
    "--time-unit", type=click.Choice(list(TIME_UNITS)), default="ms", show_default=True, help="Of timestamps."
)
@click.option("--requests", is_flag=True, help="The rows are ranking requests, not actions.")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), metavar="N", help="At most N records a second.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N rows.")
@json_option
@settings_options(*CONNECTED)
@refusing(ClientError, LogError)
def command(
    file: Path,
    map: dict[str, str],
    set: dict[str, str],
    time_unit: str,
    requests: bool,
    rate: float | None,
    limit: int | None,
    as_json: bool,
    settings: Settings,
) -> None:
    """Send a FILE of actions (or requests) to Kafka.

    FILE is Parquet, CSV, TSV or JSON lines, or - for JSON lines from standard input. Its columns are the fields of the
    wire: user_id, item_id, action, timestamp_ms and, where there are any, surface and value. Rows that workers would
    reject are skipped and counted by reason. Keys are the text of user_id, so that all records of a user meet in one
    partition; sending again is harmless, as the same action counts once.

    \b
    Writes: user-actions (with --requests: ranking-requests)

    Examples:
      rankstream produce actions.parquet
      rankstream produce ratings.csv --map user_id=uid --map timestamp_ms=when --time-unit s --set action=click
      tail -f app.log | rankstream produce - --rate 500

    """
    kind: type[Sendable] = RankingRequest if requests else ActionEvent
    infos = msgspec.structs.fields(kind)
    fields = [info.name for info in infos]
    for named in (*map, *set):
        if named not in fields:
            raise Refusal(f"{named} is no field of {kind.__name__}; it has {', '.join(fields)}")
    source, shape = open_rows(file), Shape(map, set, time_unit)
    shape.check(file, source.columns, [info.name for info in infos if info.required])
    skipped: Counter[str] = Counter()
    with Producer(settings) as producer:
        events = _events(source, shape, kind, fields, limit, skipped)
        sent = _send(producer, events, rate, _total(source, limit))
    _report(file, settings, sent, skipped, as_json)


def _total(source: RowFile, limit: int | None) -> int | None:
    return limit if source.count is None else min(source.count, limit or source.count)


def _events(
    source: RowFile, shape: Shape, kind: type[Sendable], fields: list[str], limit: int | None, skipped: Counter[str]
) -> Iterator[Sendable]:
    """Yield what can be sent, and count what can't by its reason."""
    for row in islice(source.rows, limit):
        try:
            yield _event(shape, row, kind, fields)
        except ValueError as exc:  # msgspec's ValidationError is one
            skipped[str(exc)] += 1


def _event(shape: Shape, row: Row, kind: type[Sendable], fields: list[str]) -> Sendable:
    event = msgspec.convert(shape.apply(row, fields), kind, strict=False)
    if isinstance(event, ActionEvent):
        if event.timestamp_ms < MIN_TIME_MS:
            raise ValueError("timestamp_ms is before 1973; if the column holds seconds, add --time-unit s")
        if event.timestamp_ms > wall_clock_ms() + MAX_AHEAD_MS:
            raise ValueError("timestamp_ms is more than a day in the future")
    elif (event.candidates is None) == (event.limit is None):
        raise ValueError("a request has either candidates or limit")
    return event


def _send(producer: Producer, events: Iterator[Sendable], rate: float | None, total: int | None) -> int:
    """Send all, no faster than ``rate``, and show the progress."""
    columns: list[Any] = [TextColumn("sent"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()]
    started, sent = time.monotonic(), 0
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("sent", total=total)
        for event in events:
            if isinstance(event, ActionEvent):
                producer.send_action(event)
            else:
                producer.send_request(event)
            sent += 1
            if rate is not None:
                time.sleep(max(0.0, started + sent / rate - time.monotonic()))
            if sent % SHOW_EVERY == 0 or rate is not None:
                progress.update(task, completed=sent)
        producer.flush()
    return sent


def _report(file: Path, settings: Settings, sent: int, skipped: Counter[str], as_json: bool) -> None:
    print_skipped(skipped)
    if not sent:
        raise Refusal(f"nothing of {file} was sent: {'all rows were skipped' if skipped else 'it holds no rows'}")
    if as_json:
        print_json({"sent": sent, "skipped": skipped})
        return
    click.echo(f"sent {sent:,} records to {settings.bootstrap_servers}, skipped {sum(skipped.values()):,}")
