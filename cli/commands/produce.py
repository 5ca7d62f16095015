"""`rankstream produce`: a file of actions or requests to Kafka, at a given rate."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeGuard

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from rankstream.cli.errors import Refusal, refusing
from rankstream.cli.options.logs import log_options, opened_log
from rankstream.cli.options.settings import CONNECTED, settings_options
from rankstream.cli.views.as_json import json_option, print_json
from rankstream.cli.views.skipped import print_notes, print_skipped
from rankstream.events.action_event import ActionEvent, ErasureEvent, Rejected
from rankstream.events.arrivals import LogError, events_of
from rankstream.events.impression_event import ImpressionEvent, impression_events
from rankstream.events.misspelt import misspelt
from rankstream.events.open import FileLog, LogOptions
from rankstream.events.readers.json_lines import Reading
from rankstream.events.readers.rows import STDIN, Row, Shape, open_rows
from rankstream.events.readers.times import SAMPLE_ROWS, TIMES, TimeUnit, told_unit
from rankstream.events.skipped import Skipped
from rankstream.features.actions import Vocabulary
from rankstream.ranking.request import RankingRequest
from rankstream.streams.clients.carriers import SingleRecords
from rankstream.streams.clients.connect import ClientError
from rankstream.streams.clients.producer import Producer
from rankstream.streams.clients.whole_batches import WholeBatches
from rankstream.streams.pipeline import wall_clock_ms
from rankstream.streams.settings import Settings
from rankstream.streams.topics import IMPRESSIONS

Sendable = ActionEvent | ErasureEvent | RankingRequest | ImpressionEvent
AT_ONCE = 4_096  # events of a log that are sent together, and shown by the progress bar
INTERRUPTED = 130  # exit code, as shells have it of Ctrl-C
UNCHECKED = Vocabulary(("any",))  # rows of a stream may have any action: what names there are is known at its end


@click.command()
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@log_options
@click.option("--requests", is_flag=True, help="The rows are ranking requests, not actions.")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), metavar="N", help="At most N records a second.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N records.")
@json_option
@settings_options(*CONNECTED)
@refusing(ClientError, LogError)
def command(
    file: Path,
    log_options: LogOptions,
    requests: bool,
    rate: float | None,
    limit: int | None,
    as_json: bool,
    settings: Settings,
) -> None:
    """Send a FILE of actions (or requests) to Kafka.

    FILE is a log as `rankstream train` and `rankstream replay` read it, and what they read of it is what is sent: a
    file or folder of Parquet, CSV or JSON lines, or a public log. - is JSON lines from standard input, each of which is
    sent as it comes. The fields of the wire are user_id, item_id, action, timestamp_ms and, where there are any,
    surface, value, list_id and collection_id. Rows that workers would reject are skipped and counted by reason. Keys
    are the text of user_id, so that all records of a user meet in one partition; sending again is harmless, as the same
    action counts once. With --impressions or --shown the lists that were shown are sent too, a record each; no worker
    reads them.

    \b
    Writes: user-actions (with --requests: ranking-requests), impressions
            where --shown or --impressions say what was shown

    Examples:
      rankstream produce actions.parquet
      rankstream produce ratings.csv --map user_id=uid --map timestamp_ms=when --time-unit s --set action=click
      rankstream produce clicks.csv --impressions shown.csv
      tail -f app.log | rankstream produce - --rate 500

    """
    source: LogSource | RowSource
    if requests or file == STDIN:
        source = RowSource(file, log_options, RankingRequest if requests else ActionEvent)
    else:
        source = LogSource(opened_log(file, log_options))
    carrier = SingleRecords if rate is not None or file == STDIN else WholeBatches
    with Producer(settings, [IMPRESSIONS] if log_options.lists else [], carrier) as producer:
        sending = Sending(producer, rate)
        try:
            sending.send(_limited(source.blocks(1 if rate else AT_ONCE), limit), limit)
        except KeyboardInterrupt:
            producer.flush()
            _report(sending, source.skipped, settings, as_json)
            raise SystemExit(INTERRUPTED) from None
        except LogError:  # the file can't be read on, or too much of it was skipped
            if sending.sent:
                producer.flush()
                _report(sending, source.skipped, settings, as_json)
            raise
        except ClientError as exc:
            raise ClientError(f"{exc}; {sending.sent:,} records had been handed over") from exc
    _report(sending, source.skipped, settings, as_json)
    if not sending.sent:
        why = "all rows were skipped" if source.skipped else "it holds no rows"
        raise Refusal(f"nothing of {file} was sent: {why}")


class LogSource:
    """The actions of a log, and the lists that were shown where it says so, as replay and training read them."""

    def __init__(self, log: FileLog) -> None:
        self._log, self.skipped = log, log.skipped
        self._shown = log.shown is not None or log.shown_in is not None

    def blocks(self, size: int) -> Iterator[Sequence[Sendable]]:
        """Yield what can be sent, so many events together, all actions or all lists.

        Raises ``LogError``, if most rows of the first batch are skipped before any is sent.
        """
        log, vocabulary = self._log, self._log.vocabulary
        lists = self._lists() if self._shown else []
        for nth, arrivals in enumerate(log.batches(vocabulary, erasures=True)):
            if not nth and not log.sort:
                log.check_skipped(len(arrivals))
            yield from _cut(events_of(arrivals, vocabulary), size)
        yield from _cut(iter(lists), size)

    def _lists(self) -> list[ImpressionEvent]:
        """Return what was shown, and print what is to be said of it."""
        log, vocabulary = self._log, self._log.vocabulary
        lists = impression_events(log.shown_batches(vocabulary), vocabulary)
        if log.shown_in is not None:
            print_skipped(log.shown_in.skipped)
        if lists.unordered:
            said = f"{lists.unordered:,} of {len(lists.events):,} lists have no positions: their order means nothing"
            print_notes((said,))
        return lists.events


class RowSource:
    """Rows of any columns, or of standard input, each read by itself: actions, or requests."""

    def __init__(self, file: Path, options: LogOptions, kind: type[Sendable]) -> None:
        if options.lists:
            raise Refusal("--shown and --impressions are about a log in files; of these rows each is sent as it is")
        self.skipped, self._max_skipped, self._kind = Skipped(), options.max_skipped, kind
        infos = msgspec.structs.fields(kind)
        for named in (*options.columns, *options.constants):
            if named not in (fields := [info.name for info in infos]):
                raise Refusal(f"{named} is no field of {kind.__name__}; it has {', '.join(fields)}")
        source, self._name = (
            open_rows(file, options.delimiter, options.heading, list(options.columns.values())),
            "standard input" if file == STDIN else str(file),
        )
        shape = Shape(options.columns, options.constants)
        shape.check(file, source.columns, [info.name for info in infos if info.required])
        head = list(islice(source.rows, 1 if file == STDIN else SAMPLE_ROWS))  # a stream does not wait for more
        told = _told_unit(head, shape, self._name, options)
        print_notes((*told.notes, *_misspelt(head, shape, kind)))
        self._rows, self._shape = chain(head, source.rows), replace(shape, time_unit=told.unit, dates=told.dates)

    def blocks(self, size: int) -> Iterator[Sequence[Sendable]]:
        """Yield what can be sent, each as it comes, and count what can't be.

        Raises ``LogError`` at the end, if that was too much.
        """
        reading, sent = Reading(UNCHECKED, self._shape, 0, self.skipped, self._name), 0
        for number, row in enumerate(self._rows, start=1):
            try:
                event = _event(row, replace(reading, now_ms=wall_clock_ms()), self._kind)
            except Rejected as why:
                self.skipped.reject(why, reading.where(number))
                continue
            yield (event,)
            sent += 1
        if sent and self.skipped.exceeds(self._max_skipped, sent):
            raise LogError(self.skipped.refusal(self._name, sent))


def _cut(events: Iterator[Sendable], size: int) -> Iterator[Sequence[Sendable]]:
    while block := list(islice(events, size)):
        yield block


def _limited(blocks: Iterator[Sequence[Sendable]], limit: int | None) -> Iterator[Sequence[Sendable]]:
    """Yield blocks of so many events in all, and ask for none behind them."""
    left = limit
    for block in blocks:
        yield block if left is None else block[:left]
        left = None if left is None else left - len(block)
        if left is not None and left <= 0:
            return


def _misspelt(rows: Iterable[Row], shape: Shape, kind: type[Sendable]) -> Iterator[str]:
    """Yield a note for each column that looks like a field that is not there: it is sent as if it were not."""
    columns = {name for row in rows for name in row if isinstance(name, str)} - set(shape.sources.values())
    for name, meant in misspelt(kind, sorted(columns | {*shape.sources, *shape.constants})).items():
        yield f"nothing reads the column {name}: if it is {meant}, say --map {meant}={name}"


def _told_unit(rows: Iterable[Row], shape: Shape, name: str, options: LogOptions) -> TimeUnit:
    columns: dict[str, list[Any]] = {}
    for row in rows:
        for column in map(shape.column, TIMES):
            if row.get(column) not in (None, ""):
                columns.setdefault(column, []).append(row[column])
    return told_unit(columns, name, options.time_unit, options.dates)


def _event(row: Row, reading: Reading, kind: type[Sendable]) -> Sendable:
    try:
        event: Sendable = reading.converted(row, kind)
    except Rejected as why:
        if kind is not ActionEvent:
            raise
        erasure = reading.erasure(row, why)
        return ErasureEvent(erasure.user_id, erasure.action, erasure.timestamp_ms)
    if event.timestamp_ms is not None:
        reading.check_time(row, event.timestamp_ms)
    if isinstance(event, RankingRequest) and (event.candidates is None) == (event.limit is None):
        raise Rejected("schema", "a request has either candidates or limit", "candidates and limit")
    return event


@dataclass
class Sending:
    """Sends events no faster than ``rate`` a second, and counts them."""

    producer: Producer
    rate: float | None
    lists: int = 0  # that were shown, of what was sent

    @property
    def sent(self) -> int:
        """How many records were handed over."""
        return self.producer.taken

    def send(self, blocks: Iterator[Sequence[Sendable]], total: int | None) -> None:
        """Send all, and show the progress; where there is a rate, blocks are of one event."""
        columns: list[Any] = [TextColumn("sent"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()]
        started = time.monotonic()
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("sent", total=total)
            for block in blocks:
                self._send(block)
                sent = self.sent
                if self.rate is not None:
                    time.sleep(max(0.0, started + sent / self.rate - time.monotonic()))
                progress.update(task, completed=sent)
        self.producer.flush()

    def _send(self, block: Sequence[Sendable]) -> None:
        """Send a block of one kind."""
        if _are_actions(block):
            self.producer.send_actions(block)
            return
        for event in block:
            if isinstance(event, ImpressionEvent):
                self.producer.send_impressions(event)
                self.lists += 1
            elif isinstance(event, RankingRequest):
                self.producer.send_request(event)


def _are_actions(block: Sequence[Sendable]) -> TypeGuard[Sequence[ActionEvent | ErasureEvent]]:
    return isinstance(block[0], ActionEvent | ErasureEvent)


def _report(sending: Sending, skipped: Skipped, settings: Settings, as_json: bool) -> None:
    sent, lists = sending.sent, sending.lists
    print_skipped(skipped)
    if sent and as_json:
        print_json({"sent": sent, "lists": lists, "skipped": dict(skipped.most_common())})
    elif sent:
        of_lists = f" ({lists:,} of them lists that were shown)" if lists else ""
        click.echo(f"sent {sent:,} records{of_lists} to {settings.bootstrap_servers}, skipped {skipped.total():,}")
