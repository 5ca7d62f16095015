"""`rankstream vectors`: vectors that a team makes itself, for items that nobody has acted on yet."""

from dataclasses import asdict
from pathlib import Path

import click
import numpy as np

from rankstream.cli.errors import Refusal, refusing
from rankstream.cli.options.logs import time_option
from rankstream.cli.options.vector_files import read_vectors
from rankstream.cli.options.versions import keep_option
from rankstream.cli.views.as_json import json_option, print_json
from rankstream.cli.views.skipped import print_notes
from rankstream.features.embeddings.additions import publish_additions
from rankstream.features.embeddings.files import BrokenTableError
from rankstream.features.embeddings.float16 import widen
from rankstream.features.embeddings.table import EmbeddingTable
from rankstream.features.schema import Floats
from rankstream.ranking.bundle import BundleRefusedError, open_bundle
from rankstream.retrieval.index.choice import index_version
from rankstream.streams.pipeline import wall_clock_ms

OTHER_LENGTH = 2.0  # times as long as the bundle's are usually, vectors are taken for those of another space


@click.group()
def command() -> None:
    """Publish vectors of your own for items that are new.

    A new item is found and ranked once it has a vector in the space of the bundle's items. `rankstream embed` makes one
    as soon as users act on the item; before that, only you can: from its title or picture, say, by a model that was
    fitted to the vectors that the bundle's items have.
    """


@command.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--bundle", "bundle_dir", type=click.Path(path_type=Path), required=True, help="Whose space they are of.")
@click.option("--to", "root", type=click.Path(path_type=Path), required=True, help="Table to publish into.")
@time_option("--as-of", help="What they were made of had happened until then; replays before it don't see them.")
@keep_option(at_least=2)
@json_option
@refusing(BundleRefusedError, BrokenTableError, ValueError)
def import_vectors(file: Path, bundle_dir: Path, root: Path, as_of: int | None, keep: int, as_json: bool) -> None:
    """Publish the vectors in FILE beside those of the bundle's items; workers with --item-vectors follow in seconds.

    FILE has the columns item_id and vector: .jsonl, .parquet or .npz. Items that the bundle knows keep their vectors,
    and so do those that were published before and are not in FILE.

    \b
    Reads:  FILE, the bundle
    Writes: a new version in the table's folder, with its index where the items
            are many

    \b
    Example:
      rankstream vectors import new.jsonl --bundle bundle --to vectors/items
    """
    bundle = open_bundle(bundle_dir)
    ids, vectors = read_vectors(file)
    _note_lengths(vectors, bundle.items)
    at_ms = wall_clock_ms() if as_of is None else as_of
    if at_ms > wall_clock_ms():
        raise Refusal("--as-of is still to come; give the time until which what they were made of had happened")
    done = publish_additions(root, bundle.items, ids, vectors, as_of_ms=at_ms, keep=keep, prepare=index_version)
    if as_json:
        print_json(asdict(done) | {"as_of_ms": at_ms})
        return
    where = f"published {done.folder}" if done.folder else f"nothing new, the table in {root} stays"
    known = f"; {done.in_base:,} of the file are the bundle's and stay as they are" if done.in_base else ""
    click.echo(f"{where}: {done.items:,} items, {done.added:,} of them newer than the bundle{known}")


def _note_lengths(vectors: Floats, items: EmbeddingTable) -> None:
    """Say so where vectors are far longer or shorter than those of the bundle."""
    given, usual = (float(np.median(np.linalg.norm(rows, axis=1))) for rows in (vectors, widen(items.vectors)))
    if not usual / OTHER_LENGTH <= given <= usual * OTHER_LENGTH:
        print_notes(
            (
                f"the vectors given are {given:.3g} long, and those of the bundle's items {usual:.3g}: are they of its "
                "space? The ranker was trained on that",
            )
        )
