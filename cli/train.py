"""`rankstream train`: from a log to a bundle and user vectors."""

from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress

from cli.errors import Refusal, needing_torch, refusing


def weights_of(ctx: click.Context, option: click.Parameter, given: tuple[str, ...]) -> dict[str, float]:
    """Read ``action=weight`` options."""
    weights = {}
    for pair in given:
        name, _, number = pair.partition("=")
        try:
            weights[name] = float(number)
        except ValueError:
            raise Refusal(f"--utility {pair} is no action=weight; write for example --utility save=1.0") from None
    return weights


@click.command()
@click.argument("log", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for all that is made; a new one.")
@click.option("--positive", "positives", multiple=True, metavar="ACTION", help="What users come for; several times.")
@click.option("--negative", "negatives", multiple=True, metavar="ACTION", help="What pushes them away.")
@click.option("--utility", multiple=True, metavar="ACTION=WEIGHT", callback=weights_of, help="Weights of the score.")
def command(
    log: Path, out: Path, positives: tuple[str, ...], negatives: tuple[str, ...], utility: dict[str, float]
) -> None:
    """Train the models on a log of actions.

    LOG is Parquet, CSV or JSON lines with the columns of the wire (user_id, item_id, action, timestamp_ms), or a .inter
    file of MovieLens ratings. Item vectors, PinnerFormer, HierTCN and the ranker are trained one after the other, then
    exported and proved. Sizes are the demo's, for logs of some 100,000 actions. A run that was stopped goes on
    where it was when started again with the same --out. Needs torch: pip install "rankstream[train]".

    \b
    Writes: OUT/bundle, OUT/vectors/users, OUT/work (weights and checkpoints)

    \b
    Example:
      rankstream train actions.parquet --out run --positive save --positive click --negative hide
    """
    train(log, out, out / "bundle", positives, negatives, utility)


def train(
    log: Path,
    out: Path,
    bundle: Path,
    positives: tuple[str, ...],
    negatives: tuple[str, ...],
    utility: dict[str, float],
) -> None:
    """Train what is not trained yet in ``out``, and export to ``bundle``."""
    if bundle.exists():
        raise Refusal(f"{bundle} is there already; a bundle never changes: name a new folder")
    with needing_torch():
        from cli.training import read_log, recipe_of
        from models.bundle_recipe import train_bundle
        from models.datasets.base import LogRefusedError
        from models.graphs import ExportError
    with refusing(LogRefusedError, ExportError):
        events = read_log(log)
        recipe = recipe_of(events.vocabulary, positives, negatives, utility)
        with Progress(console=Console(stderr=True), transient=True) as progress:
            trained = train_bundle(events, recipe, bundle, out / "vectors" / "users", out / "work", progress=progress)
    click.echo(f"{bundle}: model {trained.manifest.model_version}, trained on {len(events):,} actions")
    click.echo(f"{out / 'vectors' / 'users'}: vectors of {trained.refreshed.users:,} users")
