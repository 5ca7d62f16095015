"""``--json``: one JSON document on standard output and nothing else there; notes and progress go to standard error."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

F = TypeVar("F", bound=Callable[..., Any])


def json_option(command: F) -> F:
    """Offer ``--json``."""
    help_text = "Print one JSON document instead, and nothing else on standard output."
    return click.option("--json", "as_json", is_flag=True, help=help_text)(command)


def print_json(value: object) -> None:
    """Print plain values, dataclasses or structs as one line of JSON; what is not known (NaN) is null."""
    click.echo(msgspec.json.encode(value, enc_hook=_plain))


def _plain(value: Any) -> object:
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item"):  # a number of numpy
        return value.item()
    raise TypeError(f"{type(value).__name__} has no form in JSON")
