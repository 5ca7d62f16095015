"""Progress of experiments on stderr, so that stdout holds results alone."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress


@contextmanager
def shown() -> Iterator[Progress]:
    """Yield a progress display that lives as long as the work inside."""
    with Progress(console=Console(stderr=True)) as progress:
        yield progress
