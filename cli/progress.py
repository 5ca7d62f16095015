"""How far a long reading is, on standard error."""

from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from streams.codec import Record

SHOW_EVERY = 1_000  # records between two looks at the progress


def with_progress(records: Iterator[Record], name: str, total: int) -> Iterator[Record]:
    """Hand records on and show on stderr how many have come."""
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(f"reading {name}", total=total)
        for number, record in enumerate(records, start=1):
            if number % SHOW_EVERY == 0:
                progress.update(task, completed=number)
            yield record
