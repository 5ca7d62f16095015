"""Published interests: whole versions or none, verified to the byte."""

import msgspec
import pytest
import xxhash

from rankstream.features.embeddings.files import BrokenTableError
from rankstream.features.ids import id_key
from rankstream.features.interests.table import open_interests, open_interests_version
from tests.builders.bundle import AS_OF_MS, ITEM_SPACE
from tests.builders.catalogue import an_item, published
from tests.builders.interests import interests, publish_of, publish_some
from tests.builders.killed import killed_at

USERS = ["u1", 7, "ключ", "2"]


def test_what_is_published_is_opened_again(tmp_path):
    found = {"u1": interests(("a", 2.0), (5, 1.0)), 7: interests(), "ключ": interests((9, 0.5))}
    version = publish_of(tmp_path, found)
    table = open_interests(tmp_path)
    assert (table.version, table.space, table.as_of_ms, len(table)) == (version, ITEM_SPACE, AS_OF_MS, 3)
    for user, wanted in found.items():
        opened = table.of(id_key(user))
        assert opened.medoids.tolist() == wanted.medoids.tolist()
        assert opened.importances.tolist() == wanted.importances.tolist()
        assert opened.actions.tolist() == wanted.actions.tolist()
    assert table.of(id_key("nobody")) is None


def test_nobody_is_a_table_too(tmp_path):
    publish_of(tmp_path, {})
    assert open_interests(tmp_path).of(1) is None


def test_a_user_who_comes_twice_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"7 and '7' have the same key"):
        publish_of(tmp_path, {7: interests(), "7": interests()})


def test_as_many_versions_are_kept_as_are_wanted_and_older_ones_can_be_opened(tmp_path):
    names = [publish_of(tmp_path, {"u1": interests(("a", seed))}, keep=3) for seed in range(1, 6)]
    assert sorted(path.name for path in tmp_path.glob("0*")) == names[2:]
    assert open_interests_version(tmp_path / names[2]).of(id_key("u1")).importances.tolist() == [3.0]


def test_every_byte_of_every_file_is_verified_and_the_file_is_named(tmp_path):
    folder = tmp_path / publish_some(tmp_path, USERS, seed=1)
    paths = list(folder.iterdir())
    assert len(paths) == 6
    for path in paths:
        data = path.read_bytes()
        path.write_bytes(bytes([*data[:-1], data[-1] ^ 1]))
        with pytest.raises(BrokenTableError, match=rf"{path.name}.*publish"):
            open_interests(tmp_path)
        path.write_bytes(data)
    assert open_interests(tmp_path).version == folder.name


@pytest.mark.parametrize("name", ["header.json", "users.u64", "importances.f32"])
def test_a_file_that_is_missing_or_cut_is_one_sentence(tmp_path, name):
    path = tmp_path / publish_some(tmp_path, USERS, seed=1) / name
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(BrokenTableError, match=r"publish"):
        open_interests(tmp_path)
    path.unlink()
    with pytest.raises(BrokenTableError, match=rf"{name}.*publish"):
        open_interests(tmp_path)


@pytest.mark.parametrize("changed", [{"users": 3}, {"interests": 15}, {"users": -1}, {"decay_per_day": -1.0}])
def test_a_header_that_the_columns_do_not_fit_is_refused_though_its_hash_holds(tmp_path, changed):
    folder = tmp_path / publish_some(tmp_path, USERS, seed=1)
    data = msgspec.json.encode(msgspec.json.decode((folder / "header.json").read_bytes()) | changed)
    (folder / "header.json").write_bytes(data)
    forged = folder.rename(tmp_path / f"000002-{xxhash.xxh3_64_hexdigest(data)}")
    with pytest.raises(BrokenTableError, match="publish"):
        open_interests_version(forged)


def test_a_table_of_another_kind_and_a_version_that_is_gone_are_told_as_such(tmp_path):
    published(tmp_path / "catalogue", an_item("tea"))
    with pytest.raises(BrokenTableError, match="of another kind of table"):
        open_interests(tmp_path / "catalogue")
    (tmp_path / "CURRENT").write_text("000009-dead")
    with pytest.raises(BrokenTableError, match=r"000009-dead/header\.json is not there; publish"):
        open_interests(tmp_path)


PUBLISH_AND_DIE = """
from tests.builders.interests import publish_some

arm()
publish_some(root, ["u1"], seed=2)
"""


@pytest.mark.parametrize(("step", "stands"), [("write_synced", 1), ("rename", 1), ("_prune", 2)])
def test_a_publisher_killed_at_any_step_leaves_a_whole_version(tmp_path, step, stands):
    publish_some(tmp_path, ["u1"], seed=1)
    wanted = {}
    for seed in (1, 2):
        publish_some(tmp_path / str(seed), ["u1"], seed)
        wanted[seed] = open_interests(tmp_path / str(seed)).of(id_key("u1")).medoids.tolist()
    assert killed_at(step, 0, tmp_path, PUBLISH_AND_DIE) == 9
    assert open_interests(tmp_path).of(id_key("u1")).medoids.tolist() == wanted[stands]
