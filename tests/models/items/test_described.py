"""Vectors of items that nobody has acted on, by what they are."""

import numpy as np
import pytest
from scipy import sparse

from rankstream.features.embeddings.memory import ItemTable
from rankstream.models.items.described import described_items, ridge
from tests.builders.catalogue import DAY_MS, NOW_MS, a_catalogue, an_item

SHOES, HATS = [2.0, 0.0, 0.0], [0.0, 2.0, 0.0]
KNOWN = ItemTable(
    np.array([f"shoe {n}" for n in range(20)] + [f"hat {n}" for n in range(20)] + ["lost"], object),
    np.array([SHOES] * 20 + [HATS] * 20 + [[0.0, 0.0, 0.0]], np.float32),
)
COUNTS = np.array([[3.0]] * 20 + [[1.0]] * 20 + [[0.0]], np.float32)  # shoes are taken more often
WARM = [an_item(item, category=f"{item.split()[0]}s", title="a thing") for item in KNOWN.ids]


def described(*new, as_of_ms=NOW_MS):
    """The vectors that new items get beside twenty shoes, which lie here, and twenty hats, which lie there."""
    catalogue = a_catalogue(*WARM, *new)
    placed = KNOWN.rows_of(catalogue.keys) >= 0
    found = described_items(catalogue, KNOWN, COUNTS, placed, as_of_ms)
    return dict(zip(found.ids, found.vectors.tolist(), strict=True))


@pytest.mark.parametrize("category", ["shoes", "shoes>running>trail"])
def test_a_new_item_stands_where_its_category_does_as_long_as_vectors_are(category):
    vectors = described(an_item("new", category=category, created_at_ms=NOW_MS), an_item("cap", category="hats"))
    assert np.linalg.norm(vectors["new"]) == pytest.approx(2)
    assert vectors["new"][0] > 1.9
    assert vectors["cap"][1] > 1.9


def test_the_counts_to_expect_of_a_new_item_are_those_of_items_like_it():
    catalogue = a_catalogue(*WARM, an_item("boot", category="shoes"), an_item("cap", category="hats"))
    found = described_items(catalogue, KNOWN, COUNTS, KNOWN.rows_of(catalogue.keys) >= 0, NOW_MS)
    expected = dict(zip(found.ids, found.features[:, 0].tolist(), strict=True))
    assert expected["boot"] == pytest.approx(3, abs=0.4)
    assert expected["cap"] == pytest.approx(1, abs=0.4)


def test_words_of_title_and_text_place_an_item_too():
    names = [an_item(item, title=f"{'Running' if 'shoe' in item else 'woollen'} {item}") for item in KNOWN.ids]
    catalogue = a_catalogue(*names, an_item("new", text="for RUNNING, far"))
    found = described_items(catalogue, KNOWN, COUNTS, KNOWN.rows_of(catalogue.keys) >= 0, NOW_MS)
    assert found.ids == ["new"]
    assert found.vectors[0, 0] > 1.8


def test_an_item_of_which_nothing_known_is_said_has_no_vector():
    assert described(an_item("bare"), an_item("odd", category="socks", title="unheard-of")) == {}


def test_an_item_that_is_still_to_come_has_none_yet():
    new = an_item("new", category="shoes", created_at_ms=NOW_MS + DAY_MS)
    assert described(new) == {}
    assert described(new, as_of_ms=NOW_MS + DAY_MS).keys() == {"new"}


def test_a_known_item_without_a_vector_teaches_nothing():
    assert "new" not in described(an_item("new", category="losts"))


def test_a_catalogue_of_other_items_gives_nobody_a_vector():
    catalogue = a_catalogue(an_item("x", category="shoes"), an_item("y", category="shoes"))
    found = described_items(catalogue, KNOWN, COUNTS, np.zeros(2, np.bool_), NOW_MS)
    assert (found.ids, found.vectors.shape, found.features.shape) == ([], (0, 3), (0, 1))


def test_the_tower_is_ridge_regression():
    rng = np.random.default_rng(0)
    labels, targets = (rng.random((80, 12)) < 0.3).astype(np.float64), rng.standard_normal((80, 4))
    exact = np.linalg.solve(labels.T @ labels + 3.0 * np.eye(12), labels.T @ targets)
    np.testing.assert_allclose(ridge(sparse.csr_array(labels), targets, 3.0), exact, atol=1e-4)
