"""`rankstream bundle`: what is in a bundle, whether it verifies, and which one is served."""

import json
from collections.abc import Mapping
from pathlib import Path

import click
import msgspec

from rankstream.bundles.ranker import calibrated_heads
from rankstream.bundles.sessions import SESSIONS
from rankstream.cli.errors import refusing
from rankstream.cli.views.as_json import json_option, print_json
from rankstream.cli.views.feeds import heads_text
from rankstream.cli.views.table import Facts, console
from rankstream.evaluation.time_text import time_text
from rankstream.ranking.bundle import Bundle, BundleRefusedError, open_bundle, use_bundle


@click.group()
def command() -> None:
    """Check a model bundle and show what is in it.

    A bundle is a folder that `rankstream export` writes: graphs, item tables, vocabulary, weights, checksums, and
    golden inputs with their outputs. A worker serves it only if all of that verifies.
    """


@command.command()
@click.argument("folder", type=click.Path(path_type=Path))
@json_option
@refusing(BundleRefusedError)
def show(folder: Path, as_json: bool) -> None:
    """Verify the bundle in FOLDER and show what it holds; --json prints its manifest.

    \b
    Examples:
      rankstream bundle show bundle
      rankstream bundle show bundle --json | jq .trained_until_ms
    """
    bundle = open_bundle(folder)
    if as_json:
        print_json({"bundle": folder} | msgspec.to_builtins(bundle.manifest))
        return
    screen = console()
    screen.print(Facts(facts_of(bundle)))
    screen.print("checksums and golden outputs verified", style="green")


def facts_of(bundle: Bundle) -> Mapping[str, str]:
    """Return what people want to know of a bundle."""
    manifest, sizes = bundle.manifest, bundle.manifest.sizes
    return {
        "bundle": str(bundle.folder),
        "model version": manifest.model_version,
        "exported": manifest.created_at,
        "trained until": time_text(manifest.trained_until_ms),
        "actions": ", ".join(manifest.vocabulary.actions),
        "surfaces": ", ".join(manifest.vocabulary.surfaces) or "none",
        "heads": heads_text(manifest.heads, calibrated_heads(manifest.parts) or ()),
        "utility": ", ".join(f"{head} x {manifest.utility.get(head, 0):g}" for head in manifest.heads),
        "items": f"{len(bundle.items.keys):,}, {sizes.item_dim} wide, space {manifest.item_space}",
        "user vectors": f"{sizes.user_dim} wide, space {manifest.user_space}",
        "session model": f"state of {bundle.sessions.state_size}" if SESSIONS in bundle.parts else "none",
        "parts": ", ".join(f"{part.kind} ({part.model})" if part.model else part.kind for part in manifest.parts),
        "newest actions seen": str(sizes.num_actions),
        "metrics": json.dumps(manifest.metrics, indent=1) if manifest.metrics else "none",
        "made with": ", ".join(f"{name} {version}" for name, version in manifest.versions.items()),
    }


@command.command()
@click.argument("folder", type=click.Path(path_type=Path))
@json_option
@refusing(BundleRefusedError)
def verify(folder: Path, as_json: bool) -> None:
    """Check whether a worker would serve the bundle in FOLDER; ends with 2 and the reason if not.

    \b
    Example:
      rankstream bundle verify bundle && rsync -a bundle/ worker-1:bundle/
    """
    bundle = open_bundle(folder)
    if as_json:
        print_json({"bundle": folder, "model_version": bundle.manifest.model_version})
    else:
        click.echo(f"{folder}: model {bundle.manifest.model_version} may serve")


@command.command()
@click.argument("bundles", type=click.Path(path_type=Path))
@click.argument("name")
@json_option
@refusing(BundleRefusedError)
def use(bundles: Path, name: str, as_json: bool) -> None:
    """Make NAME the current bundle of the folder BUNDLES: workers started with `--bundle BUNDLES` serve it.

    They see it within seconds, verify it and swap between two requests; a bad one is refused in their log and the old
    one goes on serving.

    \b
    Example:
      rankstream bundle use bundles 2026-07-01
    """
    version = open_bundle(bundles / name).manifest.model_version
    use_bundle(bundles, name)
    if as_json:
        print_json({"bundles": bundles, "current": name, "model_version": version})
    else:
        click.echo(f"{bundles} serves {name} now")
