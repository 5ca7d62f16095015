"""`rankstream catalogue`: items from files or from a topic, look one up, check a catalogue."""

from collections.abc import Mapping
from pathlib import Path

import click
import msgspec
import numpy as np

from rankstream.cli.errors import Refusal, refusing
from rankstream.cli.options.logs import dates_option, time_option
from rankstream.cli.options.settings import CONNECTED, pairs, settings_options
from rankstream.cli.options.versions import keep_option
from rankstream.cli.views.as_json import json_option, print_json
from rankstream.cli.views.skipped import print_notes, print_skipped
from rankstream.cli.views.table import Facts, console
from rankstream.content.catalogue import Catalogue
from rankstream.content.columns import NONE
from rankstream.content.item_files import MAX_SKIPPED, SEPARATOR, ItemOptions, read_items
from rankstream.content.items import Item
from rankstream.content.updates import replace_items
from rankstream.evaluation.time_text import time_text
from rankstream.events.arrivals import LogError
from rankstream.events.readers.dates import AUTO
from rankstream.events.readers.times import TIME_UNITS
from rankstream.features.embeddings.files import BrokenTableError
from rankstream.features.ids import Id, id_keys
from rankstream.ranking.bundle import Bundle, BundleRefusedError, open_bundle
from rankstream.streams.clients.connect import ClientError
from rankstream.streams.clients.item_updates import CatalogueFollower
from rankstream.streams.pipeline import wall_clock_ms
from rankstream.streams.settings import Settings

ROOT = click.argument("root", type=click.Path(path_type=Path, file_okay=False))


@click.group()
def command() -> None:
    """Import what items are: title, category, price, age.

    A catalogue is a folder of versions. Workers started with `--catalogue` on it follow: what is not in it is not
    proposed, new items are, and requests may ask for a category, a price range or a group.
    """


@command.command(name="import")
@click.argument("file", type=click.Path(path_type=Path))
@ROOT
@click.option(
    "--map",
    "columns",
    callback=pairs,
    multiple=True,
    metavar="FIELD=COLUMN",
    help="The column that holds a field (id, title, text, category, price, currency, picture, group, collections, "
    "created_at_ms, gone), repeatable; of a category also several, the widest first: a>b>c.  [default: the field's own "
    "name, else a usual synonym]",
)
@click.option(
    "--set",
    "constants",
    callback=pairs,
    multiple=True,
    metavar="FIELD=VALUE",
    help="The same value of a field for all rows, repeatable.",
)
@click.option("--currency", metavar="CODE", help="Of the catalogue, as EUR: prices in others are left out.")
@click.option(
    "--separator",
    default=SEPARATOR,
    show_default=True,
    metavar="TEXT",
    help="Between the names of a category's path, the widest first.",
)
@click.option(
    "--time-unit", type=click.Choice(TIME_UNITS), default=AUTO, show_default=True, help="Of times that are numbers."
)
@dates_option
@click.option("--delimiter", metavar="TEXT", help="Between the columns of text.  [default: told by the file]")
@click.option("--columns", "heading", metavar="NAME,NAME,...", help="The columns' names, for files without a heading.")
@time_option("--as-of", help="When the items were like this: replays use it from then on.  [default: now]")
@keep_option(at_least=2)
@click.option("--allow-skips", is_flag=True, help="Go on where more than half of the rows can't be read.")
@json_option
@refusing(LogError, BrokenTableError)
def import_items(
    file: Path,
    root: Path,
    columns: dict[str, str],
    constants: dict[str, str],
    currency: str | None,
    separator: str,
    time_unit: str,
    dates: str,
    delimiter: str | None,
    heading: str | None,
    as_of: int | None,
    keep: int,
    allow_skips: bool,
    as_json: bool,
) -> None:
    """Publish the items of a file as the newest version of the catalogue in ROOT.

    FILE is Parquet, delimited text or JSON lines, or a folder of such files; it holds the whole catalogue: what it does
    not name is gone. A row without an id that can be read is skipped, any other field that can't be read counts as
    missing; both are counted by reason. Of rows with one id the last one counts.

    \b
    Examples:
      rankstream catalogue import items.parquet catalogue
      rankstream catalogue import shop.csv catalogue --map id=sku \\
        --map created_at_ms=added --currency EUR
    """
    names = None if heading is None else tuple(name.strip() for name in heading.split(","))
    max_skipped = 1.0 if allow_skips else MAX_SKIPPED
    options = ItemOptions(columns, constants, time_unit, dates, delimiter, names, separator, currency, max_skipped)
    found = read_items(file, options, wall_clock_ms() if as_of is None else as_of)
    folder = replace_items(root, found.catalogue, keep)
    if as_json:
        skipped = dict(found.skipped.most_common())
        ignored = dict(found.skipped.most_common_ignored())
        counts = {"rows": found.rows, "items": len(found.catalogue), "gone": found.gone}
        print_json({"version": folder} | counts | {"skipped": skipped, "ignored": ignored})
        return
    print_notes(found.notes)
    print_skipped(found.skipped)
    gone = f", {found.gone:,} are gone" if found.gone else ""
    click.echo(f"published {folder}: {len(found.catalogue):,} items of {found.rows:,} rows{gone}")


@command.command()
@ROOT
@click.argument("item_id", metavar="ID")
@json_option
@refusing(BrokenTableError)
def show(root: Path, item_id: str, as_json: bool) -> None:
    """Show what the catalogue in ROOT knows of the item ID.

    \b
    Example:
      rankstream catalogue show catalogue a7
    """
    catalogue = Catalogue.open(root)
    item = _item_of(catalogue, item_id)
    if item is None:
        raise Refusal(f"the catalogue {root} (version {catalogue.version}) has no item {item_id}")
    if as_json:
        print_json({"version": catalogue.version, "item": item})
    else:
        console().print(item_view(item))


def _item_of(catalogue: Catalogue, item_id: Id) -> Item | None:
    rows, found = catalogue.look_up(id_keys([item_id]))
    return catalogue.items(rows)[0] if found[0] else None


def item_view(item: Item) -> Facts:
    """Return what is known of an item, for people."""
    return Facts({name: _shown(name, value) for name, value in msgspec.structs.asdict(item).items()})


def _shown(name: str, value: object) -> str:
    if name == "created_at_ms" and isinstance(value, int):
        return time_text(value)
    if isinstance(value, tuple):
        return " > ".join(value) if name == "category" else ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


@command.command()
@ROOT
@click.option(
    "--bundle", "bundle_dir", type=click.Path(path_type=Path), help="Say also how many of this bundle's items it holds."
)
@json_option
@refusing(BrokenTableError, BundleRefusedError)
def check(root: Path, bundle_dir: Path | None, as_json: bool) -> None:
    """Verify the catalogue in ROOT and show what it holds; ends with 2 and the reason if it can't be served.

    \b
    Example:
      rankstream catalogue check catalogue --bundle bundle
    """
    catalogue = Catalogue.open(root)
    facts = facts_of(catalogue) | ({} if bundle_dir is None else _beside(open_bundle(bundle_dir), catalogue))
    if as_json:
        print_json({"catalogue": root} | facts)
        return
    console().print(catalogue_view(facts))
    console().print("checksums verified", style="green")


def catalogue_view(facts: Mapping[str, object]) -> Facts:
    """Return what a catalogue holds, for people."""
    as_of_ms = facts["as_of_ms"]
    others = {name.replace("_", " "): value for name, value in facts.items() if name != "as_of_ms"}
    texts = {name: f"{value:,}" if isinstance(value, int) else str(value) for name, value in others.items()}
    return Facts(texts | ({"as of": time_text(as_of_ms)} if isinstance(as_of_ms, int) else {}))


def facts_of(catalogue: Catalogue) -> dict[str, object]:
    """Return what people want to know of a catalogue."""
    return {
        "version": catalogue.version,
        "as_of_ms": catalogue.as_of_ms,
        "items": len(catalogue),
        "with_price": int(np.count_nonzero(~np.isnan(catalogue.prices))),
        "currency": catalogue.currency or "none",
        "with_category": int(np.count_nonzero((catalogue.categories != NONE).any(axis=1))),
        "categories": len(catalogue.paths),
        "levels": catalogue.header.levels,
        "groups": len(catalogue.columns.group_keys),
        "with_created_at": len(catalogue.newest),
    }


def _beside(bundle: Bundle, catalogue: Catalogue) -> dict[str, object]:
    keys = bundle.items.keys
    _, found = catalogue.look_up(keys)
    _, with_vector = bundle.items.rows(catalogue.keys)
    return {
        "bundle_items": len(keys),
        "bundle_items_in_it": int(np.count_nonzero(found)),
        "items_without_vector": int(np.count_nonzero(~with_vector)),
    }


@command.command()
@ROOT
@click.option("--currency", metavar="CODE", help="Of the catalogue.  [default: of its first item with a price]")
@click.option(
    "--every-s", type=click.FloatRange(min=0.1), default=1.0, show_default=True, help="Least time between two versions."
)
@keep_option(at_least=2)
@click.option("--once", is_flag=True, help="Read what the topic holds now, publish it and end.")
@json_option
@settings_options(*CONNECTED)
@refusing(ClientError, BrokenTableError)
def follow(
    root: Path, currency: str | None, every_s: float, keep: int, once: bool, as_json: bool, settings: Settings
) -> None:
    """Publish what the topic item-updates says into the catalogue in ROOT, until Ctrl-C or SIGTERM.

    A new version is there within about a second of a change. Each holds the positions in the topic that it ends at, so
    a killed process goes on where its last version ends. Records that can't be understood go to dead-letters. One
    process a folder; a file imported meanwhile takes the place of all that was known before, and changes go on top.

    \b
    Reads:  item-updates
    Writes: versions of the catalogue in ROOT; dead-letters

    \b
    Examples:
      rankstream catalogue follow catalogue --bootstrap-servers kafka:9092
      rankstream catalogue follow catalogue --once --json | jq .items
    """
    with CatalogueFollower(settings, root, currency=currency, every_s=every_s, keep=keep) as follower:
        if once:
            follower.read_to_end()
        while not once:
            version = follower.step()
            if version is not None and not as_json:
                click.echo(f"published {root / version.version}: {len(version):,} items")
        done, catalogue = follower.followed, follower.catalogue
    rejected = dict(sorted(done.rejected.items()))
    if as_json:
        counts = {"records": done.records, "versions": done.versions, "rejected": rejected}
        print_json({"version": catalogue.version or None, "items": len(catalogue)} | counts)
    else:
        listed = "".join(f", {count:,} rejected as {reason}" for reason, count in rejected.items())
        click.echo(f"{done.records:,} records read{listed}: {len(catalogue):,} items")
