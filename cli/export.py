"""`rankstream export`: another bundle of models that are trained already."""

from pathlib import Path

import click

from cli.errors import Refusal
from cli.train import train, weights_of


@click.command()
@click.argument("log", type=click.Path(path_type=Path))
@click.option("--from", "out", type=click.Path(path_type=Path), required=True, help="Folder that `train` wrote.")
@click.option(
    "--to", "bundle", type=click.Path(path_type=Path), required=True, help="Folder for the bundle; a new one."
)
@click.option("--positive", "positives", multiple=True, metavar="ACTION", help="As it was trained.")
@click.option("--negative", "negatives", multiple=True, metavar="ACTION", help="As it was trained.")
@click.option("--utility", multiple=True, metavar="ACTION=WEIGHT", callback=weights_of, help="Weights of the score.")
def command(
    log: Path,
    out: Path,
    bundle: Path,
    positives: tuple[str, ...],
    negatives: tuple[str, ...],
    utility: dict[str, float],
) -> None:
    """Make the bundle that workers serve.

    `train` exports by itself; this makes another bundle of the same weights, with other --utility for example, without
    training again. LOG, --positive and --negative are those of the training. Graphs are proved against torch, and the
    bundle carries golden outputs that every worker checks.

    \b
    Example:
      rankstream export actions.parquet --from run --to bundles/b --positive save --positive click --utility save=2
    """
    if not (out / "work").is_dir():
        raise Refusal(f"{out} has no folder work, so nothing was trained there; `rankstream train` makes one")
    train(log, out, bundle, positives, negatives, utility)
