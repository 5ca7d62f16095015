"""Options that the commands share which read a log for training."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from rankstream.cli.errors import Refusal
from rankstream.evaluation.time_text import parse_time_ms
from rankstream.events.log_kind import WIRE_FORMAT
from rankstream.events.public import PUBLIC

FORMATS = (*PUBLIC, WIRE_FORMAT)

F = TypeVar("F", bound=Callable[..., Any])


def format_option(command: F) -> F:
    """Offer ``--format``."""
    return click.option(
        "--format", "kind", type=click.Choice(FORMATS), help="Of LOG.  [default: recognised by its columns]"
    )(command)


def strict_option(command: F) -> F:
    """Offer ``--strict``."""
    return click.option("--strict", is_flag=True, help="Refuse LOG if it has rows that would be skipped.")(command)


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


def to_time_ms(ctx: click.Context, option: click.Parameter, given: str | None) -> int | None:
    """Parse a time: a date, a date and time, or milliseconds."""
    try:
        return None if given is None else parse_time_ms(given)
    except ValueError as exc:
        raise Refusal(f"{option.opts[0]} {exc}") from None
