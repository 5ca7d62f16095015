"""`rankstream graph`: build the graph that random walks go on, and check one."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from rankstream.cli.errors import Refusal, refusing
from rankstream.cli.options.edges import edges_of, half_life_of
from rankstream.cli.options.logs import dates_option, time_option
from rankstream.cli.options.settings import pairs
from rankstream.cli.options.versions import keep_option
from rankstream.cli.views.as_json import json_option, print_json
from rankstream.cli.views.graph import facts_of, graph_view
from rankstream.cli.views.skipped import print_notes, print_skipped
from rankstream.cli.views.table import console
from rankstream.content.catalogue import Catalogue
from rankstream.evaluation.leakage import CatalogueVersions
from rankstream.evaluation.time_text import time_text
from rankstream.events.arrivals import LogError
from rankstream.events.readers.dates import AUTO
from rankstream.events.readers.times import TIME_UNITS
from rankstream.features.embeddings.files import BrokenTableError
from rankstream.features.embeddings.table import EmbeddingTable
from rankstream.graph.build import BuiltGraph, EmptyGraphError, GraphConfig, build_graph
from rankstream.graph.item_graph import ItemGraph, Weighting, publish_graph
from rankstream.graph.membership_options import Edge, MembershipOptions
from rankstream.graph.memberships import (
    Memberships,
    ReadMemberships,
    collections_of,
    joined,
    read_memberships,
)
from rankstream.graph.topics import Topics, topics_of_categories, topics_of_vectors
from rankstream.streams.pipeline import wall_clock_ms

ROOT = click.argument("root", type=click.Path(path_type=Path, file_okay=False))
TOPICS = 50  # clusters of item vectors, by default


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
    help="The column of --rows that holds a field (board, item_id, timestamp_ms, action, user_id), repeatable.  "
    "[default: of the field's own name]",
)  # fmt: skip
@click.option(
    "--edges", callback=edges_of, multiple=True, metavar="ACTION:COLUMN[=WEIGHT]",
    help="Of rows that are actions: this action says by that column in which board its item is, repeatable; rows of "
    "other actions say nothing. Walks follow an edge as often as it weighs beside others.  [default: 1 each]",
)  # fmt: skip
@click.option(
    "--half-life", "half_life_ms", callback=half_life_of, metavar="30d",
    help="Let an edge weigh half as much after this time; rows need times.  [default: age does not matter]",
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
@click.option(
    "--item-vectors", type=click.Path(path_type=Path),
    help="Folder of published item vectors, whose clusters are topics, for --max-topics, --degree-power and --bias.  "
    "[default: the categories of --catalogue are]",
)  # fmt: skip
@click.option(
    "--topics", "num_topics", type=click.IntRange(min=2), default=TOPICS, show_default=True,
    help="Clusters of --item-vectors.",
)  # fmt: skip
@click.option(
    "--max-topics", type=click.FloatRange(min=1.0), metavar="N",
    help="Leave out boards spread over more topics, as the exponent of their entropy.  [default: any number]",
)  # fmt: skip
@click.option(
    "--degree-power", type=click.FloatRange(min=0.0, min_open=True, max=1.0), default=GraphConfig.degree_power,
    show_default=True, metavar="D",
    help="Of an item in n boards keep n to the power of D, those nearest to its topic.",
)  # fmt: skip
@click.option(
    "--bias", type=click.FloatRange(min=0.0, max=1.0), default=GraphConfig.bias, show_default=True, metavar="SHARE",
    help="Let walks prefer, in this share of their steps, items of the topic of the item that they began at.",
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
    edges: tuple[Edge, ...],
    half_life_ms: int | None,
    time_unit: str,
    dates: str,
    delimiter: str | None,
    heading: str | None,
    max_items: int,
    max_boards: int,
    item_vectors: Path | None,
    num_topics: int,
    max_topics: float | None,
    degree_power: float,
    bias: float,
    as_of: int | None,
    keep: int,
    as_json: bool,
) -> None:
    """Build a graph from boards and publish it into ROOT.

    \b
    Reads:  the rows of --rows, the newest version of --catalogue that is not
            after --as-of; at least one of the two; --item-vectors, if given
    Writes: a new version in ROOT

    \b
    Examples:
      rankstream graph build graph --rows lines.parquet --map board=basket_id \\
        --map item_id=product_id --map timestamp_ms=time_utc
      rankstream graph build graph --rows actions.parquet \\
        --edges save:collection_id=3 --edges buy:basket --half-life 30d
      rankstream graph build graph --catalogue catalogue
    """
    if file is None and (edges or half_life_ms is not None):
        name = "--edges are" if edges else "--half-life is"
        raise Refusal(f"{name} of rows, and none are given; give --rows FILE too")
    if file is None and catalogue is None:
        raise Refusal("nothing to build of is named; give --rows FILE, --catalogue DIR or both")
    as_of_ms = wall_clock_ms() if as_of is None else as_of
    config = GraphConfig(max_items, max_boards, max_topics, degree_power, bias)
    parts: list[Memberships] = []
    read: ReadMemberships | None = None
    items = None if catalogue is None else _catalogue_as_of(catalogue, as_of_ms)
    topics = _topics(item_vectors, num_topics, items, as_of_ms) if config.by_topics else None
    options = MembershipOptions(columns, time_unit, dates, delimiter, _names(heading), edges, half_life_ms)
    if bias and options.weighted:
        raise Refusal("walks draw by weights of edges or prefer a topic, not both; leave out --bias, or the weights")
    if file is not None:
        read = _read(file, options, as_of_ms)
        parts.append(read.pairs)
    if items is not None:
        parts.append(collections_of(items))
    built = build_graph(joined(parts), as_of_ms, config, topics)
    folder = publish_graph(root, replace(built.graph, weighting=_weighting(options)), keep)
    if as_json:
        print_json(_document(folder, built, read))
        return
    if read is not None:
        print_notes(read.notes)
        print_skipped(read.skipped)
    click.echo(f"published {folder}: {_told(built, read)}")


def _names(heading: str | None) -> tuple[str, ...] | None:
    return tuple(heading.split(",")) if heading else None


def _weighting(options: MembershipOptions) -> Weighting | None:
    if not options.weighted:
        return None
    return Weighting({f"{edge.action}:{edge.column}": edge.weight for edge in options.edges}, options.half_life_ms)


def _topics(item_vectors: Path | None, count: int, catalogue: Catalogue | None, as_of_ms: int) -> Topics:
    """Return what items are about, by their vectors or else their categories."""
    if item_vectors is not None:
        table = EmbeddingTable.open(item_vectors)
        if table.as_of_ms > as_of_ms:
            raise Refusal(
                f"the item vectors in {item_vectors} know what happened until {time_text(table.as_of_ms)}, but the "
                f"graph is to know nothing after {time_text(as_of_ms)}; give a later --as-of, or older vectors"
            )
        return topics_of_vectors(table, count)
    topics = None if catalogue is None else topics_of_categories(catalogue)
    if topics is None or not (topics.labels >= 0).any():
        raise Refusal(
            "--max-topics, --degree-power and --bias need to know what items are about; give --item-vectors DIR, or a "
            "--catalogue with categories"
        )
    return topics


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
        "spread": built.spread,
        "far": built.far,
    }


def _document(folder: Path, built: BuiltGraph, read: ReadMemberships | None) -> dict[str, object]:
    skipped = {} if read is None else dict(read.skipped.most_common())
    return {"version": folder, "as_of_ms": built.graph.as_of_ms} | _counts(built) | _rows(read) | {"skipped": skipped}


def _rows(read: ReadMemberships | None) -> dict[str, int]:
    if read is None:
        return {"rows": 0, "later": 0, "unboarded": 0, "forgotten": 0}
    return {"rows": read.rows, "later": read.later, "unboarded": read.unboarded, "forgotten": read.forgotten}


def _told(built: BuiltGraph, read: ReadMemberships | None) -> str:
    counts, rows = _counts(built), _rows(read)
    left = {
        "rows of later times": rows["later"],
        "rows of no board": rows["unboarded"],
        "edges of erased users": rows["forgotten"],
        "boards of one item": counts["single"],
        "boards of too many": counts["wide"],
        "edges of popular items": counts["pruned"],
        "boards of too many topics": counts["spread"],
        "edges to boards of other topics": counts["far"],
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
