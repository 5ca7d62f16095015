"""`rankstream bundle`: what is in a bundle, whether it verifies, who vouches for it, and which one is served."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import click
import msgspec

from rankstream.bundles.manifest import MANIFEST, Manifest, ManifestError, read_manifest
from rankstream.bundles.ranker import calibrated_heads, ranks_seen_last
from rankstream.bundles.sessions import SESSIONS
from rankstream.bundles.signature import SignatureError, new_key, sign, signer_of
from rankstream.cli.errors import refusing
from rankstream.cli.options.settings import settings_options
from rankstream.cli.views.as_json import json_option, print_json
from rankstream.cli.views.feeds import heads_text
from rankstream.cli.views.table import Facts, console
from rankstream.evaluation.time_text import time_text
from rankstream.ranking.bundle import Bundle, BundleRefusedError, bundle_folder, open_bundle, use_bundle
from rankstream.ranking.serving import longer_vocabulary
from rankstream.streams.settings import Settings

PASSWORD = "RANKSTREAM_SIGNING_PASSWORD"  # variable: of the private key, where that has one


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


SEEN_LAST = "as what nothing will come of: in the training's log hardly anybody acted on an item twice"


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
        "seen items": SEEN_LAST if ranks_seen_last(manifest.parts) else "as the model finds them",
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
@settings_options(also=["trusted_keys"])
@refusing(BundleRefusedError, SignatureError)
def verify(folder: Path, as_json: bool, settings: Settings) -> None:
    """Check whether a worker would serve the bundle in FOLDER; ends with 2 and the reason if not.

    With --trusted-keys, as workers with that setting would: one of these keys must have signed it.

    \b
    Examples:
      rankstream bundle verify bundle && rsync -a bundle/ worker-1:bundle/
      rankstream bundle verify bundle --trusted-keys keys
    """
    bundle = open_bundle(folder, trusted_keys=settings.trusted_keys)
    keys = settings.trusted_keys
    signer = None if keys is None else signer_of(bundle.folder, (bundle.folder / MANIFEST).read_bytes(), keys)
    if as_json:
        print_json({"bundle": folder, "model_version": bundle.manifest.model_version, "signed_by": signer})
    else:
        vouched = "" if signer is None else f", signed by {signer}"
        click.echo(f"{folder}: model {bundle.manifest.model_version} may serve{vouched}")


@command.command()
@click.argument("key", type=click.Path(path_type=Path))
@json_option
@refusing(SignatureError)
def keygen(key: Path, as_json: bool) -> None:
    """Write a new private key to KEY and its public one to KEY.pub, to sign bundles with.

    The private key stays where bundles are exported; its file is readable by its owner alone, and encrypted where
    RANKSTREAM_SIGNING_PASSWORD holds a password. The public one goes to workers, as --trusted-keys.

    \b
    Example:
      rankstream bundle keygen signing.key
    """
    name, public = new_key(key, _password()), key.with_name(f"{key.name}.pub")
    if as_json:
        print_json({"key": key, "public": public, "name": name})
    else:
        click.echo(f"key {name}: {key} signs, and must stay secret; {public} is for those who verify")


@command.command(name="sign")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--key", type=click.Path(path_type=Path), required=True, help="File of the private key.")
@json_option
@refusing(BundleRefusedError, SignatureError)
def sign_bundle(folder: Path, key: Path, as_json: bool) -> None:
    """Verify the bundle in FOLDER and vouch for it: write a signature beside its manifest.

    The manifest's checksums cover every file of the bundle, so nothing in it can change any more. Signatures of other
    keys stay. The password of a key that has one is read from RANKSTREAM_SIGNING_PASSWORD.

    \b
    Example:
      rankstream bundle sign bundles/2026-07-01 --key signing.key
    """
    bundle = open_bundle(folder)
    name = sign(bundle.folder, key, _password())
    if as_json:
        print_json({"bundle": folder, "model_version": bundle.manifest.model_version, "signed_by": name})
    else:
        click.echo(f"{folder}: model {bundle.manifest.model_version} is signed by {name}")


def _password() -> bytes | None:
    return os.environb.get(PASSWORD.encode()) or None


@command.command()
@click.argument("bundles", type=click.Path(path_type=Path))
@click.argument("name")
@click.option("--other-names", is_flag=True, help="Its codes may have other names: workers start with no states.")
@json_option
@settings_options(also=["trusted_keys"])
@refusing(BundleRefusedError)
def use(bundles: Path, name: str, other_names: bool, as_json: bool, settings: Settings) -> None:
    """Make NAME the current bundle of the folder BUNDLES: workers started with `--bundle BUNDLES` serve it.

    They see it within seconds, verify it and swap between two requests; a bad one is refused in their log and the old
    one goes on serving. Users' states hold codes of the actions' names: one that gives these other names than the
    current one has is refused here, too.

    \b
    Example:
      rankstream bundle use bundles 2026-07-01
    """
    manifest = open_bundle(bundles / name, trusted_keys=settings.trusted_keys).manifest
    version = manifest.model_version
    if not other_names:
        _check_names(bundles, manifest)
    use_bundle(bundles, name)
    if as_json:
        print_json({"bundles": bundles, "current": name, "model_version": version})
    else:
        click.echo(f"{bundles} serves {name} now")


def _check_names(bundles: Path, manifest: Manifest) -> None:
    """Refuse what gives codes other names than the bundle that serves; nothing where none does, or a broken one."""
    try:
        current = read_manifest(bundle_folder(bundles))
    except (OSError, ManifestError, BundleRefusedError):
        return
    try:
        longer_vocabulary(current.vocabulary, manifest.vocabulary)
    except BundleRefusedError as exc:
        raise BundleRefusedError(
            f"{exc}, or give --other-names, end all workers, and move their state folders and the changelog away"
        ) from exc
