from math import log2

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankstream.metrics.ranking import (
    capped_recall,
    hit,
    ndcg,
    random_hit,
    random_ndcg,
    rank_of,
    recall,
    reciprocal_rank,
)


def at(*ranks: int) -> np.ndarray:
    """Ranks of the relevant items of one query."""
    return np.array(ranks, np.int64)


def test_the_best_score_has_the_first_rank_and_ties_keep_the_order_of_candidates():
    scores = np.array([0.5, 0.9, 0.5])
    assert [rank_of(candidate, scores) for candidate in range(3)] == [2, 1, 3]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=20))
def test_ranks_are_those_of_a_stable_sort(scores: list[int]):
    order = sorted(range(len(scores)), key=lambda candidate: -scores[candidate])
    assert [rank_of(candidate, np.array(scores, float)) for candidate in order] == list(range(1, len(scores) + 1))


def test_gain_falls_with_the_rank_and_ends_at_k():
    queries = [at(1), at(3), at(10), at(11), at()]
    assert [ndcg(ranks, 10) for ranks in queries] == [1.0, 0.5, pytest.approx(1 / log2(11)), 0.0, 0.0]
    assert [hit(ranks, 10) for ranks in (at(1), at(10), at(11), at())] == [1, 1, 0, 0]


def test_what_a_random_order_is_expected_to_reach_is_what_it_reaches():
    ranks = np.random.default_rng(0).integers(1, 51, 200_000)
    hits, gains = (np.array([metric(at(rank), 10) for rank in range(1, 51)]) for metric in (hit, ndcg))
    assert np.mean(hits[ranks - 1]) == pytest.approx(random_hit(1, 50, 10), rel=0.03)
    assert np.mean(gains[ranks - 1]) == pytest.approx(random_ndcg(1, 50, 10), rel=0.03)


def test_several_relevant_items_are_scored_together():
    ranks = at(2, 5, 30)
    assert [hit(ranks, 1), hit(ranks, 2)] == [0.0, 1.0]
    assert [recall(ranks, 5), recall(ranks, 1), recall(ranks[:1], 10)] == [2 / 3, 0.0, 1.0]
    assert [capped_recall(ranks, 5), capped_recall(ranks, 2), capped_recall(ranks[:1], 10)] == [2 / 3, 1 / 2, 1.0]
    assert reciprocal_rank(ranks) == 0.5
    assert ndcg(at(1, 2, 3), 10) == pytest.approx(1.0)
    assert ndcg(ranks, 10) == pytest.approx((1 / log2(3) + 1 / log2(6)) / (1 + 1 / log2(3) + 1 / 2))


@pytest.mark.parametrize(
    ("ranks", "k", "of_all", "of_as_many_as_fit"),
    [  # trec_eval's recall_k and success_k, and BEIR's recall_cap, by hand
        (at(1, 2, 3, 9), 3, 3 / 4, 3 / 3),
        (at(1, 4, 5, 6), 3, 1 / 4, 1 / 3),
        (at(2), 3, 1.0, 1.0),
        (at(4), 3, 0.0, 0.0),
        (at(), 3, 0.0, 0.0),
        (np.array([1.0, np.inf, np.inf]), 10, 1 / 3, 1 / 3),  # what was not ranked is relevant all the same
    ],
)
def test_recall_is_of_all_that_is_relevant_and_capped_recall_of_as_many_as_fit(ranks, k, of_all, of_as_many_as_fit):
    assert recall(ranks, k) == pytest.approx(of_all)
    assert capped_recall(ranks, k) == pytest.approx(of_as_many_as_fit)


def test_what_was_not_ranked_is_a_miss_in_every_metric():
    unranked = np.array([np.inf])
    metrics = [metric(unranked, 10) for metric in (hit, recall, capped_recall, ndcg)]
    assert [*metrics, reciprocal_rank(unranked)] == [0.0] * 5


@settings(max_examples=15)
@given(st.integers(1, 5), st.integers(0, 20), st.integers(1, 12))
def test_random_orders_reach_on_average_what_is_expected_of_them(relevant, others, k):
    rng, candidates = np.random.default_rng(relevant + 7 * others), relevant + others
    sampled = [rng.permutation(candidates)[:relevant] + 1 for _ in range(1500)]
    assert random_hit(relevant, candidates, k) == pytest.approx(np.mean([hit(one, k) for one in sampled]), abs=0.06)
    assert random_ndcg(relevant, candidates, k) == pytest.approx(np.mean([ndcg(one, k) for one in sampled]), abs=0.06)
