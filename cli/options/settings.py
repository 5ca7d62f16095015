"""The flags of commands, made from the fields of ``streams.settings.Settings``."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from rankstream.cli.errors import Refusal
from rankstream.streams.clients.time_order import EVERYTHING, OffsetRange
from rankstream.streams.setting_fields import about, flag, kind_of
from rankstream.streams.settings import Section, in_sections, read_settings

METAVARS = {int: "INTEGER", float: "NUMBER", str: "TEXT", Path: "PATH"}
CONNECTED = (Section.CONNECTION, Section.SECURITY)

R = TypeVar("R")


def settings_options(*sections: Section, also: Sequence[str] = ()) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Add the flags of these sections, and of single settings by name, to a command that takes the ``settings``."""
    offered = [known for known in in_sections(sections) if not about(known).secret]
    offered += [known for known in in_sections(Section) if known.name in also]
    return options_of(offered, lambda flags, file: read_settings(flags, file=file))


def options_of(
    offered: Sequence["Field[Any]"], read: Callable[[Mapping[str, object], Path | None], object]
) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Add the flags of these fields to a command that takes the ``settings`` which ``read`` makes of all sources."""

    def decorate(command: Callable[..., R]) -> Callable[..., R]:
        @wraps(command)
        def with_settings(config: Path | None, **given: Any) -> R:
            flags = {known.name: given.pop(known.name) for known in offered}
            return command(settings=read(flags, config), **given)

        decorated: Callable[..., R] = with_settings
        for known in reversed(offered):
            decorated = _option(known)(decorated)
        return click.option(
            "--config", type=click.Path(path_type=Path), help="Settings file.  [default: rankstream.toml, if there]"
        )(decorated)

    return decorate


def pairs(ctx: click.Context, option: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    """Read ``field=value`` options."""
    for pair in given:
        if "=" not in pair:
            raise Refusal(f"{option.opts[0]} {pair} has no =; write {option.opts[0]} field=something")
    return dict(pair.split("=", 1) for pair in given)


def offset_range(ctx: click.Context, option: click.Parameter, given: str | None) -> OffsetRange:
    """Read ``FIRST:END``, either of which may be left out."""
    if given is None:
        return EVERYTHING
    parts = re.fullmatch(r"(\d*):(\d*)", given)
    if parts is None:
        raise Refusal(f"--{option.name} is {given!r}; wanted FIRST:END, as in 1000:2000, :500 or 1000:")
    return OffsetRange(int(parts[1] or 0), int(parts[2]) if parts[2] else None)


def _option(known: "Field[Any]") -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Make the option; it has no default, so that environment and file are read."""
    declared, kind = about(known), kind_of(known)
    names = f"{flag(known.name)}/--no-{flag(known.name)[2:]}" if kind is bool else flag(known.name)
    metavar = "|".join(declared.choices) or (declared.unit or METAVARS.get(kind))
    shown = "" if known.default in (None, "") else f"  [default: {default_text(known)}]"
    return click.option(
        names, known.name, default=None, metavar=None if kind is bool else metavar, help=declared.help + shown
    )


def default_text(known: "Field[Any]") -> str:
    """Return the default as one would write it."""
    default = known.default
    if default is None:
        return "none"
    if isinstance(default, bool):
        return str(default).lower()
    return f"{default:g}" if isinstance(default, float) else str(default)
