"""The flags that all experiments share, and how they refuse invalid input."""

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from rankstream.events.arrivals import LogError
from rankstream.experiments.runs import RESULTS, WORK

Command = TypeVar("Command", bound=Callable[..., Any])


class RefusedError(click.ClickException):
    """Invalid input of an experiment: one sentence, exit code 2."""

    exit_code = 2


@contextmanager
def refusals(*kinds: type[Exception]) -> Iterator[None]:
    """Turn a refused log, and errors of these kinds, into one sentence and exit code 2."""
    kinds = (LogError, *kinds)
    try:
        yield
    except kinds as exc:
        raise RefusedError(str(exc)) from exc


def options(sizes: Iterable[str], size: str, rows: Iterable[str]) -> Callable[[Command], Command]:
    """Add ``--size``, ``--rows``, ``--work`` and ``--results`` with these choices and defaults."""
    added = (
        click.option("--size", type=click.Choice(list(sizes)), default=size, show_default=True),
        click.option("--rows", "only", multiple=True, type=click.Choice(list(rows)), help="Only these rows."),
        click.option("--work", type=click.Path(path_type=Path), default=WORK, show_default=True, help=WORK_HELP),
        click.option("--results", type=click.Path(path_type=Path), default=RESULTS, help="Folder of results."),
    )

    def add(command: Command) -> Command:
        for option in reversed(added):
            command = option(command)
        return command

    return add


def some_of(known: Collection[str], what: str) -> Callable[[click.Context, click.Parameter, str], tuple[str, ...]]:
    """Return the callback of an option that takes ``NAME,NAME,...`` of these; ``what`` one of them is."""

    def names(ctx: click.Context, option: click.Parameter, given: str) -> tuple[str, ...]:
        found = tuple(name.strip() for name in given.split(",") if name.strip())
        for name in found:
            if name not in known:
                raise RefusedError(
                    f"--{option.name} {given}: {name} is no {what} of the table; they are {', '.join(known)}"
                )
        return found

    return names


def logs_option(known: Collection[str]) -> Callable[[Command], Command]:
    """Add ``--logs``, all of these by default."""
    every = ",".join(known)
    return click.option(
        "--logs", callback=some_of(known, "log"), default=every, show_default=True, metavar="NAME,NAME,..."
    )


def seeds_option(default: int) -> Callable[[Command], Command]:
    """Add ``--seeds``."""
    number = click.IntRange(1)
    return click.option("--seeds", type=number, default=default, show_default=True, help="Trainings of each row.")


WORK_HELP = "Folder of checkpoints and caches."
