import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rankstream.features.ids import id_keys
from rankstream.ranking.blend import blend, first_positions


def test_the_best_score_comes_first_and_ties_keep_their_order():
    assert blend(np.array([1.0, 3.0, 1.0, 3.0, 2.0])) == [1, 3, 4, 0, 2]


def test_of_a_group_only_the_best_stay():
    scores = np.array([5.0, 4.0, 3.0, 2.0, 1.0])
    assert blend(scores, groups=["a", "a", "b", "a", "b"], max_per_group=1) == [0, 2]
    assert blend(scores, groups=["a", "a", "b", "a", "b"], max_per_group=2, top_k=3) == [0, 1, 2]


def test_a_repeated_candidate_counts_at_its_first_position():
    assert first_positions(id_keys([9, "x", "9", 4, "x"])).tolist() == [0, 1, 3]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=40), st.integers(1, 4), st.integers(1, 50))
def test_a_feed_is_sorted_and_keeps_the_cap(candidates, cap, top_k):
    scores = np.array([score for score, _ in candidates], np.float64)
    groups = [group for _, group in candidates]
    order = blend(scores, groups, cap, top_k)
    ranked = [(-scores[index], index) for index in order]
    assert ranked == sorted(set(ranked))
    assert len(order) == min(top_k, sum(min(cap, groups.count(group)) for group in set(groups)))
    assert all([groups[index] for index in order].count(group) <= cap for group in set(groups))
