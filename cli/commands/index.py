"""`rankstream index`: the index that many items are searched in, built ahead and held to the exact search."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import click
import numpy as np

from rankstream.bundles.item_tables import ITEMS
from rankstream.bundles.manifest import MANIFEST
from rankstream.cli.errors import Refusal, refusing
from rankstream.cli.views.as_json import json_option, print_json
from rankstream.cli.views.table import Table, console, numbers
from rankstream.features.embeddings.files import BrokenTableError
from rankstream.features.embeddings.key_search import Rows
from rankstream.features.embeddings.table import EmbeddingTable
from rankstream.ranking.bundle import BundleRefusedError, bundle_folder
from rankstream.retrieval.index.base import VectorIndex
from rankstream.retrieval.index.choice import EXACT_BELOW, INSTALL, can_build
from rankstream.retrieval.index.exact import ExactIndex
from rankstream.retrieval.index.recall import NONE, RecallJudge, queries_like_users

TIMES = ("p50_ms", "p99_ms", "exact_p50_ms", "exact_p99_ms")
SEED = 21  # of the queries of `check`: others than those that ef was chosen by


@click.group()
def command() -> None:
    """Build the index that many items are searched in, and check what it finds.

    A request without candidates looks for the items nearest to what its user likes. Of less than 20,000 every one is
    compared; of more, a graph of neighbours (HNSW) finds nearly all of the nearest in a fraction of the time. Workers
    build it where it is missing and compare all items until it is there; `build` leaves it beside the table ahead.
    """


@command.command()
@click.argument("table_or_bundle", type=click.Path(path_type=Path))
@click.option("--links", type=click.IntRange(4, 128), default=32, show_default=True, help="Of an item in the graph.")
@click.option(
    "--construction-ef", type=click.IntRange(10, 2_000), default=100, show_default=True, help="Care at linking."
)
@json_option
@refusing(BrokenTableError, BundleRefusedError)
def build(table_or_bundle: Path, links: int, construction_ef: int, as_json: bool) -> None:
    """Build the index of the current version in TABLE_OR_BUNDLE, and print how much it finds.

    The same table gives the same index, to the byte. For each limit the table shows the smallest ef (items that a
    search keeps in view) that finds enough of the true neighbours; beyond the last row every item is compared.
    Needs faiss: pip install "rankstream[ann]".

    \b
    Writes: hnsw/VERSION in the table's folder

    \b
    Example:
      rankstream index build vectors/items
    """
    table, root = _open(table_or_bundle)
    from rankstream.retrieval.index.hnsw import HnswConfig
    from rankstream.retrieval.index.hnsw_files import build_for, write_index

    started = perf_counter()
    built = build_for(table, HnswConfig(links=links, construction_ef=construction_ef))
    seconds = perf_counter() - started
    folder = write_index(built, root)
    curve = [{"limit": point.limit, "ef": point.ef, "recall": point.recall} for point in built.header.curve]
    if as_json:
        facts = {"table": table.version, "items": len(table), "name": built.index.name, "bytes": len(built.graph)}
        print_json(facts | {"folder": folder, "seconds": seconds, "curve": curve})
        return
    title = f"{len(table):,} items in {seconds:.1f} s, {len(built.graph) / 1e6:.1f} MB"
    console().print(curve_table(curve, title, len(table)))
    click.echo(f"{folder}: {built.index.name}")


@command.command()
@click.argument("table_or_bundle", type=click.Path(path_type=Path))
@click.option(
    "--limit", "limits", default="100,500,1000", show_default=True, metavar="N,N,...", help="Neighbours to look for."
)
@click.option("--queries", type=click.IntRange(min=1), default=200, show_default=True, help="How many to try.")
@json_option
@refusing(BrokenTableError, BundleRefusedError)
def check(table_or_bundle: Path, limits: str, queries: int, as_json: bool) -> None:
    """Hold the index in TABLE_OR_BUNDLE to the exact search: what share of the neighbours it finds, in what time.

    Queries are means of 1, 3 or 20 random items, others than the index was measured with when it was built. Times are
    of this machine, one search after the other, in one thread.
    Needs faiss: pip install "rankstream[ann]".

    \b
    Example:
      rankstream index check vectors/items --limit 100,500,1000
    """
    table, root = _open(table_or_bundle)
    wanted = _limits(limits, len(table))
    from rankstream.retrieval.index.hnsw_files import IndexRefusedError, read_index

    with refusing(IndexRefusedError):
        index = read_index(table, root)
    if index is None:
        raise Refusal(f"{root} has no index of version {table.version}; build it with `rankstream index build`")
    judge = RecallJudge(table.vectors, queries_like_users(table.vectors, queries, SEED), wanted[-1])
    exact = ExactIndex(table.vectors)
    found = [checked(index, exact, judge, limit) | {"ef": index.curve.ef(limit)} for limit in wanted]
    if as_json:
        print_json({"table": table.version, "items": len(table), "name": index.name, "limits": found})
        return
    console().print(limits_table(found, f"{index.name} of {len(table):,} items"))


def curve_table(curve: Sequence[Mapping[str, Any]], title: str, items: int) -> Table:
    """Return what an index finds, by limit."""
    rows = [[f"{one['limit']:,}", f"{one['ef']:,}", f"{one['recall']:.3f}"] for one in curve]
    few = [f"workers compare every item of less than {EXACT_BELOW:,}"] if items < EXACT_BELOW else []
    return Table(numbers("limit", "ef", "recall"), rows, title, few)


def limits_table(found: Sequence[Mapping[str, Any]], title: str) -> Table:
    """Return what an index finds beside the exact search, and in what time."""
    rows = [
        [f"{one['limit']:,}", "all" if one["ef"] is None else f"{one['ef']:,}", f"{one['recall']:.3f}"]
        + [f"{one[name]:.2f}" for name in TIMES]
        for one in found
    ]
    return Table(numbers("limit", "ef", "recall", *(name.replace("_", " ") for name in TIMES)), rows, title)


def checked(index: VectorIndex, exact: VectorIndex, judge: RecallJudge, limit: int) -> dict[str, Any]:
    """Search for each query by both; return the recall, and the median and 99th percentile of the times."""
    found, by_index_ms = _timed(index, judge, limit)
    _, exact_ms = _timed(exact, judge, limit)
    times = [float(np.quantile(took, share)) for took in (by_index_ms, exact_ms) for share in (0.5, 0.99)]
    return {"limit": limit, "recall": judge.recall(found, limit), **dict(zip(TIMES, times, strict=True))}


def _timed(index: VectorIndex, judge: RecallJudge, limit: int) -> tuple[list[Rows], list[float]]:
    """Search for each query; return what was found, and the milliseconds of each."""
    found, took = [], []
    for query in judge.queries:
        started = perf_counter()
        found.append(index.search(query[None], limit, NONE))
        took.append(1e3 * (perf_counter() - started))
    return found, took


def _open(path: Path) -> tuple[EmbeddingTable, Path]:
    """Return the current version of a table, or that of a bundle's items, and the table's folder."""
    if not can_build():
        raise Refusal(f"an index needs faiss: {INSTALL}; without it every item is compared")
    folder = bundle_folder(path)
    root = folder / ITEMS if (folder / MANIFEST).is_file() else path
    table = EmbeddingTable.open(root)
    table.verify()
    if not len(table):
        raise Refusal(f"the table in {root} is empty, so there is nothing to search; publish items there")
    return table, root


def _limits(given: str, items: int) -> list[int]:
    numbers_given = given.split(",")
    if not all(number.strip().isdigit() and int(number) > 0 for number in numbers_given):
        raise Refusal(f"--limit {given} is no list of numbers; write for example --limit 100,500")
    return sorted({min(int(number), items) for number in numbers_given})
