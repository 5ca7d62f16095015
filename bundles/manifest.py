"""The manifest of a model bundle: what the exporter writes and serving trusts.

A bundle is a folder that crosses from training to serving. Its manifest names everything in it: the features that
the model was trained with, its heads, and the checksum of every file. The manifest carries its own checksum too,
so it is written by ``write_manifest`` and not by hand; to change a weight, ``msgspec.structs.replace`` it and
write it again::

    bundle/
        manifest.json
        user.onnx  candidate.onnx  golden.npz
        session_fold.onnx  session_encode.onnx      if the bundle has a session model
        pinnerformer.onnx                           if it can refresh user vectors
        items/  item_features/                      embedding tables
"""

import hashlib
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any

import msgspec

from rankstream.features.actions import Vocabulary
from rankstream.features.files import sha256
from rankstream.features.schema import FeatureSizes

FORMAT = 1
MANIFEST = "manifest.json"
USER_GRAPH = "user.onnx"
CANDIDATE_GRAPH = "candidate.onnx"
SESSION_FOLD_GRAPH = "session_fold.onnx"
SESSION_ENCODE_GRAPH = "session_encode.onnx"
PINNERFORMER_GRAPH = "pinnerformer.onnx"
GOLDEN = "golden.npz"
ITEMS = "items"
ITEM_FEATURES = "item_features"


class ManifestError(ValueError):
    """A manifest that can't be trusted; the message says what is wrong with it."""


class SessionSizes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The session encoder of a bundle; ``features.sessions.SessionEncoder`` says what the words mean."""

    tag: int
    state_size: int
    dim: int


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is in a bundle, and what it was made of."""

    format: int = FORMAT
    model_version: str
    created_at: str  # ISO 8601, UTC
    vocabulary: Vocabulary
    heads: tuple[str, ...]
    utility: dict[str, float]  # weight of each head in the final score
    sizes: FeatureSizes
    item_space: str  # `space` of the table items/
    user_space: str  # `space` that a table of user vectors must have
    trained_until_ms: int  # nothing later was seen in training, UTC
    metrics: dict[str, Any]  # measured where, on what; for people
    session: SessionSizes | None = None
    opset: int
    versions: dict[str, str]  # of the libraries that exported
    files: dict[str, str]  # path in the bundle, with "/" -> sha256
    checksum: str = ""  # of all the above; write_manifest fills it in


def write_manifest(folder: Path, manifest: Manifest) -> Manifest:
    """Write ``manifest`` into the bundle with the checksums of the files that lie there; give what was written."""
    complete = msgspec.structs.replace(manifest, files=file_checksums(folder))
    check_manifest(complete)
    # As it will be read: a weight of 3 is written as 3.0, and a NaN among the metrics as null.
    sealed = _sealed(msgspec.json.decode(_encode(complete), type=Manifest))
    (folder / MANIFEST).write_bytes(_encode(sealed))
    return sealed


def read_manifest(folder: Path) -> Manifest:
    """Read and check a bundle's manifest; the files that it names are not looked at."""
    data = (folder / MANIFEST).read_bytes()
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise ManifestError(f"it can't be read ({exc})") from exc
    if manifest.format != FORMAT:
        raise ManifestError(f"it is of format {manifest.format}, this version of rankstream reads format {FORMAT}")
    if _encode(_sealed(manifest)) != data:
        raise ManifestError("it was changed after it was written (its checksum does not hold)")
    check_manifest(manifest)
    return manifest


def check_manifest(manifest: Manifest) -> None:
    """Raise ``ManifestError`` if the manifest contradicts itself."""
    heads = manifest.heads
    if not heads or len(set(heads)) != len(heads):
        raise ManifestError(f"its heads are [{', '.join(heads)}]; wanted at least one, each once")
    if set(manifest.utility) != set(heads) or not all(map(isfinite, manifest.utility.values())):
        raise ManifestError(f"its utility is {manifest.utility}; wanted a finite weight for each of {', '.join(heads)}")
    session = manifest.session
    if session and session.dim != manifest.sizes.session_dim:
        raise ManifestError(
            f"its session model gives vectors of {session.dim}, the ranker wants {manifest.sizes.session_dim}"
        )
    for name in manifest.files:
        if name.startswith("/") or "\\" in name or ".." in name.split("/"):
            raise ManifestError(f"it names the file {name!r}, which is outside of the bundle")


def file_checksums(folder: Path) -> dict[str, str]:
    """Return sha256 of every file under ``folder`` by path; not of the manifest, nor of locks and other dot files."""
    names = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    listed = [name for name in names if name != Path(MANIFEST) and not name.name.startswith(".")]
    return {name.as_posix(): sha256(folder / name) for name in listed}


def wrong_files(folder: Path, files: Mapping[str, str]) -> list[str]:
    """Say of each file that is missing or changed what is wrong with it; an empty list if all is well."""
    wrong = []
    for name, checksum in files.items():
        path = folder / name
        if not path.is_file():
            wrong.append(f"{name} is missing")
        elif sha256(path) != checksum:
            wrong.append(f"{name} was changed after the export (its checksum does not hold)")
    return wrong


def _sealed(manifest: Manifest) -> Manifest:
    bare = msgspec.structs.replace(manifest, checksum="")
    return msgspec.structs.replace(bare, checksum=hashlib.sha256(_encode(bare)).hexdigest())


def _encode(manifest: Manifest) -> bytes:
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"
