"""`python -m rankstream.experiments.withheld --data DIR`: train without a fifth of the items, then look for them.

The catalogue of the training lacks them, too; the one that serves from the cut on has all. The same model, the same
requests: once with its own item vectors, once with those that `rankstream embed --items` publishes.
"""

import os
import subprocess
import sys
from pathlib import Path

import click
import msgspec
import numpy as np

from rankstream.content.catalogue import Catalogue, publish
from rankstream.experiments.feed.items import MAKES
from rankstream.experiments.feed.product import trained
from rankstream.experiments.options import WORK_HELP, RefusedError, logs_option
from rankstream.experiments.runs import WORK
from rankstream.experiments.withheld.logs import WITHHELD, WithheldLog, Written, write_withheld
from rankstream.experiments.withheld.table import written_table
from rankstream.features.embeddings.table import EmbeddingTable
from rankstream.features.embeddings.table import publish as publish_vectors

BEFORE, AFTER = "without vectors of new items", "with vectors by what they are"


def publish_catalogues(name: str, data: Path, log: Written, folder: Path) -> None:
    """Publish what was known of all items at the cut, and of those that were not withheld."""
    known = [one for one in MAKES[name](data) if one.created_at_ms is None or one.created_at_ms < log.cut_ms]
    for root, items in (("all", known), ("trained", [one for one in known if one.id not in log.items])):
        catalogue = Catalogue.of(items)
        header = msgspec.structs.replace(catalogue.header, as_of_ms=log.cut_ms - 1)
        publish(folder / "catalogues" / root, Catalogue(header, catalogue.columns))


def publish_own(run: Path, root: Path, as_of_ms: int) -> None:
    """Publish a bundle's own item vectors, and nothing beside them."""
    own = EmbeddingTable.open(run / "bundle" / "items")
    ids = own.ids(np.arange(len(own)))
    publish_vectors(root, ids, own.vectors, space=own.space, as_of_ms=as_of_ms)


def measure(one: WithheldLog, data: Path, folder: Path, requests: int, limit: int) -> str:
    """Train, publish and replay one log; what is there already is not made again. Return the table."""
    log = write_withheld(one, data, folder / "data", share=0.2, seed=0)
    if not (folder / "catalogues").exists():
        publish_catalogues(one.log.name, data, log, folder)
    items = folder / "catalogues"
    run = trained(one.log, folder / "data", log.cut_ms, folder / "run", [f"--items={(items / 'trained').resolve()}"])
    vectors = folder / "vectors"
    if not (vectors / "own").exists():
        flags = [f"--from={run.folder}", f"--as-of={log.cut_ms - 1}", f"--items={items / 'all'}"]
        flags += [f"--to={vectors / 'users'}", f"--items-to={vectors / 'items'}", f"--counts-to={vectors / 'counts'}"]
        _rankstream("embed", str(log.path), *one.log.flags(), *flags)
        publish_own(run.folder, vectors / "own", log.cut_ms - 1)
    outcomes = folder / f"outcomes-{requests}-{limit}.parquet"
    if not outcomes.exists():
        for name in (BEFORE, AFTER):
            (folder / name).unlink(missing_ok=True)
            (folder / name).symlink_to((run.folder / "bundle").resolve())
        _replay(one, log, folder, requests, limit, outcomes)
    names = {str(folder / name): name for name in (BEFORE, AFTER)}  # of one bundle, so variants are named by paths
    own = EmbeddingTable.open(run.bundle / "items")
    return written_table(outcomes, set(own.ids(np.arange(len(own)))), names, limit)


def _replay(one: WithheldLog, log: Written, folder: Path, requests: int, limit: int, outcomes: Path) -> None:
    flags = ["--sort", f"--events={log.path}", *(one.log.flags()[:-1] if one.log.positives else one.log.flags())]
    for name, root in ((BEFORE, "own"), (AFTER, "items")):
        flags += [f"--bundle={folder / name}", f"--item-vectors={folder / 'vectors' / root}"]
    flags += [f"--user-vectors={folder / 'vectors' / 'users'}", f"--catalogue={folder / 'catalogues' / 'all'}"]
    flags += ["--protocol=funnel", "--exclude-seen", f"--limit={limit}", f"--k=10,100,{limit}", "--refresh=7d"]
    _rankstream("replay", *flags, f"--requests={requests}", f"--outcomes={outcomes}")


def _rankstream(*words: str) -> None:
    """Run a command in a process of its own, as a user does. Raises ``RefusedError`` where it fails."""
    click.echo(f"rankstream {' '.join(words)}", err=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RANKSTREAM_")}
    command = [sys.executable, "-m", "rankstream.cli.main", *words]
    ended = subprocess.run(command, env=environment, stdout=sys.stderr.fileno(), check=False)
    if ended.returncode:
        raise RefusedError(f"rankstream {words[0]} ended with code {ended.returncode}; what it wrote says why")


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True, help="Folder of all logs.")
@logs_option(WITHHELD)
@click.option("--requests", type=click.IntRange(1), default=500, show_default=True, help="That are replayed.")
@click.option("--limit", type=click.IntRange(101), default=500, show_default=True, help="Items that are retrieved.")
@click.option("--work", type=click.Path(path_type=Path), default=WORK, show_default=True, help=WORK_HELP)
def main(data: Path, logs: tuple[str, ...], requests: int, limit: int, work: Path) -> None:
    """Withhold a fifth of a log's items from training, and print how they are found, beside popularity."""
    for name in logs:
        one = WITHHELD[name]
        folder = (work / "withheld" / name).resolve()
        table = measure(one, data.resolve(), folder, requests, limit)
        click.echo(f"{one.log.title}\n\n{table}\n")


if __name__ == "__main__":
    main()
