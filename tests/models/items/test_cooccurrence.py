import numpy as np
import pytest
import torch

from rankstream.models.items.cooccurrence import ItemVectorConfig, ppmi, train_item_vectors
from rankstream.models.items.item_features import item_features
from tests.builders.models import a_log, a_markov_log


def two_groups():
    """Half the users act on items 0..9, the others on 10..19."""
    rng = np.random.default_rng(0)
    return a_log(
        [(user, int(rng.integers(10)) + 10 * (user % 2), "save", step) for user in range(40) for step in range(20)]
    )


def test_items_of_one_group_are_near_and_of_the_other_far():
    item_table = train_item_vectors(two_groups(), ItemVectorConfig(dim=8))
    nearness = item_table.vectors @ item_table.vectors.T
    assert nearness[:10, :10].mean() > nearness[:10, 10:].mean() + 0.1
    assert np.allclose(np.linalg.norm(item_table.vectors, axis=1), 1, atol=1e-5)


def test_vectors_are_the_same_each_time_and_unseen_items_have_none():
    log = two_groups()
    once, again = (train_item_vectors(log, ItemVectorConfig(dim=8)) for _ in range(2))
    assert np.array_equal(once.vectors, again.vectors)
    vectors, found = once.look_up(np.array([3, 99], np.uint64))
    assert found.tolist() == [True, False]
    assert not vectors[1].any()


def test_an_item_beside_itself_counts_from_both_sides():
    pairs = [(np.array([0, 1, 0, 2]), np.array([1, 0, 0, 2]))]
    found, transposed = ppmi(lambda: pairs, 3, ItemVectorConfig(smoothing=1.0))
    # beside 0: twice 1 and twice itself; beside 1: twice 0; beside 2: twice itself; of 8 in all
    wanted = np.log([[2 * 8 / (4 * 4), 2 * 8 / (4 * 2), 1], [2 * 8 / (2 * 4), 1, 1], [1, 1, 2 * 8 / (2 * 2)]])
    np.testing.assert_allclose(found.to_dense().numpy(), wanted, atol=1e-6)
    np.testing.assert_allclose(transposed.to_dense().numpy(), wanted.T, atol=1e-6)


@pytest.mark.parametrize("at_once", [1, 40, 1_000])
def test_the_matrix_of_smoothed_contexts_has_its_transpose_in_whatever_blocks(at_once: int) -> None:
    rng = np.random.default_rng(0)
    left, right = rng.integers(0, 9, 60), rng.integers(0, 9, 60)
    found, transposed = ppmi(lambda: [(left, right)], 9, ItemVectorConfig(), at_once)
    assert not torch.allclose(found.to_dense(), transposed.to_dense())
    assert torch.equal(found.to_dense().T, transposed.to_dense())
    counts = np.zeros((9, 9))
    for one, other in zip(left, right, strict=True):
        counts[one, other] += 1
        counts[other, one] += 1
    contexts = counts.sum(axis=0) ** 0.75
    with np.errstate(divide="ignore"):
        wanted = np.maximum(0, np.log(counts / np.outer(counts.sum(axis=1), contexts / contexts.sum())))
    np.testing.assert_allclose(found.to_dense().numpy(), wanted, atol=1e-6)


def test_the_columns_of_a_row_stand_as_they_did_when_bundles_were_first_trained():
    """The order of a sum is in its last bits: vectors of the same log stay the same."""
    found, transposed = ppmi(lambda: [(np.array([0, 1, 1]), np.array([1, 2, 1]))], 3, ItemVectorConfig(smoothing=1.0))
    assert found.crow_indices().tolist() == transposed.crow_indices().tolist() == [0, 1, 3, 4]
    assert found.col_indices().tolist()[1:3] == [2, 0]  # from the item itself on, then what is before it
    assert transposed.col_indices().tolist()[1:3] == [0, 2]  # up to the item itself, then what is behind it


def test_a_hide_brings_nothing_near():
    rows = [(user, item, "save", item) for user in range(20) for item in (0, 1)]
    hides = [(user, 2, "hide", 2) for user in range(20)]
    item_table = train_item_vectors(a_log(rows + hides), ItemVectorConfig(dim=4, smoothing=1.0), without=("hide",))
    assert len(item_table) == 3
    assert abs(item_table.vectors[2] @ item_table.vectors[0]) < 0.99


def test_a_world_without_relations_still_returns_unit_vectors():
    item_table = train_item_vectors(a_log([("u", 1, "save", 0), ("v", 2, "save", 1)]), ItemVectorConfig(dim=4))
    assert np.allclose(np.linalg.norm(item_table.vectors, axis=1), 1, atol=1e-5)


def test_item_features_are_shares_against_the_usual():
    rows = [(user, 0, "save", user) for user in range(60)] + [(user, 1, "hide", user) for user in range(20)]
    log = a_log(rows)
    features, names = item_features(log, train_item_vectors(log, ItemVectorConfig(dim=2)))
    assert names == (
        "log_popularity", "log_popularity_1d", "log_popularity_7d", "share_view", "share_save", "share_hide",
    )  # fmt: skip
    assert features[0, :3] == pytest.approx([1.0, 1.0, 1.0])  # all within the last hour
    # item 0: (60 + 20 * 0.75) / 80 saves against 0.75; item 1: (20 + 20 * 0.25) / 40 hides against 0.25
    assert features[0, 3:] == pytest.approx([0.0, 0.1875, -0.1875])
    assert features[1, 5] == pytest.approx(0.375)


def test_recent_popularity_counts_the_last_days_before_the_end():
    day = 60 * 24
    log = a_log([*(("u", 0, "save", n) for n in range(7)), ("u", 1, "save", 3 * day), ("u", 2, "save", 9 * day)])
    features, names = item_features(log, train_item_vectors(log, ItemVectorConfig(dim=2)))
    columns = dict(zip(names, features.T.tolist(), strict=True))
    assert columns["log_popularity"] == pytest.approx([1, 1 / 3, 1 / 3])
    assert columns["log_popularity_7d"] == [0, 1, 1]
    assert columns["log_popularity_1d"] == [0, 0, 1]


def test_neighbours_on_a_ring_are_nearer_than_other_items():
    item_table = train_item_vectors(a_markov_log(80, 24, 24, 0.95), ItemVectorConfig(dim=8, reach=2))
    nearness = item_table.vectors @ item_table.vectors.T
    assert np.mean([nearness[item, (item + 1) % 24] for item in range(24)]) > nearness.mean() + 0.3
