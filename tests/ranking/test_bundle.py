import shutil
from io import BytesIO

import msgspec
import numpy as np
import pytest

from rankstream.bundles.golden import read_golden, write_golden
from rankstream.bundles.manifest import read_manifest, write_manifest
from rankstream.features.embeddings.table import publish
from rankstream.ranking.bundle import BundleRefusedError, open_bundle, use_bundle
from tests.builders.bundle import AS_OF_MS, VOCABULARY, a_bundle, vectors_of
from tests.builders.faulty_bundle import a_bundle_that_fails_at_once
from tests.builders.somebody_else import entered_by_all, somebody_else

FILES = (
    "manifest.json", "golden.npz", "user.onnx", "candidate.onnx", "session_fold.onnx", "session_encode.onnx",
    "items/CURRENT", "items/*/header.json", "items/*/keys.u64", "items/*/vectors.f16",
    "item_features/CURRENT", "item_features/*/header.json", "item_features/*/keys.u64", "item_features/*/vectors.f16",
)  # fmt: skip


@pytest.fixture
def bundle(tmp_path):
    return a_bundle(tmp_path / "bundle")


def seal(folder, **changes):
    """Write the manifest again, so that checksums hold and only what they don't see is wrong."""
    return write_manifest(folder, msgspec.structs.replace(read_manifest(folder), **changes))


def test_a_whole_bundle_opens(bundle):
    opened = open_bundle(bundle)
    assert opened.manifest.vocabulary == VOCABULARY
    assert opened.items.ids(opened.items.rows(np.array([7], np.uint64))[0]) == [7]
    assert (opened.sessions.dim, opened.sessions.state_size) == (4, 6)


def test_the_same_arguments_write_the_same_bundle(bundle, tmp_path):
    assert read_manifest(a_bundle(tmp_path / "other")) == read_manifest(bundle)


def test_a_bundle_without_a_session_model_returns_zero_session_vectors(tmp_path):
    sessions = open_bundle(a_bundle(tmp_path, with_sessions=False)).sessions
    assert sessions.encode(np.zeros(0, np.float32), *2 * (np.zeros((0, 8), np.float32),)).tolist() == [0] * 4


def test_no_file_is_left_out_of_the_tests_below(bundle):
    there = {path for path in bundle.rglob("*") if path.is_file() and not path.name.startswith(".")}
    assert there == {path for pattern in FILES for path in bundle.glob(pattern)}


@pytest.mark.parametrize("position", [0.0, 0.5, 0.999])
@pytest.mark.parametrize("pattern", FILES)
def test_a_flipped_byte_in_any_file_is_refused(bundle, pattern, position):
    path = next(bundle.glob(pattern))
    data = bytearray(path.read_bytes())
    data[int(len(data) * position)] ^= 1
    path.write_bytes(data)
    with pytest.raises(BundleRefusedError) as refused:
        open_bundle(bundle)
    assert path.name in str(refused.value)
    assert "export the bundle again" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("linked", ["candidate.onnx", "items"])
def test_a_link_instead_of_a_file_is_refused(bundle, tmp_path, linked):
    (bundle / linked).rename(tmp_path / "elsewhere")
    (bundle / linked).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleRefusedError, match=rf"{linked}.* is a link.*put the file itself there"):
        open_bundle(bundle)


def test_a_link_to_a_whole_bundle_opens(bundle, tmp_path):
    (tmp_path / "link").symlink_to(bundle)
    assert open_bundle(tmp_path / "link").manifest == read_manifest(bundle)


@pytest.mark.parametrize("pattern", FILES)
def test_a_missing_file_is_refused(bundle, pattern):
    path = next(bundle.glob(pattern))
    path.unlink()
    with pytest.raises(BundleRefusedError, match=rf"{path.name}.*export"):
        open_bundle(bundle)


@pytest.mark.parametrize("name", ["user.onnx", "golden.npz", "items/CURRENT", "session_fold.onnx"])
def test_a_manifest_that_does_not_name_a_needed_file_is_refused(bundle, name):
    (bundle / name).unlink()
    seal(bundle)
    with pytest.raises(BundleRefusedError, match=rf"manifest.json does not name {name}"):
        open_bundle(bundle)


def test_graphs_of_another_model_do_not_pass_the_golden_cases(bundle, tmp_path):
    for name in ("candidate.onnx", "session_fold.onnx"):
        whole = (bundle / name).read_bytes()
        shutil.copy(a_bundle(tmp_path / "other", seed=1) / name, bundle / name)
        seal(bundle)
        with pytest.raises(BundleRefusedError, match=r"golden.npz: the graphs' outputs are up to .* off"):
            open_bundle(bundle)
        (bundle / name).write_bytes(whole)


def test_what_is_no_graph_is_refused(bundle):
    (bundle / "user.onnx").write_bytes(b"no graph")
    seal(bundle)
    with pytest.raises(BundleRefusedError, match=r"user.onnx.*export the bundle again"):
        open_bundle(bundle)


def test_a_graph_that_fails_when_it_runs_is_refused_in_one_sentence_and_nothing_else_is_said(tmp_path, capfd):
    folder = a_bundle_that_fails_at_once(tmp_path / "bundle")
    with pytest.raises(BundleRefusedError, match=r"golden\.npz can't be run through the graphs .*reshaped"):
        open_bundle(folder)
    assert capfd.readouterr() == ("", "")


def cut_in_half(data):
    return data[: len(data) // 2]


def with_a_flipped_number(data):
    return data[:200] + bytes([data[200] ^ 1]) + data[201:]  # the first array's: its CRC in the archive does not hold


def text(data):
    return b"no archive"


def nothing(data):
    return b""


def one_array(data):
    file = BytesIO()
    np.save(file, np.zeros(3))
    return file.getvalue()


@pytest.mark.parametrize("damaged", [cut_in_half, with_a_flipped_number, text, nothing, one_array])
def test_golden_cases_in_a_broken_archive_are_refused_in_one_sentence(bundle, damaged):
    path = bundle / "golden.npz"
    path.write_bytes(damaged(path.read_bytes()))
    seal(bundle)
    with pytest.raises(BundleRefusedError) as refused:
        open_bundle(bundle)
    assert f"{path} can't be read (it is no whole .npz file" in str(refused.value)
    assert str(refused.value).endswith("export the bundle again")
    assert "\n" not in str(refused.value)


def test_golden_outputs_that_are_no_numbers_are_refused(bundle):
    golden = read_golden(bundle / "golden.npz")
    golden["ranker"][-1]["probabilities"][0, 0] = np.nan
    write_golden(bundle / "golden.npz", golden)
    seal(bundle)
    with pytest.raises(BundleRefusedError, match="up to nan off"):
        open_bundle(bundle)


def test_a_bundle_without_golden_cases_of_its_session_model_is_refused(bundle):
    write_golden(bundle / "golden.npz", {"ranker": read_golden(bundle / "golden.npz")["ranker"]})
    seal(bundle)
    with pytest.raises(BundleRefusedError, match="has no cases 'fold' of the sessions"):
        open_bundle(bundle)


@pytest.mark.parametrize(("dim", "space"), [(8, "another"), (7, "tiny-items")])
def test_items_of_another_space_are_refused(bundle, dim, space):
    publish(bundle / "items", [1], vectors_of(1, dim, 0), space=space, as_of_ms=AS_OF_MS)
    seal(bundle)
    with pytest.raises(BundleRefusedError, match=rf"items is of the space '{space}' and {dim} wide, the model wants"):
        open_bundle(bundle)


def test_current_names_the_bundle_of_a_folder_of_bundles(tmp_path):
    for name in ("one", "two"):
        a_bundle(tmp_path / name, model_version=name)
        use_bundle(tmp_path, name)
        assert open_bundle(tmp_path).manifest.model_version == name
    with pytest.raises(BundleRefusedError, match=r"three has no manifest.json"):
        use_bundle(tmp_path, "three")


def test_the_folder_of_a_training_is_refused_with_the_bundle_in_it(tmp_path):
    a_bundle(tmp_path / "run" / "bundle")
    with pytest.raises(BundleRefusedError, match=r"manifest.json can't be read .*; the bundle is .*run/bundle$"):
        open_bundle(tmp_path / "run")


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(BundleRefusedError, match=r"manifest.json can't be read .*export a bundle there"):
        open_bundle(tmp_path)


@pytest.mark.parametrize("name", ["manifest.json", "user.onnx", "CURRENT"])
def test_what_this_user_may_not_read_is_said_so(name):
    """Nothing is wrong with the bundle, so exporting it again would not help."""
    with entered_by_all() as folder:
        a_bundle(folder / "one")
        use_bundle(folder, "one")
        for path in (folder / "one", *(folder / "one").rglob("*"), folder / "CURRENT"):
            path.chmod(0o755)
        (folder / name if name == "CURRENT" else folder / "one" / name).chmod(0o600)
        with somebody_else(), pytest.raises(BundleRefusedError, match=rf"{name} can't be read \(Permission.*right to"):
            open_bundle(folder)
