"""Published graphs: whole versions or none, verified to the byte, and no walk can leave one."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest
import xxhash

from rankstream.features.embeddings.files import BrokenTableError
from rankstream.features.ids import id_keys
from rankstream.graph.item_graph import ItemGraph, Weighting, publish_graph
from rankstream.graph.walks import WalkConfig, walk
from tests.builders.bundle import AS_OF_MS
from tests.builders.graph import a_graph, publish_boards

PAIRS = [("b1", "tea"), ("b1", "milk"), ("b2", 7), ("b2", "tea"), ("b3", "milk"), ("b3", 7)]


def test_what_is_published_is_opened_again_and_walks_find_the_same(tmp_path):
    version = publish_boards(tmp_path, PAIRS)
    opened, made = ItemGraph.open(tmp_path), a_graph(PAIRS)
    assert (opened.version, opened.as_of_ms, len(opened)) == (version, AS_OF_MS, 3)
    query, _ = opened.rows(id_keys(["tea"]))
    found = [walk(one.graph, query, np.ones(1), np.random.default_rng(1), WalkConfig()) for one in (opened, made)]
    assert found[0].counts.tolist() == found[1].counts.tolist()
    assert opened.rows(id_keys(["nowhere", 7]))[1].tolist() == [False, True]


def test_a_graph_without_weights_is_published_as_ever_to_the_byte(tmp_path):
    assert publish_boards(tmp_path, PAIRS) == "000001-e64bd413d131d56c"  # the hash of the header, which has checksums


def test_weights_are_opened_again_and_walks_find_the_same(tmp_path):
    made = a_graph(PAIRS, weights=[1, 9, 1, 2, 3, 4])
    folder = publish_graph(tmp_path, replace(made, weighting=Weighting({"save:list": 9.0}, 60_000)))
    opened = ItemGraph.open(tmp_path)
    assert (len(list(folder.iterdir())), opened.weighting) == (10, Weighting({"save:list": 9.0}, 60_000))
    query, _ = opened.rows(id_keys(["tea"]))
    steps = [walk(one.graph, query, np.ones(1), np.random.default_rng(1), WalkConfig()) for one in (opened, made)]
    assert steps[0].counts.tolist() == steps[1].counts.tolist()
    (folder / "board_others.i32").write_bytes(b"\xff" * 24)
    with pytest.raises(BrokenTableError, match=r"board_others.i32.*build"):
        ItemGraph.open(tmp_path)


def test_as_many_versions_are_kept_as_are_wanted(tmp_path):
    names = [publish_boards(tmp_path, PAIRS, as_of_ms=AS_OF_MS + at, keep=2) for at in range(4)]
    assert sorted(path.name for path in tmp_path.glob("0*")) == names[2:]


def test_every_byte_of_every_file_is_verified_and_the_file_is_named(tmp_path):
    folder = tmp_path / publish_boards(tmp_path, PAIRS)
    paths = list(folder.iterdir())
    assert len(paths) == 6
    for path in paths:
        data = path.read_bytes()
        path.write_bytes(bytes([*data[:-1], data[-1] ^ 1]))
        with pytest.raises(BrokenTableError, match=rf"{path.name}.*(publish|build)"):
            ItemGraph.open(tmp_path)
        path.write_bytes(data)
    assert ItemGraph.open(tmp_path).version == folder.name


@pytest.mark.parametrize("name", ["header.json", "keys.u64", "items.i32"])
def test_a_file_that_is_missing_or_cut_is_one_sentence(tmp_path, name):
    path = tmp_path / publish_boards(tmp_path, PAIRS) / name
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(BrokenTableError, match=r"publish|build"):
        ItemGraph.open(tmp_path)
    path.unlink()
    with pytest.raises(BrokenTableError, match=rf"{name}.*(publish|build)"):
        ItemGraph.open(tmp_path)


@pytest.mark.parametrize("changed", [{"items": 4}, {"boards": 2}, {"format": 2}])
def test_a_header_that_the_columns_do_not_fit_is_refused_though_its_hash_holds(tmp_path, changed):
    folder = tmp_path / publish_boards(tmp_path, PAIRS)
    data = msgspec.json.encode(msgspec.json.decode((folder / "header.json").read_bytes()) | changed)
    (folder / "header.json").write_bytes(data)
    forged = folder.rename(tmp_path / f"000002-{xxhash.xxh3_64_hexdigest(data)}")
    with pytest.raises(BrokenTableError, match="rankstream graph build"):
        ItemGraph.open_version(forged)
