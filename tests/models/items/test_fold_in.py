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


def test_a_later_log_may_name_its_items_otherwise():
    """Trained on integers, it is followed by texts: those that are written as known integers are these."""
    trained = ItemTable(np.array([1, 2]), np.eye(2, dtype=np.float32))
    table = folded_in(
        trained, a_log([("u", item, "view", at) for at, item in enumerate(("1", "a much longer id", "2"))])
    )
    assert table.ids.tolist() == ["1", "2", "a much longer id"]
    np.testing.assert_array_equal(table.vectors[:2], trained.vectors)
    np.testing.assert_allclose(table.vectors[2], [0.5**0.5] * 2, rtol=1e-6)
