"""Edges of a graph as they are named on the command line: by which action and column, what they weigh, how they age."""

from math import isfinite, nan

import click

from rankstream.cli.errors import Refusal
from rankstream.evaluation.time_text import delay_ms
from rankstream.graph.membership_options import Edge


def edges_of(ctx: click.Context, option: click.Parameter, given: tuple[str, ...]) -> tuple[Edge, ...]:
    """Read ``ACTION:COLUMN`` and ``ACTION:COLUMN=WEIGHT`` options."""
    edges = []
    for text in given:
        action, _, rest = text.partition(":")
        column, equals, weight = rest.partition("=")
        if not (action and column):
            raise Refusal(f"--edges {text} is no ACTION:COLUMN; write for example --edges save:collection")
        edges.append(Edge(action, column, _weight(text, weight) if equals else 1.0))
    return tuple(edges)


def _weight(text: str, weight: str) -> float:
    try:
        number = float(weight)
    except ValueError:
        number = nan
    if not (isfinite(number) and number > 0):
        raise Refusal(
            f"--edges {text}: {weight or 'nothing'} is no weight; write a number above 0, as save:collection=3"
        )
    return number


def half_life_of(ctx: click.Context, option: click.Parameter, given: str | None) -> int | None:
    """Read a half-life; None where none is given."""
    if given is None:
        return None
    try:
        half_life_ms = delay_ms(given)
    except ValueError:
        half_life_ms = None
    if not half_life_ms:
        raise Refusal(f"--half-life {given} is none; write for example 30d or 12h, or leave it out")
    return half_life_ms
