import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankstream.features.embeddings import table as embeddings
from rankstream.features.embeddings.files import BrokenTableError
from rankstream.features.embeddings.live import LiveTable
from rankstream.features.embeddings.table import EmbeddingTable, publish, publish_merged
from rankstream.features.ids import id_key, id_keys
from tests.builders.killed import killed_at
from tests.builders.threads import wait_for_threads

IDS = st.one_of(st.integers(0, 2**63 - 1), st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20))


def vectors_for(ids, dim=4, seed=0):
    return np.random.default_rng(seed).standard_normal((len(ids), dim)).astype(np.float16).astype(np.float32)


def a_table(root, ids=(3, "apple", 1), *, vectors=None, space="items"):
    publish(root, ids, vectors_for(ids) if vectors is None else vectors, space=space, as_of_ms=5)
    return root


def an_open_table(root, **made_of):
    return EmbeddingTable.open(a_table(root, **made_of))


@settings(max_examples=50)
@given(ids=st.lists(IDS, unique_by=id_key, max_size=30), unknown=st.lists(IDS, max_size=5))
def test_what_is_published_is_looked_up_again(tmp_path_factory, ids, unknown):
    vectors = vectors_for(ids)
    table = an_open_table(tmp_path_factory.mktemp("table"), ids=ids, vectors=vectors)
    looked_up, found = table.look_up(id_keys(ids))
    assert np.array_equal(looked_up, vectors)
    assert found.all()
    assert table.ids(table.rows(id_keys(ids))[0]) == ids
    others = [other for other in unknown if id_key(other) not in set(map(id_key, ids))]
    looked_up, found = table.look_up(id_keys(others))
    assert not found.any()
    assert not looked_up.any()


def test_a_table_has_its_space_and_as_of_time(tmp_path):
    table = an_open_table(tmp_path)
    table.verify()
    table.prefault()
    assert (table.space, table.as_of_ms, table.dim, len(table)) == ("items", 5, 4, 3)
    assert (np.diff(table.keys.astype(object)) > 0).all()


def test_an_id_and_its_text_are_one_and_given_twice_refused(tmp_path):
    with pytest.raises(ValueError, match=r"7 and '7' name the same thing"):
        a_table(tmp_path, ids=[7, "7"])
    assert not (tmp_path / "CURRENT").exists()


def test_a_collision_is_refused_and_names_both_ids(tmp_path, monkeypatch):
    monkeypatch.setattr(embeddings, "id_keys", lambda ids: np.full(len(ids), 1 << 63, np.uint64))
    with pytest.raises(ValueError, match="'apple' and 'pear' have the same 64-bit key"):
        a_table(tmp_path, ids=["apple", "pear"])


def test_a_collision_with_a_published_id_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(embeddings, "id_keys", lambda ids: np.full(len(ids), 1 << 63, np.uint64))
    a_table(tmp_path, ids=["apple"])
    with pytest.raises(ValueError, match="'apple' and 'pear' have the same 64-bit key"):
        publish_merged(tmp_path, ["pear"], vectors_for([0]), as_of_ms=6)


@pytest.mark.parametrize("number", [np.nan, np.inf, 70_000.0])
def test_numbers_that_float16_cannot_hold_are_refused(tmp_path, number):
    vectors = vectors_for([1, 2])
    vectors[1, 2] = number
    with pytest.raises(ValueError, match="vector of 2 holds"):
        a_table(tmp_path, ids=[1, 2], vectors=vectors)


@pytest.mark.parametrize("identifier", ["", -1, 2**63])
def test_what_is_no_id_is_refused(tmp_path, identifier):
    if identifier != "":
        assert id_key(identifier) >= 1 << 63
    with pytest.raises(ValueError, match="is no id"):
        a_table(tmp_path, ids=[identifier])


def test_a_merge_replaces_adds_and_keeps(tmp_path):
    a_table(tmp_path, ids=[1, "apple", 3], vectors=np.full((3, 4), 1.0))
    publish_merged(tmp_path, ["apple", 9, "pear"], np.full((3, 4), 2.0), as_of_ms=6)
    table = EmbeddingTable.open(tmp_path)
    vectors, found = table.look_up(id_keys([1, "apple", 3, 9, "pear"]))
    assert found.all()
    assert vectors[:, 0].tolist() == [1, 2, 1, 2, 2]
    assert table.ids(table.rows(id_keys(["apple", "pear", 3]))[0]) == ["apple", "pear", 3]
    assert (table.space, table.as_of_ms) == ("items", 6)


def test_two_versions_are_kept_and_readers_of_older_ones_go_on(tmp_path):
    first = an_open_table(tmp_path, ids=[1], vectors=np.ones((1, 4)))
    for number in (2, 3, 4):
        publish(tmp_path, [1], np.full((1, 4), number), space="items", as_of_ms=number)
    assert sorted(path.name[:6] for path in tmp_path.iterdir() if path.is_dir()) == ["000003", "000004"]
    assert first.look_up(id_keys([1]))[0][0, 0] == 1


@pytest.mark.parametrize("name", ["header.json", "keys.u64", "vectors.f16", "texts.utf8", "texts.u64"])
def test_a_flipped_byte_is_found(tmp_path, name):
    path = next(a_table(tmp_path).glob(f"0*/{name}"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(BrokenTableError, match=f"{name}.*publish"):
        EmbeddingTable.open(tmp_path).verify()


@pytest.mark.parametrize("name", ["header.json", "keys.u64", "vectors.f16", "texts.utf8", "texts.u64"])
def test_a_missing_or_short_file_is_found_when_it_is_opened(tmp_path, name):
    path = next(a_table(tmp_path).glob(f"0*/{name}"))
    path.write_bytes(path.read_bytes()[:-1]) if name != "texts.utf8" else path.unlink()
    with pytest.raises(BrokenTableError, match=r"publish"):
        EmbeddingTable.open(tmp_path)


def test_a_folder_without_a_table_is_refused(tmp_path):
    with pytest.raises(BrokenTableError, match="there is no table; publish one there"):
        EmbeddingTable.open(tmp_path)


PUBLISH_AND_DIE = """
import numpy as np
from rankstream.features.embeddings.table import publish

arm()
publish(root, [1], np.full((1, 4), 2.0), space="items", as_of_ms=2)
"""


STEPS = (  # in the order that a publisher takes them; which call of the step dies; the version that stands then
    ("write_synced", 0, 1), ("write_synced", 1, 1), ("write_synced", 2, 1), ("sync", 0, 1), ("rename", 0, 1),
    ("sync", 1, 1), ("write_bytes", 0, 1), ("sync", 2, 1), ("replace", 0, 1), ("sync", 3, 2), ("_prune", 0, 2),
)  # fmt: skip


@pytest.mark.parametrize(("step", "calls", "stands"), STEPS)
def test_a_publisher_killed_at_any_step_leaves_a_whole_version(tmp_path, step, calls, stands):
    a_table(tmp_path, ids=[1], vectors=np.ones((1, 4)))
    assert killed_at(step, calls, tmp_path, PUBLISH_AND_DIE) == 9
    table = EmbeddingTable.open(tmp_path)
    table.verify()
    assert table.look_up(id_keys([1]))[0][0, 0] == stands
    publish(tmp_path, [1], np.full((1, 4), 3.0), space="items", as_of_ms=3)
    assert EmbeddingTable.open(tmp_path).look_up(id_keys([1]))[0][0, 0] == 3
    assert sorted(path.name for path in tmp_path.glob(".*")) == [".lock"]


def test_readers_see_whole_versions_while_others_publish(tmp_path):
    a_table(tmp_path, ids=[1, 2], vectors=np.zeros((2, 4)))
    done = threading.Event()

    def read():
        seen = []
        while not done.is_set():
            seen.append(EmbeddingTable.open(tmp_path).look_up(id_keys([1, 2]))[0])
        return seen

    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(read) for _ in range(3)]
        for number in range(1, 30):
            publish(tmp_path, [1, 2], np.full((2, 4), number), space="items", as_of_ms=number)
        done.set()
        seen = [vectors for reader in readers for vectors in reader.result()]
    assert len({float(vectors[0, 0]) for vectors in seen}) > 1
    assert all((vectors == vectors[0, 0]).all() for vectors in seen)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def value(table, identifier=1):
    vectors, found = table.look_up(id_keys([identifier]))
    return float(vectors[0, 0]) if found[0] else None


def test_a_live_table_follows_what_is_published(tmp_path):
    table = LiveTable(tmp_path, space="items", dim=4)
    assert (value(table), table.version) == (None, None)
    a_table(tmp_path, ids=[1], vectors=np.ones((1, 4)))
    table.refresh()
    assert value(table) == 1
    publish(tmp_path, [1], np.full((1, 4), 2.0), space="items", as_of_ms=2)
    table.refresh()
    assert value(table) == 2


def test_a_live_table_notices_by_itself_but_not_at_each_look_up(tmp_path):
    clock = Clock()
    table = LiveTable(a_table(tmp_path, ids=[1], vectors=np.ones((1, 4))), space="items", dim=4, clock=clock)
    publish(tmp_path, [1], np.full((1, 4), 2.0), space="items", as_of_ms=2)
    assert value(table) == 1
    clock.now = 1.5
    value(table)
    wait_for_threads("rankstream-table")
    assert value(table) == 2


def test_a_broken_version_is_refused_once_and_the_old_one_goes_on(tmp_path, caplog):
    table = LiveTable(a_table(tmp_path, ids=[1], vectors=np.ones((1, 4))), space="items", dim=4)
    broken = publish(tmp_path, [1], np.full((1, 4), 2.0), space="items", as_of_ms=2)
    (broken / "vectors.f16").write_bytes(b"12345678")
    table.refresh()
    table.refresh()
    assert value(table) == 1
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "vectors.f16 of version 000002" in caplog.text


def test_a_pointer_to_nowhere_is_refused_once_and_the_old_version_goes_on(tmp_path, caplog):
    table = LiveTable(a_table(tmp_path, ids=[1], vectors=np.ones((1, 4))), space="items", dim=4)
    for nonsense in (b"", b"\xff\xfe", b"000099-0000000000000000\n"):
        (tmp_path / "CURRENT").write_bytes(nonsense)
        table.refresh()
        table.refresh()
    assert value(table) == 1
    assert [record.levelname for record in caplog.records] == ["ERROR"] * 3


def test_vectors_of_another_space_are_refused(tmp_path, caplog):
    table = LiveTable(a_table(tmp_path, ids=[1], space="of another model"), space="items", dim=4)
    assert value(table) is None
    assert "'of another model' and 4 wide, the model wants 'items' and 4" in caplog.text
