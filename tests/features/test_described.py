"""What a version of item vectors says of items that nobody had acted on: read as it was published, or refused."""

from dataclasses import replace

import numpy as np
import pytest

from rankstream.features.described import DescribedItems
from rankstream.features.embeddings.files import BrokenTableError
from rankstream.features.embeddings.table import EmbeddingTable, publish
from rankstream.features.ids import id_keys
from rankstream.models.items.attributes import attributes_of_new
from tests.builders.attributes import shop_attributes
from tests.builders.catalogue import a_catalogue, an_item

SCARF = a_catalogue(an_item("scarf", category="Hats", price=40.0, collections=("winter", "sale")))


def published(root, described):
    publish(root, ["scarf"], np.eye(1, 3), space="items", as_of_ms=1, meta=described.meta, beside=described.beside)
    return EmbeddingTable.open(root)


def test_what_new_items_are_is_read_as_it_was_published(tmp_path):
    trained = shop_attributes()
    new = attributes_of_new(SCARF, trained)
    counts = np.array([[0.5, 0.25]], np.float32)
    found = DescribedItems.in_table(published(tmp_path, DescribedItems.of(id_keys(["scarf"]), new, counts)))
    assert found.features.tolist() == counts.tolist()
    assert found.keys.tolist() == id_keys(["scarf"]).tolist()
    known, wanted = found.known_to(trained), trained.with_items(new)
    for name in ("keys", "labels", "numbers", "created_ms"):
        np.testing.assert_array_equal(getattr(known, name), getattr(wanted, name))


def test_a_version_without_says_nothing(tmp_path):
    found, trained = DescribedItems.in_table(published(tmp_path, DescribedItems())), shop_attributes()
    assert len(found.keys) == 0
    assert found.known_to(trained) is trained


def test_labels_of_another_training_are_refused(tmp_path):
    described = DescribedItems.of(id_keys(["scarf"]), attributes_of_new(SCARF, shop_attributes()))
    found = DescribedItems.in_table(published(tmp_path, described))
    other = replace(shop_attributes(), shares=shop_attributes().shares * 2)
    with pytest.raises(BrokenTableError, match="by the labels of another training"):
        found.known_to(other)


@pytest.mark.parametrize("column", ["new-labels.i32", "new-numbers.f32", "new-created.i64", "new-keys.u64"])
def test_a_column_that_is_cut_is_refused(column):
    trained = shop_attributes()
    described = DescribedItems.of(id_keys(["scarf"]), attributes_of_new(SCARF, trained))
    cut = replace(described, columns={**described.columns, column: described.columns[column][:0]})
    with pytest.raises(BrokenTableError, match="can't be read"):
        cut.known_to(trained)


def test_a_label_that_there_is_not_is_refused():
    trained = shop_attributes()
    described = DescribedItems.of(id_keys(["scarf"]), attributes_of_new(SCARF, trained))
    wrong = np.full_like(described.columns["new-labels.i32"], trained.no_label + 1)
    with pytest.raises(BrokenTableError, match="labels must be from 0 to"):
        replace(described, columns={**described.columns, "new-labels.i32": wrong}).known_to(trained)


def test_a_changed_column_is_noticed(tmp_path):
    table = published(tmp_path, DescribedItems.of(id_keys(["scarf"])))
    path = tmp_path / table.version / "described.u64"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(BrokenTableError, match=r"described\.u64"):
        EmbeddingTable.open(tmp_path).verify()


def test_described_items_without_a_vector_are_refused(tmp_path):
    table = published(tmp_path, DescribedItems.of(id_keys(["scarf", "nowhere"])))
    with pytest.raises(BrokenTableError, match="do not fit the vectors"):
        DescribedItems.in_table(table)


def test_counts_of_nobody_are_refused(tmp_path):
    publish(tmp_path, ["a"], np.eye(1, 3), space="items", as_of_ms=1, beside={"described.f32": np.ones(2, np.float32)})
    with pytest.raises(BrokenTableError, match="do not fit the vectors"):
        DescribedItems.in_table(EmbeddingTable.open(tmp_path))
