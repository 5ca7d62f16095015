"""`python -m rankstream.experiments.kuairand.bundle`: the full hybrid as a bundle to serve and replay.

::

    OUT/bundle            trained until 4 May 2022, midnight in Beijing
    OUT/vectors/users     PinnerFormer's vectors as of each morning from 4 to 8 May, a version each
    OUT/actions.parquet   the whole log with the wire's columns, what came before 25 April included: what to replay

The ranker that stands in the tables is taken (``experiments.kuairand.ranker``, row "full", seed 0), trained if it is
not there.
"""

from dataclasses import replace
from pathlib import Path

import click
import torch
from rich.console import Console
from rich.progress import Progress

from rankstream.bundles.item_tables import Vectors
from rankstream.bundles.manifest import Manifest
from rankstream.bundles.parts import ExportError
from rankstream.events.open import LogOptions, open_log
from rankstream.events.public.kuairand import UTILITY, VOCABULARY
from rankstream.events.registry import read_log
from rankstream.events.sequences import histories_of
from rankstream.experiments.kuairand.data import DAY_MS, END_MS, VALIDATE_MS, KuaiRand, open_kuairand
from rankstream.experiments.kuairand.ranker import SIZES, RankerSettings, trained
from rankstream.experiments.runs import WORK, stop_politely
from rankstream.features.embeddings.table import EmbeddingTable
from rankstream.models.ranker.hybrid import HybridRanker
from rankstream.models.recipes.export import Purpose, export_bundle, model_version_of
from rankstream.models.sessions import hiertcn_export
from rankstream.models.training.checkpoints import fingerprint_of
from rankstream.models.users import pinnerformer_export
from rankstream.models.users.refresh import refresh, refresh_active, user_space


def export_kuairand(ranker: HybridRanker, world: KuaiRand, bundle: Path) -> Manifest:
    """Write the bundle of a ranker that was trained on this world's days before 4 May."""
    item_table = world.encoders.item_table
    ids = [int(item) for item in item_table.ids]
    space = f"items-{fingerprint_of(item_table.vectors)}"
    purpose = Purpose(
        model_version=model_version_of(ranker, space, UTILITY),
        vocabulary=VOCABULARY,
        utility=UTILITY,
        user_space=user_space(world.encoders.pinnerformer),
        trained_until_ms=VALIDATE_MS,
        metrics={"log": "KuaiRand-Pure", "features": (*world.rates.feature_names, "log_length")},
    )
    return export_bundle(
        bundle,
        ranker,
        Vectors(ids, item_table.vectors, space),
        Vectors(ids, world.features_at(VALIDATE_MS), "item-features"),
        purpose,
        [
            hiertcn_export.bundle_part(world.encoders.hiertcn),
            pinnerformer_export.bundle_part(world.encoders.pinnerformer),
        ],
    )


def publish_users(world: KuaiRand, items: EmbeddingTable, root: Path) -> int:
    """Publish user vectors as of 4 May, of all users, and as of each later morning, of those who acted since."""
    model = world.encoders.pinnerformer
    mornings = range(VALIDATE_MS, END_MS, DAY_MS)
    for morning in mornings:
        past, _ = world.log.split_at(morning)
        job = refresh if morning == VALIDATE_MS else refresh_active
        histories = histories_of(past, model.config.num_actions)
        job(model, items, histories, root, as_of_ms=morning, keep=len(mornings))
    return len(mornings)


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True, help="Folder of KuaiRand-Pure.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for all that is made; a new one.")
@click.option("--size", type=click.Choice(sorted(SIZES)), default="small", show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--work", type=click.Path(path_type=Path), default=WORK, help="As of experiments.kuairand.ranker.")
def main(data: Path, out: Path, size: str, seed: int, work: Path) -> None:
    """Train the full hybrid, or take the one that is trained, and export it."""
    stop_politely()
    torch.set_num_threads(1)
    settings: RankerSettings = SIZES[size]
    with Progress(console=Console(stderr=True), transient=True) as progress:
        ranker = trained(data, size, seed, work, progress)
        world = open_kuairand(data, settings.inputs(work, size), settings.data, progress)
    try:
        manifest = export_kuairand(ranker, world, out / "bundle")
    except ExportError as exc:
        raise click.ClickException(str(exc)) from exc
    whole = replace(
        world, log=read_log(open_log(data, LogOptions(kind="kuairand")))
    )  # a size may hold some of the users only
    whole.log.write_parquet(out / "actions.parquet")
    versions = publish_users(whole, EmbeddingTable.open(out / "bundle" / "items"), out / "vectors" / "users")
    click.echo(f"{out / 'bundle'}: model {manifest.model_version}, trained until 4 May 2022 in Beijing")
    click.echo(f"{out / 'vectors' / 'users'}: user vectors of {versions} mornings")
    click.echo(f"{out / 'actions.parquet'}: {len(whole.log):,} actions")


if __name__ == "__main__":
    main()
