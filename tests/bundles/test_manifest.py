import msgspec
import pytest

from rankstream.bundles.manifest import ManifestError, read_manifest, write_manifest
from tests.builders.bundle import a_bundle


def test_a_manifest_is_read_as_it_was_written(tmp_path):
    manifest = read_manifest(a_bundle(tmp_path))
    assert write_manifest(tmp_path, manifest) == manifest == read_manifest(tmp_path)


def test_a_manifest_can_be_written_again_with_other_weights(tmp_path):
    manifest = read_manifest(a_bundle(tmp_path))
    write_manifest(tmp_path, msgspec.structs.replace(manifest, utility={"save": 1.0, "click": 1.0, "hide": 0.0}))
    assert read_manifest(tmp_path).utility["save"] == 1.0


def test_numbers_may_be_given_as_python_has_them(tmp_path):
    metrics = {"auc": float("nan"), "error": 5.96e-08, "sizes": (1,)}
    given = {"utility": {"save": 3, "click": 1, "hide": -5}, "metrics": metrics}
    written = write_manifest(tmp_path, msgspec.structs.replace(read_manifest(a_bundle(tmp_path)), **given))
    assert read_manifest(tmp_path) == written
    assert written.metrics == {"auc": None, "error": 5.96e-08, "sizes": [1]}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"heads": ()}, r"its heads are \[\]"),
        ({"utility": {"save": 1.0}}, "wanted a finite weight for each of save, click, hide"),
        ({"utility": {"save": 1.0, "click": float("inf"), "hide": 0.0}}, "wanted a finite weight"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_not_written(tmp_path, change, complaint):
    manifest = read_manifest(a_bundle(tmp_path))
    with pytest.raises(ManifestError, match=complaint):
        write_manifest(tmp_path, msgspec.structs.replace(manifest, **change))


def test_what_was_edited_by_hand_is_not_read(tmp_path):
    path = a_bundle(tmp_path) / "manifest.json"
    path.write_text(path.read_text().replace('"save": 3.0', '"save": 9.0'))
    with pytest.raises(ManifestError, match="changed after it was written"):
        read_manifest(tmp_path)
