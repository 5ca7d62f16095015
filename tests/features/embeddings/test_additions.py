"""A table that grows: the base to the bit in every version, and beside it what came later."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankstream.features.described import DescribedItems
from rankstream.features.embeddings.additions import publish_additions
from rankstream.features.embeddings.table import EmbeddingTable, publish, table_of
from rankstream.features.ids import id_keys
from tests.builders.bundle import vectors_of

BASE_VECTORS = vectors_of(3, 4, 0)
BASE = table_of([1, 2, "pear"], BASE_VECTORS, space="items", as_of_ms=1)


def add(root, ids, seed=1, **options):
    return publish_additions(root, BASE, ids, vectors_of(len(ids), 4, seed), as_of_ms=2, **options)


def rows_of(root):
    table = EmbeddingTable.open(root)
    return dict(zip(table.ids(np.arange(len(table))), map(tuple, table.vectors.tolist()), strict=True))


def rows(ids, vectors):
    return dict(zip(ids, map(tuple, vectors.tolist()), strict=True))


def test_new_items_stand_beside_the_base_which_keeps_its_vectors(tmp_path):
    done = add(tmp_path, ["fig", 7, 2])
    assert (done.items, done.added, done.kept, done.in_base) == (5, 2, 0, 1)
    added = rows(["fig", 7], vectors_of(3, 4, 1)[:2])
    assert rows_of(tmp_path) == rows([1, 2, "pear"], BASE_VECTORS) | added
    table = EmbeddingTable.open(tmp_path)
    assert (table.space, table.as_of_ms, table.version) == ("items", 2, done.folder.name)


def test_what_was_published_before_stays_unless_it_is_given_again(tmp_path):
    add(tmp_path, ["fig", 7])
    done = add(tmp_path, [7, 8], seed=2)
    assert (done.added, done.kept) == (3, 1)
    found = rows_of(tmp_path)
    assert found["fig"] == tuple(vectors_of(2, 4, 1)[0].tolist())
    assert [found[7], found[8]] == [tuple(row) for row in vectors_of(2, 4, 2).tolist()]


def test_the_same_again_is_no_new_version(tmp_path):
    first = add(tmp_path, ["fig"])
    again = add(tmp_path, ["fig"])
    assert again.folder is None
    assert EmbeddingTable.open(tmp_path).version == first.folder.name


def test_without_anything_new_there_is_no_table(tmp_path):
    assert add(tmp_path, [2]).folder is None
    assert not (tmp_path / "CURRENT").exists()


def test_a_table_of_another_space_is_replaced_whole(tmp_path):
    publish(tmp_path, ["old"], vectors_of(1, 4, 9), space="another model", as_of_ms=0)
    assert add(tmp_path, ["fig"]).kept == 0
    assert set(rows_of(tmp_path)) == {1, 2, "pear", "fig"}


def test_readers_see_a_version_only_once_it_is_prepared(tmp_path):
    add(tmp_path, ["fig"])
    seen = []
    done = add(tmp_path, ["date"], prepare=lambda folder: seen.append((folder, EmbeddingTable.open(tmp_path).version)))
    ((folder, served),) = seen
    assert folder == done.folder
    assert served[:6] == "000001"


def test_another_width_is_refused(tmp_path):
    with pytest.raises(ValueError, match="vectors of 3 given, but the items' are of 4"):
        publish_additions(tmp_path, BASE, ["fig"], vectors_of(1, 3, 0), as_of_ms=2)


ADDED = st.lists(st.sets(st.integers(0, 12), max_size=6), min_size=1, max_size=4)


@settings(max_examples=25, deadline=None)
@given(ADDED)
def test_the_base_is_in_every_version_to_the_bit_and_no_item_is_lost(tmp_path_factory, given_sets):
    root, ever = tmp_path_factory.mktemp("law"), set()
    for seed, ids in enumerate(given_sets):
        add(root, sorted(ids), seed=seed)
        ever |= ids
        if not ever - {1, 2}:
            continue
        table = EmbeddingTable.open(root)
        vectors, found = table.look_up(BASE.keys)
        assert found.all()
        assert vectors.tobytes() == BASE.look_up(BASE.keys)[0].tobytes()
        assert set(table.keys.tolist()) == set(BASE.keys.tolist()) | set(id_keys(sorted(ever)).tolist())


def described_in(root):
    return DescribedItems.in_table(EmbeddingTable.open(root)).keys.tolist()


def described(*ids):
    return DescribedItems.of(id_keys(ids))


def test_which_items_are_known_by_what_they_are_is_kept_until_they_are_given_otherwise(tmp_path):
    done = add(tmp_path, ["fig", 7, 8], described=described("fig", 7))
    assert done.described == 2
    assert described_in(tmp_path) == sorted(id_keys(["fig", 7]).tolist())
    add(tmp_path, [7], seed=2)  # users acted on it, or a team gave a vector of its own
    assert described_in(tmp_path) == id_keys(["fig"]).tolist()


def test_items_that_a_newer_catalogue_does_not_describe_are_not_kept(tmp_path):
    add(tmp_path, ["fig", 7, 8], described=described("fig", 7))
    add(tmp_path, ["fig"], described=described("fig"))
    assert set(rows_of(tmp_path)) == {1, 2, "pear", "fig", 8}
    assert described_in(tmp_path) == id_keys(["fig"]).tolist()


def test_the_same_vectors_of_items_that_are_described_no_more_are_a_new_version(tmp_path):
    first = add(tmp_path, ["fig"], described=described("fig"))
    assert add(tmp_path, ["fig"], described=described("fig")).folder is None
    assert add(tmp_path, ["fig"]).folder not in (None, first.folder)
    assert described_in(tmp_path) == []
