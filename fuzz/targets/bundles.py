"""Whole bundles of which one file is damaged and all checksums are made right again, so that the damage is opened.

A checksum says that a file is what was exported, not that it is sound: an exporter may be wrong, and who can write a
bundle can write checksums. So graphs come to ONNX Runtime here, and tables of wrong shapes to whoever opens them. An
input is the name of a file in the bundle, a line break, and what that file holds.
"""

import re
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from zlib import crc32

import msgspec
import numpy as np
import xxhash

from fuzz.law import Target, same
from rankstream.bundles import manifest
from rankstream.features.decoding import UNREADABLE
from rankstream.features.embeddings.files import HEADER, Header, checksum
from rankstream.features.files import CURRENT
from rankstream.ranking.bundle import BundleRefusedError, open_bundle
from tests.builders.bundle import a_bundle
from tests.builders.hostile_graphs import REFUSED, bytes_of, that_grows

NUM_ITEMS = 9
GRAPH = "candidate.onnx"
VERSION = re.compile(r"(?P<table>\w+)/\d{6}-[0-9a-f]{16}/(?P<file>.+)")


def _files() -> dict[str, bytes]:
    """Return the files of a bundle, by path."""
    with tempfile.TemporaryDirectory() as name:
        folder = a_bundle(Path(name) / "bundle", num_items=NUM_ITEMS)
        paths = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


SOUND = _files()


def _damaged(names: list[str], data: bytes) -> dict[str, bytes]:
    """Return the files with the one that the input names changed, or any of these names if it names none."""
    name, _, content = data.partition(b"\n")
    wanted = name.decode(errors="replace")
    return {**SOUND, wanted if wanted in names else names[crc32(name) % len(names)]: content}


def _written(folder: Path, files: dict[str, bytes]) -> None:
    """Write the files with right checksums: of columns, of headers, which name their folders, and of the bundle."""
    for header in [name for name in files if name.endswith(f"/{HEADER}")]:
        files[header] = _header_of(header.removesuffix(HEADER), files)
    for name, content in files.items():
        path = folder / _renamed(name, files)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for table in {found["table"] for found in map(VERSION.fullmatch, files) if found}:
        if files[f"{table}/{CURRENT}"] == SOUND[f"{table}/{CURRENT}"]:
            (version,) = [path.name for path in (folder / table).iterdir() if path.is_dir()]
            (folder / table / CURRENT).write_text(version)
    with suppress(*UNREADABLE):
        listed = msgspec.json.decode(files[manifest.MANIFEST], type=manifest.Manifest)
        sums = manifest.file_checksums(folder)
        sealed = manifest._sealed(msgspec.structs.replace(listed, files={**dict.fromkeys(listed.files, ""), **sums}))
        (folder / manifest.MANIFEST).write_bytes(manifest._encode(sealed))


def _header_of(version: str, files: Mapping[str, bytes]) -> bytes:
    """Return a table's header with the checksums that its columns have now; as it is where it is none."""
    raw = files[version + HEADER]
    with suppress(*UNREADABLE):
        header = msgspec.json.decode(raw, type=Header)
        sums = {name: checksum(np.frombuffer(files.get(version + name, b""), np.uint8)) for name in header.checksums}
        return msgspec.json.encode(msgspec.structs.replace(header, checksums=sums))
    return raw


def _renamed(name: str, files: Mapping[str, bytes]) -> str:
    """Return a file's path where its table's folder is named for its header."""
    found = VERSION.fullmatch(name)
    if found is None:
        return name
    header = files[name.removesuffix(found["file"]) + HEADER]
    return f"{found['table']}/000001-{xxhash.xxh3_64_hexdigest(header)}/{found['file']}"


def _open(names: list[str], data: bytes) -> None:
    """Open a bundle whose file is this one, and look up what serving would."""
    with tempfile.TemporaryDirectory() as name:
        _written(Path(name), _damaged(names, data))
        bundle = open_bundle(Path(name))
        vectors, found = bundle.items.look_up(np.array([1, 2, 1 << 63], np.uint64))
        same((vectors.shape, found.shape), ((3, bundle.items.dim), (3,)))


def targets() -> list[Target]:
    """Return the targets: graphs, and all that is not a graph."""
    graphs, others = ([name for name in SOUND if name.endswith(".onnx") == one] for one in (True, False))
    named = {"bundle-graphs": graphs, "bundle-files": others}
    hostile = [f"{GRAPH}\n".encode() + bytes_of(made()) for made in [*REFUSED.values(), that_grows]]
    return [
        Target(
            target,
            [f"{name}\n".encode() + SOUND[name] for name in names] + (hostile if names is graphs else []),
            partial(_open, names),
            (BundleRefusedError,),
        )
        for target, names in named.items()
    ]
