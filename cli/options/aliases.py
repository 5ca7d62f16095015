"""Flags that were renamed: the old spelling works for one more version, is in no help, and is answered with a note."""

from collections.abc import Callable, Mapping
from typing import Any

import click


def renamed(flags: Mapping[str, str]) -> dict[str, Any]:
    """Return the ``context_settings`` of a command that reads old flags as new ones; ``flags`` is old -> new.

    As in ``@click.command(context_settings=renamed({"--visit-gap": "--session-gap"}))``.
    """
    return {"token_normalize_func": _reading({old.lstrip("-"): new.lstrip("-") for old, new in flags.items()})}


def _reading(new_names: Mapping[str, str]) -> Callable[[str], str]:
    def read(name: str) -> str:
        if name not in new_names:
            return name
        click.echo(f"--{name} is now --{new_names[name]}; the old name goes with the next version", err=True)
        return new_names[name]

    return read
