"""`rankstream export`: a bundle of models that are trained already."""

from pathlib import Path

import click

from rankstream.cli.errors import needing_torch, refusing
from rankstream.cli.options.logs import utility_option
from rankstream.cli.views.as_json import json_option, print_json


@click.command()
@click.option("--from", "run", type=click.Path(path_type=Path), required=True, help="Folder that `train` wrote.")
@click.option(
    "--to", "bundle", type=click.Path(path_type=Path), required=True, help="Folder for the bundle; a new one."
)
@utility_option
@json_option
def command(run: Path, bundle: Path, utility: dict[str, float], as_json: bool) -> None:
    """Export trained models as a bundle that workers serve.

    `train` exports by itself; this makes another bundle of the same weights, with other --utility for example. It reads
    what the training left, trains nothing and touches no user vectors: those of the training fit this bundle too.
    Graphs are verified against torch, and the bundle carries golden outputs that every worker checks.

    \b
    Reads:  FROM/work
    Writes: TO

    \b
    Example:
      rankstream export --from run --to bundles/b --utility save=2
    """
    with needing_torch():
        from rankstream.bundles.parts import ExportError
        from rankstream.cli.options.training import weights_for
        from rankstream.models.recipes.export import export_models
        from rankstream.models.recipes.run_folder import load_models
        from rankstream.models.training.checkpoints import WeightsRefusedError
    with refusing(ExportError, WeightsRefusedError):
        models = load_models(run / "work")
        weights = weights_for(models.about.heads, utility) if utility else None
        manifest = export_models(models, bundle, weights)
    if as_json:
        print_json({"bundle": bundle, "model_version": manifest.model_version})
    else:
        click.echo(f"{bundle}: model {manifest.model_version}")
