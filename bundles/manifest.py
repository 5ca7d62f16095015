"""The manifest of a model bundle: what the exporter writes and serving trusts.

A bundle is a folder that crosses from training to serving. Its manifest names everything in it: the features that
the ranker was trained with, its heads, the parts, and the checksum of every file. The manifest carries its own checksum
too, so it is written by ``write_manifest`` and not by hand; to change a weight, ``msgspec.structs.replace`` it and
write it again::

    bundle/
        manifest.json  manifest.sig                 the latter if somebody vouches for it (``signature.py``)
        golden.npz                                  inputs and outputs of all parts
        user.onnx  candidate.onnx                   the part "ranker"
        session_fold.onnx  session_encode.onnx      "sessions", if the bundle has one
        pinnerformer.onnx                           "user_vectors", if it can refresh them
        items/  item_features/                      embedding tables, a part each
        matches/                                    "matches": which items go together
        attributes/                                 "attributes": what items are, if it was trained with a catalogue
        profiles/                                   "profiles": what users are, if it was trained with a file of them

Format 3 knows match features, surfaces of requests and users' own counters. Format 2, which did not, and format 1,
which had a field ``session`` instead of parts, are read as what they stand for (``format_2.py``, ``format_1.py``),
after their checksum was verified on their own bytes; they keep that checksum.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from rankstream.bundles.format_1 import ManifestOfFormat1
from rankstream.bundles.format_2 import ManifestOfFormat2
from rankstream.bundles.parts import Part
from rankstream.features.actions import Vocabulary
from rankstream.features.decoding import UNREADABLE
from rankstream.features.files import sha256, whole_file
from rankstream.features.schema import FeatureSizes

FORMAT = 3
MANIFEST = "manifest.json"
SIGNATURE = "manifest.sig"  # over the manifest, so not in it; see signature.py
GOLDEN = "golden.npz"
LATER_SIZE = "profile_columns"  # came within format 3: bundles without profiles are as ever, to the byte
WORDS = {
    "num_actions": "newest actions",
    "item_dim": "item vectors",
    "user_dim": "user vectors",
    "session_dim": "session vectors",
    "item_features": "item features",
    "match_features": "match features",
    "surfaces": "surfaces",
    "counted_types": "counted action types",
    LATER_SIZE: "columns of profiles",
}


class ManifestError(ValueError):
    """A manifest that can't be trusted; the message names what is wrong with it."""


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is in a bundle, and what it was made of."""

    format: int = FORMAT  # that it was written in
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
    parts: tuple[Part, ...] = ()
    opset: int
    versions: dict[str, str]  # of the libraries that exported
    files: dict[str, str]  # path in the bundle, with "/" -> sha256
    checksum: str = ""  # of all the above; write_manifest fills it in


def write_manifest(folder: Path, manifest: Manifest) -> Manifest:
    """Write ``manifest`` into the bundle with the checksums of the files that lie there; return what was written."""
    complete = msgspec.structs.replace(manifest, format=FORMAT, files=file_checksums(folder))
    check_manifest(complete)
    # As it will be read: a weight of 3 is written as 3.0, and a NaN among the metrics as null.
    sealed = _sealed(msgspec.json.decode(_encode(complete), type=Manifest))
    with whole_file(folder / MANIFEST) as beside:
        beside.write_bytes(_encode(sealed))
    return sealed


def read_manifest(folder: Path) -> Manifest:
    """Read and check a bundle's manifest; the files that it names are not looked at."""
    return manifest_of((folder / MANIFEST).read_bytes())


def manifest_of(data: bytes) -> Manifest:
    """Return the manifest of these bytes. Raises ``ManifestError`` for any that were not written so."""
    try:
        found = msgspec.json.decode(data, type=_Format).format
        if found not in FORMATS:
            raise ManifestError(f"it is of format {found}, this version of rankstream reads up to format {FORMAT}")
        written = msgspec.json.decode(data, type=FORMATS[found])
    except UNREADABLE as exc:
        raise ManifestError(f"it can't be read ({exc})") from exc
    if _encode(_sealed(written)) != data:
        raise ManifestError("it was changed after it was written (its checksum does not hold)")
    manifest = written if isinstance(written, Manifest) else _upgraded(written)
    check_manifest(manifest)
    return manifest


def check_manifest(manifest: Manifest) -> None:
    """Raise ``ManifestError`` if the manifest contradicts itself."""
    heads = manifest.heads
    if not heads or len(set(heads)) != len(heads):
        raise ManifestError(f"its heads are [{', '.join(heads)}]; wanted at least one, each once")
    if set(manifest.utility) != set(heads) or not all(map(isfinite, manifest.utility.values())):
        raise ManifestError(f"its utility is {manifest.utility}; wanted a finite weight for each of {', '.join(heads)}")
    _check_parts(manifest)
    for name in manifest.files:
        if name.startswith("/") or "\\" in name or ".." in name.split("/"):
            raise ManifestError(f"it names the file {name!r}, which is outside of the bundle")


def _check_parts(manifest: Manifest) -> None:
    kinds = [part.kind for part in manifest.parts]
    if len(set(kinds)) != len(kinds):
        raise ManifestError(f"its parts are [{', '.join(kinds)}]; wanted each kind once")
    shared = asdict(manifest.sizes)
    for part in manifest.parts:
        for name, size in part.sizes.items():
            if size != shared.get(name):
                raise ManifestError(
                    f"the {WORDS.get(name, name)} of {part.model or part.kind} are {size}, "
                    f"the ranker was made for {shared.get(name)}"
                )


def file_checksums(folder: Path) -> dict[str, str]:
    """Return sha256 of every file under ``folder`` by path.

    Not of the manifest and its signature, nor of locks and other dot files.
    """
    names = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    listed = [name for name in names if name not in (Path(MANIFEST), Path(SIGNATURE)) and not name.name.startswith(".")]
    return {name.as_posix(): sha256(folder / name) for name in listed}


def wrong_files(folder: Path, files: Mapping[str, str]) -> list[str]:
    """Return what is wrong with each file that is missing or changed; an empty list if all is well."""
    wrong = []
    for name, checksum in files.items():
        path = folder / name
        if _through_link(folder, path):
            wrong.append(f"{name} is a link, so what it leads to may change unseen: put the file itself there")
        elif not path.is_file():
            wrong.append(f"{name} is missing")
        elif sha256(path) != checksum:
            wrong.append(f"{name} was changed after the export (its checksum does not hold)")
    return wrong


def _through_link(folder: Path, path: Path) -> bool:
    """Return whether a file, or a folder on the way to it from the bundle's own, is a symbolic link."""
    below = [path, *path.parents]
    return any(part.is_symlink() for part in below[: below.index(folder)])


class _Format(msgspec.Struct):
    format: int


OldManifest = ManifestOfFormat1 | ManifestOfFormat2
FORMATS: dict[int, type[Manifest] | type[ManifestOfFormat1] | type[ManifestOfFormat2]] = {
    1: ManifestOfFormat1,
    2: ManifestOfFormat2,
    FORMAT: Manifest,
}
AnyManifest = TypeVar("AnyManifest", bound=msgspec.Struct)


def _upgraded(old: OldManifest) -> Manifest:
    kept = {name: value for name, value in msgspec.structs.asdict(old).items() if name != "session"}
    return Manifest(**kept | {"parts": old.parts, "sizes": old.sizes.upgraded()})


def _sealed(manifest: AnyManifest) -> AnyManifest:
    bare = msgspec.structs.replace(manifest, checksum="")
    return msgspec.structs.replace(bare, checksum=hashlib.sha256(_encode(bare)).hexdigest())


def _encode(manifest: msgspec.Struct) -> bytes:
    """Return a manifest's bytes; a width that came later is left out where it is 0, as it was before it came."""
    plain = msgspec.to_builtins(manifest)
    for sizes in (plain["sizes"], *(part["sizes"] for part in plain.get("parts", ()))):
        if not sizes.get(LATER_SIZE):
            sizes.pop(LATER_SIZE, None)
    return msgspec.json.format(msgspec.json.encode(plain), indent=2) + b"\n"
