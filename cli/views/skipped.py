"""What is said of a log: how it is read, before work starts, and what of it was skipped, at the end."""

import click

from rankstream.events.skipped import Skipped

SHOWN = 10  # reasons


def print_notes(notes: tuple[str, ...]) -> None:
    """Print how a log is read: guessed columns, its unit of times, files that are not read."""
    for note in notes:
        click.echo(f"note: {note}", err=True)


def print_skipped(skipped: Skipped) -> None:
    """Print how many rows were skipped for each reason, the most common first, and which values count as missing."""
    for done, reasons in (("skipped", skipped.most_common()), ("ignored", skipped.most_common_ignored())):
        for reason, count in reasons[:SHOWN]:
            click.echo(f"{done} {count:,}: {reason}", err=True)
        if rest := sum(count for _, count in reasons[SHOWN:]):
            click.echo(f"{done} {rest:,} for {len(reasons) - SHOWN} more reasons", err=True)
