"""`rankstream bundle`: what is in a bundle, whether it verifies, and which one is served."""

import json
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from rankstream.bundles.sessions import SESSIONS
from rankstream.cli.errors import refusing
from rankstream.ranking.bundle import Bundle, BundleRefusedError, open_bundle, use_bundle


@click.group()
def command() -> None:
    """Check a model bundle and show what is in it.

    A bundle is a folder that `rankstream export` writes: graphs, item tables, vocabulary, weights, checksums, and
    golden inputs with their outputs. A worker serves it only if all of that verifies.
    """


@command.command()
@click.argument("folder", type=click.Path(path_type=Path))
@refusing(BundleRefusedError)
def show(folder: Path) -> None:
    """Verify the bundle in FOLDER and show what it holds.

    \b
    Example:
      rankstream bundle show bundle
    """
    Console().print(_table(open_bundle(folder)))


def _table(bundle: Bundle) -> Table:
    manifest, sizes = bundle.manifest, bundle.manifest.sizes
    table = Table("bundle", str(bundle.folder), caption="checksums and golden outputs verified", caption_justify="left")
    table.add_row("model version", manifest.model_version)
    table.add_row("exported", manifest.created_at)
    table.add_row(
        "trained until", f"{datetime.fromtimestamp(manifest.trained_until_ms / 1000, UTC):%Y-%m-%d %H:%M} UTC"
    )
    table.add_row("actions", ", ".join(manifest.vocabulary.actions))
    table.add_row("surfaces", ", ".join(manifest.vocabulary.surfaces) or "none")
    table.add_row("utility", ", ".join(f"{head} x {manifest.utility.get(head, 0):g}" for head in manifest.heads))
    table.add_row("items", f"{len(bundle.items.keys):,}, {sizes.item_dim} wide, space {manifest.item_space}")
    table.add_row("user vectors", f"{sizes.user_dim} wide, space {manifest.user_space}")
    table.add_row("session model", f"state of {bundle.sessions.state_size}" if SESSIONS in bundle.parts else "none")
    table.add_row(
        "parts", ", ".join(f"{part.kind} ({part.model})" if part.model else part.kind for part in manifest.parts)
    )
    table.add_row("newest actions seen", str(sizes.num_actions))
    table.add_row("metrics", json.dumps(manifest.metrics, indent=1) if manifest.metrics else "none")
    table.add_row("made with", ", ".join(f"{name} {version}" for name, version in manifest.versions.items()))
    return table


@command.command()
@click.argument("folder", type=click.Path(path_type=Path))
@refusing(BundleRefusedError)
def verify(folder: Path) -> None:
    """Check whether a worker would serve the bundle in FOLDER; ends with 2 and the reason if not.

    \b
    Example:
      rankstream bundle verify bundle && rsync -a bundle/ worker-1:bundle/
    """
    bundle = open_bundle(folder)
    click.echo(f"{folder}: model {bundle.manifest.model_version} may serve")


@command.command()
@click.argument("bundles", type=click.Path(path_type=Path))
@click.argument("name")
@refusing(BundleRefusedError)
def use(bundles: Path, name: str) -> None:
    """Make NAME the current bundle of the folder BUNDLES: workers started with `--bundle BUNDLES` serve it.

    They see it within seconds, verify it and swap between two requests; a bad one is refused in their log and the old
    one goes on serving.

    \b
    Example:
      rankstream bundle use bundles 2026-07-01
    """
    open_bundle(bundles / name)
    use_bundle(bundles, name)
    click.echo(f"{bundles} serves {name} now")
