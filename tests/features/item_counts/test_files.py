"""Published item counts: whole versions or none, verified to the byte."""

import pytest
from xxhash import xxh3_64_hexdigest

from rankstream.features.embeddings.files import BrokenTableError
from rankstream.features.files import make_current
from rankstream.features.item_counts.files import (
    FolderInUseError,
    counting,
    is_counting,
    open_counts,
    publish_counts,
    publish_newer,
)
from tests.builders.bundle import AS_OF_MS, ITEM_SPACE
from tests.builders.item_counts import some_counts, the_same
from tests.builders.killed import killed_at


def test_what_is_published_is_opened_again(tmp_path):
    counts = some_counts(seed=1)
    folder = publish_counts(tmp_path, counts)
    opened = open_counts(tmp_path)
    assert the_same(opened, counts)
    assert (opened.version, opened.space, opened.as_of_ms) == (folder.name, ITEM_SPACE, AS_OF_MS)
    assert (opened.feature_names, opened.match_features) == (counts.feature_names, 0)


def test_as_many_versions_are_kept_as_are_wanted(tmp_path):
    names = [publish_counts(tmp_path, some_counts(seed), keep=3).name for seed in range(5)]
    assert sorted(path.name for path in tmp_path.glob("0*")) == names[2:]
    assert open_counts(tmp_path).version == names[-1]


def test_newer_counts_take_the_place_of_older_ones_alone(tmp_path):
    first = publish_newer(tmp_path, some_counts(1, AS_OF_MS + 5))
    for as_of_ms in (AS_OF_MS, AS_OF_MS + 5):
        assert publish_newer(tmp_path, some_counts(2, as_of_ms)) is None
    assert open_counts(tmp_path).version == first.name
    assert publish_newer(tmp_path, some_counts(2, AS_OF_MS + 5, space="another model's")) is not None
    assert publish_newer(tmp_path, some_counts(1, AS_OF_MS, space="another model's")) is None
    assert publish_newer(tmp_path, some_counts(2, AS_OF_MS + 6)) is not None
    (tmp_path / open_counts(tmp_path).version / "header.json").write_text("{}")
    assert publish_newer(tmp_path, some_counts(3, AS_OF_MS)) is not None  # what can't be trusted is older than anything


def test_one_process_publishes_all_the_time(tmp_path):
    assert not is_counting(tmp_path)
    with counting(tmp_path):
        assert is_counting(tmp_path)
        with pytest.raises(FolderInUseError, match="end it, or name another folder"), counting(tmp_path):
            pass
        publish_counts(tmp_path, some_counts(1))  # it keeps nobody from publishing by hand
    assert not is_counting(tmp_path)


def test_every_byte_of_every_file_is_verified_and_the_file_is_named(tmp_path):
    folder = publish_counts(tmp_path, some_counts(seed=1))
    paths = [path for path in folder.iterdir() if path.stat().st_size]
    assert len(paths) > 12
    for path in paths:
        data = path.read_bytes()
        path.write_bytes(bytes([*data[:-1], data[-1] ^ 1]))
        with pytest.raises(BrokenTableError, match=rf"{path.name}.*publish"):
            open_counts(tmp_path)
        path.write_bytes(data)
    assert open_counts(tmp_path).version == folder.name


def test_a_header_of_a_width_that_no_table_has_is_refused(tmp_path):
    """A reshape would take -1 for "whatever fits", and the first look-up fail."""
    folder = publish_counts(tmp_path, some_counts(1))
    header = (folder / "header.json").read_bytes().replace(b'"features":2', b'"features":-1')
    (folder / "header.json").write_bytes(header)
    folder = folder.rename(tmp_path / f"000001-{xxh3_64_hexdigest(header)}")
    make_current(tmp_path, folder.name)
    with pytest.raises(BrokenTableError, match=r"header\.json is not what is wanted there.*\(Expected `int` >= 0"):
        open_counts(tmp_path)


@pytest.mark.parametrize("name", ["header.json", "features.f16", "followers.starts.i64"])
def test_a_file_that_is_missing_is_one_sentence(tmp_path, name):
    (publish_counts(tmp_path, some_counts(seed=1)) / name).unlink()
    with pytest.raises(BrokenTableError, match=rf"{name}.*publish"):
        open_counts(tmp_path)


PUBLISH_AND_DIE = """
from rankstream.features.item_counts.files import publish_counts
from tests.builders.item_counts import some_counts

counts = some_counts(seed=2)
arm()
publish_counts(root, counts)
"""


@pytest.mark.parametrize(
    ("step", "calls", "stands"), [("write_synced", 0, 1), ("write_synced", 9, 1), ("rename", 0, 1), ("_prune", 0, 2)]
)
def test_a_publisher_killed_at_any_step_leaves_a_whole_version(tmp_path, step, calls, stands):
    publish_counts(tmp_path, some_counts(seed=1))
    assert killed_at(step, calls, tmp_path, PUBLISH_AND_DIE) == 9
    assert the_same(open_counts(tmp_path), some_counts(seed=stands))
    publish_counts(tmp_path, some_counts(seed=3))
    assert the_same(open_counts(tmp_path), some_counts(seed=3))
    assert sorted(path.name for path in tmp_path.glob(".*")) == [".lock"]
