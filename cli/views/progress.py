"""The progress of a long read, on standard error."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")
SHOW_EVERY = 1_000  # records between two updates of the progress bar


def with_progress(records: Iterable[T], name: str, total: int | None) -> Iterator[T]:
    """Yield the records and show on stderr how many have come."""
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(f"reading {name}", total=total)
        for number, record in enumerate(records, start=1):
            if number % SHOW_EVERY == 0:
                progress.update(task, completed=number)
            yield record
