"""Options that the commands share which read a log."""

from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from rankstream.cli.errors import Refusal, refusing
from rankstream.cli.options.settings import pairs
from rankstream.cli.views.skipped import print_notes
from rankstream.evaluation.time_text import parse_time_ms
from rankstream.events.arrivals import LogError
from rankstream.events.log_kind import WIRE_FORMAT
from rankstream.events.open import FileLog, LogOptions, open_log
from rankstream.events.public import PUBLIC
from rankstream.events.readers.dates import AUTO, DATE_ORDERS
from rankstream.events.readers.times import TIME_UNITS
from rankstream.features.actions import Vocabulary

FORMATS = (*PUBLIC, WIRE_FORMAT)
TIME_HELP = "[TIME is 2022-05-04 or 2022-05-04T12:00, in UTC unless it has a zone (+02:00), or ms since 1970]"
MAX_SKIPPED = 0.5  # share of rows, without --allow-skips

F = TypeVar("F", bound=Callable[..., Any])
R = TypeVar("R")

dates_option = click.option(
    "--dates", type=click.Choice(DATE_ORDERS), default=AUTO, show_default=True,
    help="Whether the day or the month comes first in dates such as 3/4/2024; auto tells it from those that can be "
    "read in one way alone.",
)  # fmt: skip

_OPTIONS = (
    click.option(
        "--map", "columns", callback=pairs, multiple=True, metavar="FIELD=COLUMN",
        help="The column that holds a field (user_id, item_id, action, timestamp_ms, surface, value, list_id, "
        "collection_id, arrived_ms; of impressions position), repeatable.  [default: the field's own name, else a "
        "usual synonym]",
    ),
    click.option(
        "--set", "constants", callback=pairs, multiple=True, metavar="FIELD=VALUE",
        help="The same value of a field for all rows, repeatable.",
    ),
    click.option(
        "--time-unit", type=click.Choice(TIME_UNITS), default=AUTO, show_default=True,
        help="Of times that are numbers; auto tells it from their size. Dates need none; without a zone they are UTC.",
    ),
    dates_option,
    click.option(
        "--delimiter", metavar="TEXT", help="Between the columns of text, as ';' or tab.  [default: told by the file]"
    ),
    click.option(
        "--columns", "heading", metavar="NAME,NAME,...", help="The columns' names, for files without a heading."
    ),
    click.option(
        "--format", "kind", type=click.Choice(FORMATS), metavar="KIND",
        help=f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}. [default: recognised by the columns]",
    ),
    click.option(
        "--allow-skips", is_flag=True,
        help="Go on where more than half of the rows can't be read. Fewer are skipped and counted in any case.",
    ),
    click.option(
        "--shown", metavar="ACTION",
        help="Rows of this action are impressions, no actions: they say what was shown, and rankers learn from them.",
    ),
    click.option(
        "--impressions", type=click.Path(path_type=Path), metavar="FILE",
        help="What was shown is in FILE, a row an impression: user_id, item_id, timestamp_ms and, where there are any, "
        "list_id, position, surface. It is read as the log is. Or FILE holds the topic ranked-feeds or impressions, "
        "as `rankstream topics dump` keeps them.",
    ),
    click.option("--strict", is_flag=True, hidden=True),  # refused a log with any such row
)  # fmt: skip


def log_options(command: Callable[..., R]) -> Callable[..., R]:
    """Offer the flags that say how a log is read; the command takes them as one ``log_options: LogOptions``."""

    @wraps(command)
    def with_log_options(
        columns: dict[str, str],
        constants: dict[str, str],
        time_unit: str,
        dates: str,
        delimiter: str | None,
        heading: str | None,
        kind: str | None,
        allow_skips: bool,
        shown: str | None,
        impressions: Path | None,
        strict: bool,
        **given: Any,
    ) -> R:
        with refusing(LogError):
            options = LogOptions(
                columns=columns,
                constants=constants,
                time_unit=time_unit,
                dates=dates,
                delimiter=delimiter,
                heading=None if heading is None else tuple(name.strip() for name in heading.split(",")),
                kind=kind,
                max_skipped=0.0 if strict else 1.0 if allow_skips else MAX_SKIPPED,
                shown=shown,
                impressions=impressions,
            )
        return command(log_options=options, **given)

    decorated: Callable[..., R] = with_log_options
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated


def opened_log(path: Path, options: LogOptions) -> FileLog:
    """Open a log, and print once how it is read. Raises ``LogError``."""
    log = open_log(path, options)
    print_notes(notes_of(log))
    return log


def as_it_happened(log: FileLog, vocabulary: Vocabulary) -> FileLog:
    """Return the log by time where its rows lie anyhow, and say so; else as it is. Raises ``LogError``."""
    if log.sort or not log.lies_anyhow(vocabulary):
        return log
    print_notes((f"the rows of {log.path} are in no order of time, and are taken by time; --no-sort says otherwise",))
    return replace(log, sort=True)


def notes_of(log: FileLog) -> tuple[str, ...]:
    """Return what is to be said of how a log, and what was shown beside it, is read."""
    return log.notes if log.shown_in is None else (*log.notes, *log.shown_in.notes)


def utility_option(command: F) -> F:
    """Offer ``--utility``."""
    return click.option(
        "--utility",
        multiple=True,
        metavar="HEAD=WEIGHT",
        callback=_weights,
        help="Weight of a head in the score, repeatable; heads not named have weight 0.  [default: by LOG's kind]",
    )(command)


def _weights(ctx: click.Context, option: click.Parameter, given: tuple[str, ...]) -> dict[str, float]:
    weights = {}
    for pair in given:
        name, _, number = pair.partition("=")
        try:
            weights[name] = float(number)
        except ValueError:
            raise Refusal(f"--utility {pair} is no head=weight; write for example --utility save=1.0") from None
    return weights


def time_option(*names: str, help: str) -> Callable[[F], F]:
    """Offer a flag that is a time, with the rule of its zone in its help."""
    return click.option(*names, callback=to_time_ms, metavar="TIME", help=f"{help}  {TIME_HELP}")


def to_time_ms(ctx: click.Context, option: click.Parameter, given: str | None) -> int | None:
    """Parse a time: a date, a date and time, or milliseconds."""
    try:
        return None if given is None else parse_time_ms(given)
    except ValueError as exc:
        raise Refusal(f"{option.opts[0]} {exc}") from None
