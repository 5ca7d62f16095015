"""Graphs beside their tables: found where they belong, refused where they can't be trusted."""

import logging

import numpy as np
import pytest

from rankstream.features.embeddings.table import EmbeddingTable, publish
from rankstream.retrieval.index import choice
from rankstream.retrieval.index.choice import build_beside, open_index, wants_graph
from rankstream.retrieval.index.exact import ExactIndex
from rankstream.retrieval.index.hnsw import HnswConfig, HnswIndex
from rankstream.retrieval.index.hnsw_files import IndexRefusedError, build_for, read_index, write_index
from tests.builders.bundle import vectors_of
from tests.builders.retrieval import an_item_table

NOTHING = np.empty(0, np.intp)
QUERY = vectors_of(1, 8, 7)


@pytest.fixture(autouse=True)
def few_are_many(monkeypatch):
    monkeypatch.setattr(choice, "EXACT_BELOW", 500)


@pytest.fixture
def table(tmp_path) -> EmbeddingTable:
    return an_item_table(tmp_path, range(900), vectors_of(900, 8, 1))


def test_a_graph_is_read_again_with_its_name_and_its_answers(table, tmp_path):
    built = build_for(table)
    write_index(built, tmp_path)
    found = read_index(table, tmp_path)
    assert (found.name, found.curve) == (built.index.name, built.index.curve)
    assert found.nearest(QUERY[0], 20, 50).tolist() == built.index.nearest(QUERY[0], 20, 50).tolist()
    assert found.name == build_for(table).index.name  # whoever builds it gets the same


def test_another_table_or_another_way_to_build_has_another_name(table, tmp_path):
    other = an_item_table(tmp_path / "other", range(900), vectors_of(900, 8, 2))
    names = {build_for(one, HnswConfig(links=links)).index.name for one in (table, other) for links in (16, 32)}
    assert len(names) == 4


def test_a_table_is_searched_exactly_until_its_graph_lies_beside_it(table, tmp_path):
    before = open_index(table, tmp_path)
    assert isinstance(before, ExactIndex)
    assert wants_graph(table, before)
    built = build_beside(table, tmp_path)
    after = open_index(table, tmp_path)
    assert isinstance(after, HnswIndex)
    assert (before.name, after.name) == (None, built.name)
    assert not wants_graph(table, after)


def test_few_items_are_searched_exactly_whatever_lies_beside(tmp_path):
    few = an_item_table(tmp_path, range(499), vectors_of(499, 8, 1))
    build_beside(few, tmp_path)
    assert isinstance(open_index(few, tmp_path), ExactIndex)
    assert not wants_graph(few, ExactIndex(few.vectors))


def test_a_new_version_has_no_graph_yet_and_those_of_versions_that_are_gone_are_deleted(table, tmp_path):
    build_beside(table, tmp_path)
    newest = table
    for seed in (3, 4):
        publish(tmp_path, range(900), vectors_of(900, 8, seed), space="items", as_of_ms=0)
        newest = EmbeddingTable.open(tmp_path)
        assert read_index(newest, tmp_path) is None
    build_beside(newest, tmp_path)
    assert [path.name for path in (tmp_path / "hnsw").iterdir()] == [newest.version]


@pytest.mark.parametrize("name", ["graph.faiss", "header.json"])
def test_a_damaged_graph_is_refused_in_a_sentence_and_every_item_compared(table, tmp_path, name, caplog):
    folder = write_index(build_for(table), tmp_path)
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(bytes([data[0] ^ 1, *data[1:]]))
    with pytest.raises(IndexRefusedError, match=r"hnsw.*build it again with `rankstream index build`"):
        read_index(table, tmp_path)
    assert isinstance(open_index(table, tmp_path), ExactIndex)
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_the_graph_of_another_version_is_refused(table, tmp_path):
    folder = write_index(build_for(table), tmp_path)
    other = an_item_table(tmp_path, range(900), vectors_of(900, 8, 2))
    folder.rename(folder.with_name(other.version))
    with pytest.raises(IndexRefusedError, match=rf"is of version {table.version}"):
        read_index(other, tmp_path)


def test_without_faiss_every_item_is_compared_and_the_log_says_so_once(table, tmp_path, monkeypatch, caplog):
    build_beside(table, tmp_path)
    monkeypatch.setattr(choice, "can_build", lambda: False)
    choice._say_once.cache_clear()
    assert all(isinstance(open_index(table, tmp_path), ExactIndex) for _ in range(3))
    (warning,) = [record.getMessage() for record in caplog.records]
    assert 'pip install "rankstream[ann]"' in warning


def test_where_nothing_may_be_written_the_graph_is_searched_all_the_same(table, tmp_path, caplog):
    (tmp_path / "hnsw").write_text("in the way")
    built = build_beside(table, tmp_path)
    assert isinstance(built, HnswIndex)
    assert len(built.search(QUERY, 5, NOTHING)) == 5
    assert "can't be kept" in caplog.text
