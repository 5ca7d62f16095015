"""Bundles that were written before a manifest listed parts."""

import hashlib
import json

import msgspec
import pytest

from rankstream.bundles.manifest import ManifestError, read_manifest, write_manifest
from rankstream.ranking.bundle import open_bundle
from tests.builders.bundle import a_bundle


def in_format_1(folder):
    """Write a bundle's manifest as rankstream 0.1.0 did."""
    now = json.loads((folder / "manifest.json").read_bytes())
    for name in ("match_features", "surfaces", "counted_types"):
        del now["sizes"][name]
    facts = {part["kind"]: part["facts"] for part in now.pop("parts")}
    order = [*list(now)[: list(now).index("opset")], "session", *list(now)[list(now).index("opset") :]]
    old = {name: {**now, "session": facts.get("sessions"), "format": 1, "checksum": ""}[name] for name in order}
    old["checksum"] = hashlib.sha256(encoded(old)).hexdigest()
    (folder / "manifest.json").write_bytes(encoded(old))
    return folder


def encoded(manifest):
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


@pytest.mark.parametrize("with_sessions", [True, False])
def test_a_bundle_of_format_1_opens_as_the_parts_that_it_stands_for(tmp_path, with_sessions):
    new = open_bundle(a_bundle(tmp_path, with_sessions=with_sessions))
    old = open_bundle(in_format_1(tmp_path))
    assert [part.kind for part in old.manifest.parts] == [part.kind for part in new.manifest.parts]
    assert old.manifest.sizes == new.manifest.sizes
    assert (old.sessions.tag, old.sessions.state_size, old.sessions.dim) == (
        new.sessions.tag, new.sessions.state_size, new.sessions.dim,
    )  # fmt: skip


def test_a_manifest_of_format_1_keeps_its_checksum_until_it_is_written_again(tmp_path):
    in_format_1(a_bundle(tmp_path))
    manifest = read_manifest(tmp_path)
    assert manifest.checksum == json.loads((tmp_path / "manifest.json").read_bytes())["checksum"]
    assert write_manifest(tmp_path, manifest) == read_manifest(tmp_path)
    assert json.loads((tmp_path / "manifest.json").read_bytes())["format"] == 3


def test_a_user_encoder_of_format_1_is_a_part_that_no_worker_needs(tmp_path):
    (a_bundle(tmp_path) / "pinnerformer.onnx").write_bytes(b"a graph that a batch job runs")
    write_manifest(tmp_path, read_manifest(tmp_path))
    opened = open_bundle(in_format_1(tmp_path))
    assert (opened.manifest.parts[-1].kind, opened.manifest.parts[-1].optional) == ("user_vectors", True)


def test_a_manifest_of_format_1_that_was_edited_is_not_read(tmp_path):
    path = in_format_1(a_bundle(tmp_path)) / "manifest.json"
    path.write_text(path.read_text().replace('"save": 3.0', '"save": 9.0'))
    with pytest.raises(ManifestError, match="changed after it was written"):
        read_manifest(tmp_path)


def test_a_format_to_come_is_named(tmp_path):
    path = a_bundle(tmp_path) / "manifest.json"
    path.write_text(path.read_text().replace('"format": 3', '"format": 4, "new": 1'))
    with pytest.raises(ManifestError, match=r"of format 4, this version of rankstream reads up to format 3"):
        read_manifest(tmp_path)
