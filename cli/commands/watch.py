"""`rankstream watch`: feeds as they come."""

from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice

import click
import msgspec
from rich.console import Console
from rich.live import Live

from rankstream.cli.errors import refusing
from rankstream.cli.options.settings import CONNECTED, settings_options
from rankstream.cli.views.feeds import newest_that_fit
from rankstream.cli.views.table import console
from rankstream.streams.clients.connect import ClientError
from rankstream.streams.clients.readers import FeedReader
from rankstream.streams.codec import RankedFeed
from rankstream.streams.settings import Settings

SHOWN = 20


@click.command()
@click.option("--user", metavar="ID", help="Only feeds of this user.")
@click.option("--from-beginning", is_flag=True, help="Also the feeds that are in the topic already.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Stop after N feeds.")
@click.option(
    "--json", "as_json", is_flag=True, help="A line of JSON a feed; the default where the output is no terminal."
)
@settings_options(*CONNECTED)
@refusing(ClientError)
def command(user: str | None, from_beginning: bool, limit: int | None, as_json: bool, settings: Settings) -> None:
    """Show ranked feeds as they come, until Ctrl-C.

    \b
    Reads: ranked-feeds. Writes nothing and joins no consumer group.

    \b
    Examples:
      rankstream watch
      rankstream watch --user 7 --from-beginning --json | jq .items[0]
    """
    screen = console()
    with FeedReader(settings, from_beginning) as reader:
        feeds = islice(_feeds(reader, user), limit)
        if as_json or not screen.is_terminal:
            for feed in feeds:
                click.echo(msgspec.json.encode(feed))
        else:
            _show(feeds, screen)


def _feeds(reader: FeedReader, user: str | None) -> Iterator[RankedFeed]:
    while True:
        for feed in reader.feeds():
            if user is None or str(feed.user_id) == user:
                yield feed


def _show(feeds: Iterator[RankedFeed], screen: Console) -> None:
    newest: deque[RankedFeed] = deque(maxlen=SHOWN)
    seen = 0
    first = newest_that_fit([], 0, screen)
    with Live(first, console=screen, refresh_per_second=4) as live, suppress(KeyboardInterrupt):
        for feed in feeds:
            newest.appendleft(feed)
            seen += 1
            live.update(newest_that_fit(list(newest), seen, screen))
