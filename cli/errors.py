"""How commands turn user errors into one sentence."""

from collections.abc import Iterator
from contextlib import contextmanager

import click


class Refusal(click.ClickException):
    """A user error; the message is one sentence and says what to do."""

    exit_code = 2


@contextmanager
def refusing(*kinds: type[Exception]) -> Iterator[None]:
    """Turn errors of these kinds, whose messages are written for users, into refusals; also a decorator."""
    try:
        yield
    except kinds as exc:
        raise Refusal(" ".join(str(exc).split())) from exc


@contextmanager
def needing_torch() -> Iterator[None]:
    """Refuse with how to install what training needs, around the imports of a command."""
    try:
        yield
    except ModuleNotFoundError as exc:
        raise Refusal(f'{exc.name} is not installed, which training needs: pip install "rankstream[train]"') from exc
