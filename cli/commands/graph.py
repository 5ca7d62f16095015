"""`rankstream graph`: build the graph that random walks go on, and check one."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import click
import numpy as np
from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from rankstream.cli.errors import Refusal, refusing
from rankstream.cli.options.logs import dates_option, time_option
from rankstream.cli.options.settings import pairs
from rankstream.cli.options.versions import keep_option
from rankstream.cli.views.as_json import json_option, print_json
from rankstream.cli.views.skipped import print_notes, print_skipped
from rankstream.cli.views.table import Facts, console
from rankstream.content.catalogue import Catalogue
from rankstream.evaluation.leakage import CatalogueVersions
from rankstream.evaluation.time_text import time_text
from rankstream.events.arrivals import LogError
from rankstream.events.readers.dates import AUTO
from rankstream.events.readers.times import TIME_UNITS
from rankstream.features.embeddings.files import BrokenTableError
from rankstream.graph.build import BuiltGraph, EmptyGraphError, GraphConfig, build_graph
from rankstream.graph.item_graph import ItemGraph, publish_graph
from rankstream.graph.memberships import (
    MembershipOptions,
    Memberships,
    ReadMemberships,
    collections_of,
    joined,
    read_memberships,
)
from rankstream.streams.pipeline import wall_clock_ms


def edges_of(ctx: click.Context, option: click.Parameter, given: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Read ``ACTION:COLUMN`` options."""
    pairs = []
    for text in given:
        action, _, column = text.partition(":")
        if not (action and column):
            raise Refusal(f"--edges {text} is no ACTION:COLUMN; write for example --edges save:collection")
        pairs.append((action, column))
    return tuple(pairs)


ROOT = click.argument("root", type=click.Path(path_type=Path, file_okay=False))


@click.group()
def command() -> None:
    """Build the graph of items and what holds them together, for random walks.

    A graph is a folder of versions. Workers started with `--graph` on it follow: requests with a limit are then also
    answered with what random walks find that begin at what the user liked lately and go through boards: baskets,
    playlists, shelves, whatever items are in together. (Walks through the sessions of the log need no graph: those are
    among the item counts.)
    """


@command.command()
@ROOT
@click.option(
    "--rows", "file", type=click.Path(path_type=Path),
    help="A file, a folder or a pattern of files: a row says that an item is in a board.",
)  # fmt: skip
@click.option(
    "--catalogue", type=click.Path(path_type=Path),
    help="Folder of a catalogue: the collections of its items are boards.",
)  # fmt: skip
@click.option(
    "--map", "columns", callback=pairs, multiple=True, metavar="FIELD=COLUMN",
    help="The column of --rows that holds a field (board, item_id, timestamp_ms, action), repeatable.  [default: of "
    "the field's own name]",
)  # fmt: skip
@click.option(
    "--edges", callback=edges_of, multiple=True, metavar="ACTION:COLUMN",
    help="Of rows that are actions: this action says by that column in which board its item is, repeatable; rows of "
    "other actions say nothing.",
)  # fmt: skip
@click.option(
    "--time-unit", type=click.Choice(TIME_UNITS), default=AUTO, show_default=True, help="Of times that are numbers."
)
@dates_option
@click.option("--delimiter", metavar="TEXT", help="Between the columns of text.  [default: told by the file]")
@click.option("--columns", "heading", metavar="NAME,NAME,...", help="The columns' names, for files without a heading.")
@click.option(
    "--max-items", type=click.IntRange(min=2), default=GraphConfig.max_items, show_default=True,
    help="Leave out boards of more items: what joins nearly everything says little.",
)  # fmt: skip
@click.option(
    "--max-boards", type=click.IntRange(min=1), default=GraphConfig.max_boards, show_default=True,
    help="Let walks leave an item by its newest boards, so many.",
)  # fmt: skip
@time_option("--as-of", help="As-of time: later rows are left out, replays use it from then on.  [default: now]")
@keep_option(at_least=2)
@json_option
@refusing(LogError, BrokenTableError, EmptyGraphError)
def build(
    root: Path,
    file: Path | None,
    catalogue: Path | None,
    columns: dict[str, str],
    edges: tuple[tuple[str, str], ...],
    time_unit: str,
    dates: str,
    delimiter: str | None,
    heading: str | None,
    max_items: int,
    max_boards: int,
    as_of: int | None,
    keep: int,
    as_json: bool,
) -> None:
    """Build a graph from boards and publish it into ROOT.

    \b
    Reads:  the rows of --rows, the newest version of --catalogue that is not
            after --as-of; at least one of the two
    Writes: a new version in ROOT

    \b
    Examples:
      rankstream graph build graph --rows lines.parquet --map board=basket_id \\
        --map item_id=product_id --map timestamp_ms=time_utc
      rankstream graph build graph --rows actions.parquet \\
        --edges save:collection --edges buy:basket
      rankstream graph build graph --catalogue catalogue
    """
    if edges and file is None:
        raise Refusal("--edges are of rows, and none are given; give --rows FILE too")
    if file is None and catalogue is None:
        raise Refusal("nothing to build of is named; give --rows FILE, --catalogue DIR or both")
    as_of_ms = wall_clock_ms() if as_of is None else as_of
    parts: list[Memberships] = []
    read: ReadMemberships | None = None
    if file is not None:
        names = tuple(heading.split(",")) if heading else None
        read = _read(file, MembershipOptions(columns, time_unit, dates, delimiter, names, edges), as_of_ms)
        parts.append(read.pairs)
    if catalogue is not None:
        parts.append(collections_of(_catalogue_as_of(catalogue, as_of_ms)))
    built = build_graph(joined(parts), as_of_ms, GraphConfig(max_items, max_boards))
    folder = publish_graph(root, built.graph, keep)
    if as_json:
        print_json(_document(folder, built, read))
        return
    if read is not None:
        print_notes(read.notes)
        print_skipped(read.skipped)
    click.echo(f"published {folder}: {_told(built, read)}")


def _read(file: Path, options: MembershipOptions, as_of_ms: int) -> ReadMemberships:
    with _shown() as progress:
        task = progress.add_task(f"reading {file}", total=None)
        return read_memberships(
            file, options, as_of_ms, lambda rows: progress.update(task, description=f"{rows:,} rows of {file}")
        )


@contextmanager
def _shown() -> Iterator[Progress]:
    columns = [TextColumn("{task.description}"), TimeElapsedColumn()]
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield progress


def _catalogue_as_of(root: Path, as_of_ms: int) -> Catalogue:
    versions = CatalogueVersions(root)
    found = versions.as_of(as_of_ms)
    if found is None:
        oldest = time_text(versions.opened[0].as_of_ms)
        raise Refusal(
            f"the catalogue in {root} says what items are as of {oldest} at the earliest, but the graph is to know "
            f"nothing after {time_text(as_of_ms)}; give a later --as-of, or import the items as of then"
        )
    return found


def _counts(built: BuiltGraph) -> dict[str, int]:
    return {
        "items": len(built.graph),
        "boards": len(built.graph.graph.items),
        "edges": built.edges,
        "repeated": built.repeated,
        "single": built.single,
        "wide": built.wide,
        "pruned": built.pruned,
    }


def _document(folder: Path, built: BuiltGraph, read: ReadMemberships | None) -> dict[str, object]:
    skipped = {} if read is None else dict(read.skipped.most_common())
    return {"version": folder, "as_of_ms": built.graph.as_of_ms} | _counts(built) | _rows(read) | {"skipped": skipped}


def _rows(read: ReadMemberships | None) -> dict[str, int]:
    if read is None:
        return {"rows": 0, "later": 0, "unboarded": 0}
    return {"rows": read.rows, "later": read.later, "unboarded": read.unboarded}


def _told(built: BuiltGraph, read: ReadMemberships | None) -> str:
    counts, rows = _counts(built), _rows(read)
    left = {
        "rows of later times": rows["later"],
        "rows of no board": rows["unboarded"],
        "boards of one item": counts["single"],
        "boards of too many": counts["wide"],
        "edges of popular items": counts["pruned"],
    }
    out = ", ".join(f"{count:,} {what}" for what, count in left.items() if count)
    kept = f"{counts['items']:,} items in {counts['boards']:,} boards, {counts['edges']:,} edges"
    return f"{kept} as of {time_text(built.graph.as_of_ms)}" + (f"; left out: {out}" if out else "")


@command.command()
@ROOT
@json_option
@refusing(BrokenTableError)
def check(root: Path, as_json: bool) -> None:
    """Verify the graph in ROOT and show what it holds; ends with 2 and the reason if it can't be walked.

    \b
    Example:
      rankstream graph check graph
    """
    graph = ItemGraph.open(root)
    facts = facts_of(graph)
    if as_json:
        print_json({"graph": root} | facts)
        return
    console().print(graph_view(facts))
    console().print("checksums verified", style="green")


def facts_of(graph: ItemGraph) -> dict[str, object]:
    """Return what people want to know of a graph."""
    degrees, sizes = graph.graph.degrees, np.diff(graph.graph.items.starts)
    return {
        "version": graph.version,
        "as_of_ms": graph.as_of_ms,
        "items": len(graph),
        "boards": len(sizes),
        "edges": int(degrees.sum()),
        "boards_of_an_item_median": int(np.median(degrees)) if len(degrees) else 0,
        "boards_of_an_item_most": int(degrees.max(initial=0)),
        "items_of_a_board_median": int(np.median(sizes)) if len(sizes) else 0,
        "items_of_a_board_most": int(sizes.max(initial=0)),
    }


def graph_view(facts: Mapping[str, object]) -> Facts:
    """Return what a graph holds, for people."""
    as_of_ms = facts["as_of_ms"]
    others = {name.replace("_", " "): value for name, value in facts.items() if name != "as_of_ms"}
    texts = {name: f"{value:,}" if isinstance(value, int) else str(value) for name, value in others.items()}
    return Facts(texts | ({"as of": time_text(as_of_ms)} if isinstance(as_of_ms, int) else {}))
