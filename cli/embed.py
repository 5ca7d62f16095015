"""`rankstream embed`: the daily batch job of PinnerFormer."""

from pathlib import Path

import click

from cli.errors import needing_torch, refusing


@click.command()
@click.argument("log", type=click.Path(path_type=Path))
@click.option("--from", "run", type=click.Path(path_type=Path), required=True, help="Folder that `train` wrote.")
@click.option("--to", "table", type=click.Path(path_type=Path), help="Table to publish.  [default: FROM/vectors/users]")
@click.option("--active", is_flag=True, help="Only users who acted since the last table; the others keep theirs.")
@click.option("--as-of-ms", type=int, metavar="MS", help="Nothing later is read.  [default: the log's end]")
def command(log: Path, run: Path, table: Path | None, active: bool, as_of_ms: int | None) -> None:
    """Refresh the batch vectors of users.

    Encodes the history of every user in LOG with the PinnerFormer of a training, and publishes a new version of the
    table. Workers started with `--user-vectors` on it follow within seconds, without a restart.
    Needs torch: pip install "rankstream[train]".

    \b
    Reads:  LOG, FROM/work/pinnerformer.pt, FROM/bundle/items
    Writes: a new version in the table's folder

    \b
    Example:
      rankstream embed today.parquet --from run --active
    """
    with needing_torch():
        from cli.training import read_log
        from features.embeddings import EmbeddingTable
        from features.table_files import BrokenTableError
        from models.datasets.base import LogRefusedError
        from models.pinnerformer import PinnerFormer, PinnerFormerConfig
        from models.recipe import PINNERFORMER_WEIGHTS
        from models.refresh import SpaceRefusedError, histories_of, refresh, refresh_active
        from models.weights import WeightsRefusedError, load_weights
    with refusing(LogRefusedError, BrokenTableError, SpaceRefusedError, WeightsRefusedError):
        model = load_weights(run / "work" / PINNERFORMER_WEIGHTS, PinnerFormer, PinnerFormerConfig)
        items = EmbeddingTable.open(run / "bundle" / "items")
        events = read_log(log)
        moment = events.time_at(1.0) if as_of_ms is None else as_of_ms
        job = refresh_active if active else refresh
        histories = histories_of(events, model.config.num_actions)
        done = job(model, items, histories, table or run / "vectors" / "users", as_of_ms=moment)
    where = f"published {done.folder}" if done.folder else "nobody acted since the last table, so it stays"
    click.echo(f"{where}: vectors of {done.users:,} users, {done.unknown:,} without a known item")
