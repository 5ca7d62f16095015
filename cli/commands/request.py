"""`rankstream request`: one request, one feed."""

import sys
from uuid import uuid4

import click
import msgspec

from rankstream.cli.errors import Refusal, refusing
from rankstream.cli.options.logs import to_time_ms
from rankstream.cli.options.settings import CONNECTED, settings_options
from rankstream.cli.views.as_json import json_option, print_json
from rankstream.cli.views.feeds import feed_table
from rankstream.cli.views.table import console
from rankstream.content.item_files import SEPARATOR
from rankstream.ranking.request import MAX_CANDIDATES, RankingRefusedError, RankingRequest, check_request
from rankstream.streams.clients.connect import ClientError
from rankstream.streams.clients.producer import Producer
from rankstream.streams.clients.readers import FeedReader
from rankstream.streams.settings import Settings


@click.command()
@click.option("--user", required=True, metavar="ID", help="The user to rank for.")
@click.option("--candidates", metavar="ID,ID,...", help="The items to rank; - reads them from standard input.")
@click.option(
    "--limit", type=click.IntRange(1, MAX_CANDIDATES), help="Rank this many items that retrieval finds instead."
)
@click.option("--exclude", metavar="ID,ID,...", help="With --limit: items that are never to be proposed.")
@click.option("--category", metavar="NAME>NAME", help="With --limit and a catalogue: only items of it, or below it.")
@click.option("--price-min", type=click.FloatRange(min=0), metavar="NUMBER", help="The same: none that costs less.")
@click.option("--price-max", type=click.FloatRange(min=0), metavar="NUMBER", help="The same: none that costs more.")
@click.option("--group", metavar="ID", help="The same: only items of this group.")
@click.option("--top-k", type=click.IntRange(min=1), help="Return the best K only.")
@click.option(
    "--surface", metavar="NAME", help="Where the feed will be shown; names that the bundle lacks count as none."
)
@click.option(
    "--at",
    "at_ms",
    callback=to_time_ms,
    metavar="TIME",
    help="Rank as of TIME, where the log that was sent ends in the past.  [default: now]",
)
@click.option("--timeout", default=10.0, show_default=True, metavar="SECONDS", help="How long to wait for the answer.")
@json_option
@settings_options(*CONNECTED)
@refusing(ClientError)
def command(
    user: str,
    candidates: str | None,
    limit: int | None,
    exclude: str | None,
    category: str | None,
    price_min: float | None,
    price_max: float | None,
    group: str | None,
    top_k: int | None,
    surface: str | None,
    at_ms: int | None,
    timeout: float,
    as_json: bool,
    settings: Settings,
) -> None:
    """Ask for one ranking and show it.

    \b
    Reads: ranked-feeds. Writes: ranking-requests.

    \b
    Examples:
      rankstream request --user 7 --candidates 10,11,12
      rankstream request --user 7 --limit 500 --top-k 20 --surface home --json
      rankstream request --user 7 --limit 10 --at 2023-11-12T23:40
      rankstream request --user 7 --limit 100 --top-k 10 \\
        --category "Shoes>Running" --price-max 80
    """
    filters = _filters(category, price_min, price_max, group)
    request = _request(user, candidates, limit, top_k, surface, at_ms, _ids_of(exclude), filters)
    with FeedReader(settings) as reader:  # before the request goes out: it reads from now on
        with Producer(settings) as producer:
            producer.send_request(request)
        feed = next(reader.answers([request.request_id], timeout), None)
    if feed is None:
        raise Refusal(
            f"no answer within {timeout:g} s; is a worker running for the topics at {settings.bootstrap_servers}?"
        )
    if as_json:
        print_json(feed)
    elif isinstance(feed.error, msgspec.UnsetType):
        console().print(feed_table(feed))
    else:
        raise Refusal(f"the worker refused ({feed.error.reason}): {feed.error.message}")


def _filters(
    category: str | None, price_min: float | None, price_max: float | None, group: str | None
) -> dict[str, object] | None:
    """Return the filters of the flags; None where none is given."""
    path = None if category is None else [name.strip() for name in category.split(SEPARATOR)]
    given = {"category": path, "price_min": price_min, "price_max": price_max, "group": group}
    return {name: value for name, value in given.items() if value is not None} or None


def _ids_of(text: str | None) -> list[str] | None:
    if text is None:
        return None
    return [item for item in text.replace("\n", ",").replace(" ", "").split(",") if item]


def _request(
    user: str,
    candidates: str | None,
    limit: int | None,
    top_k: int | None,
    surface: str | None,
    at_ms: int | None,
    exclude: list[str] | None,
    filters: dict[str, object] | None,
) -> RankingRequest:
    """Make the request of the flags. Raises ``Refusal``."""
    if (candidates is None) == (limit is None):
        raise Refusal("give either --candidates (items to rank) or --limit (how many items retrieval finds)")
    items = _ids_of(sys.stdin.read() if candidates == "-" else candidates)
    fields = {
        "request_id": uuid4().hex, "user_id": user, "candidates": items, "limit": limit, "top_k": top_k,
        "timestamp_ms": at_ms, "surface": surface, "exclude": exclude, "filters": filters,
    }  # fmt: skip
    try:
        request = msgspec.convert(fields, RankingRequest)
        check_request(request)
        return request
    except RankingRefusedError as exc:
        raise Refusal(str(exc)) from exc
    except msgspec.ValidationError as exc:
        raise Refusal(f"a worker would reject this request: {exc}") from exc
