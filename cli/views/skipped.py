"""What was skipped of a log, by reason."""

from collections import Counter

import click

SHOWN = 10  # reasons


def print_skipped(skipped: Counter[str]) -> None:
    """Print how many rows were skipped for each reason, the most common first."""
    for reason, count in skipped.most_common(SHOWN):
        click.echo(f"skipped {count:,}: {reason}", err=True)
    if rest := skipped.total() - sum(count for _, count in skipped.most_common(SHOWN)):
        click.echo(f"skipped {rest:,} for {len(skipped) - SHOWN} more reasons", err=True)
