"""Open and look-up times of an embedding table; run with ``python -m benchmarks.embeddings``.

Times are medians of warm calls on one thread; keys are sampled uniformly from the table.
"""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter

import click
import numpy as np

from rankstream.cli.views.table import Table, console, names, numbers
from rankstream.features.embeddings.float16 import widen
from rankstream.features.embeddings.table import EmbeddingTable, publish
from rankstream.features.ids import Id

CALLS = 300


@click.command()
@click.option("--rows", default=1_000_000, show_default=True)
@click.option("--dim", default=256, show_default=True)
@click.option("--look-up", "num_ids", default=1_000, show_default=True, help="Ids of one look-up.")
@click.option(
    "--folder", type=click.Path(path_type=Path), help="Where to write the tables; a temporary folder if none."
)
def main(rows: int, dim: int, num_ids: int, folder: Path | None) -> None:
    """Print what it takes to publish, open and query a table of integer ids and one of text ids."""
    report = []
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        for kind, ids in (("integers", range(1, rows + 1)), ("texts", [f"item-{n}" for n in range(rows)])):
            for step, milliseconds in measure(Path(scratch) / kind, ids, dim, num_ids).items():
                report.append([kind, step, f"{milliseconds:,.3f}"])
    title = f"{rows:,} vectors of {dim}, look-ups of {num_ids:,}"
    console().print(Table([*names("ids", "step"), *numbers("ms")], report, title))


def measure(root: Path, ids: Sequence[Id], dim: int, num_ids: int) -> dict[str, float]:
    """Return milliseconds of each step."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((len(ids), dim), np.float32).astype(np.float16)
    steps = {"publish": once(lambda: publish(root, ids, vectors, space="benchmark", as_of_ms=0))}
    table = EmbeddingTable.open(root)
    keys = table.keys[rng.integers(0, len(table), num_ids)]
    rows, _ = table.rows(keys)
    float16s = np.empty((num_ids, dim), np.float16)
    return steps | {
        "open": typical(lambda: EmbeddingTable.open(root)),
        "first look-up after open": once(lambda: EmbeddingTable.open(root).look_up(keys)),
        "verify": once(table.verify),
        "prefault": once(table.prefault),
        "look-up": typical(lambda: table.look_up(keys)),
        "  keys to rows": typical(lambda: table.rows(keys)),
        "  (np.searchsorted)": typical(lambda: np.searchsorted(table.keys, keys)),
        "  rows to float16": typical(lambda: np.take(table.vectors, rows, axis=0, out=float16s, mode="clip")),
        "  float16 to float32": typical(lambda: widen(float16s)),
        "  (numpy's astype)": typical(lambda: float16s.astype(np.float32)),
        "rows to ids": typical(lambda: table.ids(rows)),
    }


def once(call: Callable[[], object]) -> float:
    """Time one call, in milliseconds."""
    started = perf_counter()
    call()
    return 1e3 * (perf_counter() - started)


def typical(call: Callable[[], object]) -> float:
    """Return the median of many calls, in milliseconds."""
    return median(once(call) for _ in range(CALLS))


if __name__ == "__main__":
    main()
