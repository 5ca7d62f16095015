"""`rankstream status`: the group of workers, how far it is behind, and whether it is ready."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import click
from rich.text import Text

from rankstream.cli.errors import refusing
from rankstream.cli.options.settings import CONNECTED, settings_options
from rankstream.cli.views.as_json import json_option, print_json
from rankstream.cli.views.table import Cell, Table, console, names, numbers
from rankstream.streams.clients.connect import ClientError
from rankstream.streams.clients.group_status import GroupStatus, status_of_group
from rankstream.streams.clients.worker_pages import PageError, readiness_at
from rankstream.streams.settings import Settings
from rankstream.streams.worker.readiness import Readiness


@dataclass(frozen=True)
class AskedWorker:
    """A worker that was asked by its page."""

    url: str
    ready: bool
    reasons: Sequence[str]
    page: Readiness | None  # None where there was no answer


@click.command()
@click.option("--worker", "urls", multiple=True, metavar="URL", help="Web port of a worker, to ask it too; repeat.")
@json_option
@settings_options(*CONNECTED, also=("app_id",))
@refusing(ClientError)
def command(urls: tuple[str, ...], as_json: bool, settings: Settings) -> int:
    """Show the group of workers: who has which partition, how far it is behind, and what is not ready.

    Ends with 1 where something is not ready: no worker belongs to the group, it is being rebalanced, a partition has no
    worker, or one that is named by --worker does not answer its requests. Lag is what the group has not committed,
    so up to commit_interval_s of work is in it; that of a worker itself is in its /metrics.

    \b
    Reads: the group, offsets of user-actions and ranking-requests; /ready of
           workers. Writes nothing and joins no group.

    \b
    Examples:
      rankstream status --bootstrap-servers kafka:9092
      rankstream status --worker worker-1:6066 --worker worker-2:6066
      rankstream status --json | jq '[.partitions[].lag] | add'
    """
    group, workers = asyncio.run(status_of_group(settings)), [asked(url) for url in urls]
    problems = [*group.problems(), *(reason for one in workers for reason in one.reasons)]
    if as_json:
        print_json(
            {
                "ready": not problems,
                "reasons": problems,
                "group": group.group,
                "state": group.state,
                "members": group.members,
                "partitions": group.partitions,
                "workers": workers,
            }
        )
    else:
        _show(group, workers, problems)
    return 1 if problems else 0


def asked(url: str) -> AskedWorker:
    """Ask a worker for its readiness."""
    try:
        page = readiness_at(url)
    except PageError as exc:
        return AskedWorker(url, False, [str(exc)], None)
    return AskedWorker(url, page.ready, [f"{url}: {reason}" for reason in page.reasons], page)


def _show(group: GroupStatus, workers: Sequence[AskedWorker], problems: Sequence[str]) -> None:
    screen = console()
    screen.print(members_table(group))
    screen.print(partitions_table(group))
    if workers:
        screen.print(workers_table(workers))
    for problem in problems:
        screen.print(Text(f"not ready: {problem}", "red"))
    if not problems:
        screen.print(Text("ready", "green"))


def members_table(group: GroupStatus) -> Table:
    """Return a row for each member."""
    rows = [[one.member, one.host, ", ".join(map(str, one.partitions))] for one in group.members]
    return Table(names("member", "host", "partitions"), rows, title=f"group {group.group}: {group.state}")


def partitions_table(group: GroupStatus) -> Table:
    """Return a row for each partition of the topics that workers read."""
    rows: list[list[Cell]] = [
        [
            one.topic,
            str(one.partition),
            "-" if one.committed is None else f"{one.committed:,}",
            f"{one.end:,}",
            f"{one.lag:,}",
            one.member or (Text("nobody", "red") if group.tells_owners else "?"),
        ]
        for one in group.partitions
    ]
    columns = [*names("topic"), *numbers("partition", "committed", "end", "lag"), *names("member")]
    notes = [f"{sum(one.lag for one in group.partitions):,} records behind"]
    if group.members and not group.tells_owners:
        notes.append("?: these brokers do not tell which worker has what; ask the workers with --worker")
    return Table(columns, rows, notes=notes)


def workers_table(workers: Sequence[AskedWorker]) -> Table:
    """Return a row for each worker that was asked."""
    rows = [[one.url, "yes" if one.ready else "no", _partitions(one.page), _versions(one.page)] for one in workers]
    return Table(names("worker", "ready", "partitions", "serves"), rows)


def _partitions(page: Readiness | None) -> str:
    return "-" if page is None else ", ".join(map(str, page.partitions))


def _versions(page: Readiness | None) -> str:
    return "-" if page is None else "\n".join(f"{kind} {one.version}" for kind, one in page.versions.items())
