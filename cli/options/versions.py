"""How many versions of what a command publishes stay on disk."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from rankstream.features.embeddings.files import KEPT_VERSIONS

F = TypeVar("F", bound=Callable[..., Any])


def keep_option(at_least: int) -> Callable[[F], F]:
    """Return the decorator that gives a command ``keep``; workers that follow need the version before, too."""
    return click.option(
        "--keep",
        type=click.IntRange(min=at_least),
        default=KEPT_VERSIONS,
        show_default=True,
        help="Versions that are kept, for replays of the past.",
    )
