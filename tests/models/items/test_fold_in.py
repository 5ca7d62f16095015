"""Vectors of items that are newer than the encoders."""

import numpy as np

from rankstream.features.embeddings.memory import ItemTable
from rankstream.models.items.fold_in import REACH, folded_in
from tests.builders.models import a_log

OLD = ItemTable(np.array(["a", "b", "c"], object), np.eye(3, 2, dtype=np.float32) * 2)  # a (2, 0), b (0, 2), c (0, 0)


def folded(*items):
    table = folded_in(OLD, a_log([("u", item, "view", at) for at, item in enumerate(items)]))
    return dict(zip(table.ids.tolist(), table.vectors.tolist(), strict=True))


def test_a_new_item_stands_between_its_neighbours_as_long_as_vectors_are():
    vectors = folded("a", "new", "b")
    np.testing.assert_allclose(vectors["new"], [2**0.5, 2**0.5], rtol=1e-6)
    assert [vectors["a"], vectors["b"], vectors["c"]] == OLD.vectors.tolist()


def test_a_new_item_far_from_known_ones_is_nowhere():
    assert folded("a", *(f"new{at}" for at in range(REACH + 1)))[f"new{REACH}"] == [0, 0]


def test_a_log_without_new_items_leaves_the_table_as_it_is():
    assert folded_in(OLD, a_log([("u", "b", "view", 0), ("u", "a", "view", 1)])) is OLD
