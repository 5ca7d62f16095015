"""Bundles that were written before rankers had match features, and saw surfaces and counters."""

import hashlib
import json

import msgspec

from rankstream.bundles.manifest import read_manifest
from rankstream.ranking.bundle import open_bundle
from tests.builders.bundle import a_bundle


def in_format_2(folder):
    """Write a bundle's manifest as it was before."""
    old = json.loads((folder / "manifest.json").read_bytes()) | {"format": 2, "checksum": ""}
    for sizes in (old["sizes"], *(part["sizes"] for part in old["parts"])):
        for name in ("match_features", "surfaces", "counted_types"):
            sizes.pop(name, None)
    old["checksum"] = hashlib.sha256(encoded(old)).hexdigest()
    (folder / "manifest.json").write_bytes(encoded(old))
    return folder


def encoded(manifest):
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def test_a_bundle_of_format_2_opens_without_match_features_and_keeps_its_checksum(tmp_path):
    folder = in_format_2(a_bundle(tmp_path))
    opened = open_bundle(folder)
    sizes = opened.manifest.sizes
    assert (opened.manifest.format, sizes.match_features, sizes.surfaces, sizes.counted_types) == (2, 0, 0, 0)
    assert read_manifest(folder).checksum == json.loads((folder / "manifest.json").read_bytes())["checksum"]
