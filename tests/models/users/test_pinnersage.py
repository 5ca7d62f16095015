"""Interests of users: Ward's clusters, by a plain twin, their medoids and importances."""

from math import exp

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster, linkage

from rankstream.features.actions import ActionColumns
from rankstream.features.embeddings.memory import ItemTable
from rankstream.features.ids import id_keys
from rankstream.features.interests.table import open_interests
from rankstream.models.users.pinnersage import (
    PinnerSageConfig,
    find_interests,
    interests_of,
    medoids_of,
    ward_labels,
)

DAY_MS = 86_400_000
NOW = 1_700_000_000_000
CONFIG = PinnerSageConfig(max_merge_distance=0.5, decay_per_day=0.01)


def at_angles(*degrees: float) -> np.ndarray:
    """Unit vectors in a plane: two that are d degrees apart are 2 sin(d / 2) away from each other."""
    radians = np.deg2rad(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


ITEMS = ItemTable(np.array(["a", "b", "c", "x", "y"], object), at_angles(0, 4, 10, 90, 96))


def liked(*actions: tuple[str, float]) -> ActionColumns:
    """Actions on items, so many days old, newest first."""
    items, ages = zip(*actions, strict=True)
    times_ms = NOW - (np.array(ages) * DAY_MS).astype(np.int64)
    codes = np.ones(len(actions), np.int64)
    return ActionColumns(id_keys(items), codes, times_ms, codes, codes.astype(np.float32))


def all_of(actions: ActionColumns) -> np.ndarray:
    return np.ones(len(actions), np.bool_)


def plain_ward(vectors: np.ndarray, max_distance: float) -> list[int]:
    """The paper's algorithm by its own formula, on squared distances: merge the nearest two, and update the others."""
    members = {n: [n] for n in range(len(vectors))}
    apart = {
        frozenset((n, m)): float(((vectors[n].astype(np.float64) - vectors[m]) ** 2).sum())
        for n in members for m in members if n < m
    }  # fmt: skip
    while apart:
        pair = min(apart, key=lambda two: apart[two])
        if apart[pair] > max_distance**2:
            break
        i, j = sorted(pair)
        ni, nj, between = len(members[i]), len(members[j]), apart.pop(pair)
        for k in members.keys() - pair:
            nk, ik, jk = len(members[k]), apart[frozenset((i, k))], apart.pop(frozenset((j, k)))
            apart[frozenset((i, k))] = ((ni + nk) * ik + (nj + nk) * jk - nk * between) / (ni + nj + nk)
        members[i] += members.pop(j)
    clusters = sorted(sorted(cluster) for cluster in members.values())
    return [number for n in range(len(vectors)) for number, cluster in enumerate(clusters) if n in cluster]


def test_the_example_of_the_module():
    found = interests_of(liked(("a", 0), ("x", 0), ("b", 1), ("c", 2), ("y", 50)), ITEMS, NOW, CONFIG)
    assert found.medoids.tolist() == id_keys(["b", "x"]).tolist()  # b is between a and c; of x and y the newer
    assert found.actions.tolist() == [3, 2]
    assert found.importances.tolist() == pytest.approx([1 + exp(-0.01) + exp(-0.02), 1 + exp(-0.5)], rel=1e-6)


@given(st.integers(2, 30), st.integers(1, 5), st.floats(0.2, 3), st.integers(0, 10_000))
def test_clusters_are_those_of_the_plain_twin(count, dim, max_distance, seed):
    vectors = np.random.default_rng(seed).standard_normal((count, dim))
    assert ward_labels(vectors, max_distance).tolist() == plain_ward(vectors, max_distance)


@pytest.mark.parametrize("max_distance", [0.0, 1.2, 1.6, 9.0])
def test_clusters_are_those_of_scipy_also_where_items_are_repeated(max_distance):
    rng = np.random.default_rng(0)
    items = rng.standard_normal((60, 64)).astype(np.float32)
    items /= np.linalg.norm(items, axis=1, keepdims=True)
    vectors = items[rng.integers(0, 60, 120)]
    labels = ward_labels(vectors, max_distance)
    scipys = fcluster(linkage(vectors.astype(np.float64), "ward"), max_distance, "distance")
    assert len(set(labels.tolist())) == len(set(scipys.tolist())) == len(set(zip(labels.tolist(), scipys, strict=True)))


def test_a_medoid_has_the_least_sum_of_squared_distances():
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((60, 4))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    labels = ward_labels(vectors, 1.0)
    for label, medoid in enumerate(medoids_of(vectors, labels)):
        members = np.flatnonzero(labels == label)
        sums = ((vectors[members, None] - vectors[None, members]) ** 2).sum(axis=(1, 2))
        assert medoid == members[sums.argmin()]


def test_what_counts_more_is_newer_or_more():
    one_new_three_old = liked(("x", 0), ("a", 100), ("a", 100), ("a", 100))
    assert interests_of(one_new_three_old, ITEMS, NOW, CONFIG).medoids[0] == id_keys(["a"])[0]
    slow, fast = (PinnerSageConfig(0.5, decay_per_day=decay) for decay in (0.0, 0.1))
    assert interests_of(one_new_three_old, ITEMS, NOW, slow).importances.tolist() == [3, 1]
    assert interests_of(one_new_three_old, ITEMS, NOW, fast).medoids[0] == id_keys(["x"])[0]


def test_only_so_many_of_the_newest_actions_are_looked_at():
    actions = liked(*[("a", age / 1000) for age in range(250)], *[("x", 1 + age / 1000) for age in range(300)])
    found = interests_of(actions, ITEMS, NOW, CONFIG)
    assert (found.medoids.tolist(), found.actions.tolist()) == (id_keys(["a"]).tolist(), [250])


@pytest.mark.parametrize("actions", [liked(("unknown", 0)), liked(("a", -1)), liked(("a", 0))[:0]])
def test_no_item_that_is_known_by_then_is_no_interest(actions):
    assert len(interests_of(actions, ITEMS, NOW, CONFIG)) == 0


def test_a_job_publishes_those_who_have_any_and_reads_nothing_later(tmp_path):
    histories = [("u1", liked(("x", -1), ("a", 1))), (7, liked(("x", 2))), ("u3", liked(("unknown", 2)))]
    given = {"item_space": "items", "as_of_ms": NOW, "config": CONFIG}
    done = find_interests(ITEMS, histories, all_of, tmp_path, **given)
    assert (done.users, done.interests, done.unknown) == (2, 2, 1)
    table = open_interests(tmp_path)
    assert (table.version, table.as_of_ms, table.space) == (done.folder.name, NOW, "items")
    assert table.of(int(id_keys(["u1"])[0])).medoids.tolist() == id_keys(["a"]).tolist()
    assert table.of(7).medoids.tolist() == id_keys(["x"]).tolist()
    again = find_interests(ITEMS, histories, all_of, tmp_path, **given)
    assert again.folder.name.partition("-")[2] == done.folder.name.partition("-")[2]  # the same bytes


def test_only_what_was_liked_shows_an_interest(tmp_path):
    find_interests(
        ITEMS, [("u1", liked(("x", 0), ("a", 1)))], lambda actions: actions.times_ms < NOW, tmp_path,
        item_space="items", as_of_ms=NOW, config=CONFIG,
    )  # fmt: skip
    assert open_interests(tmp_path).of(int(id_keys(["u1"])[0])).medoids.tolist() == id_keys(["a"]).tolist()


@pytest.mark.parametrize("wrong", [{"max_merge_distance": -1}, {"decay_per_day": float("nan")}, {"max_actions": 0}])
def test_numbers_that_find_nothing_are_refused(wrong):
    with pytest.raises(ValueError, match="wanted"):
        PinnerSageConfig(**wrong)
