from math import log2

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankstream.metrics.bootstrap import bootstrap_interval
from rankstream.metrics.probabilities import auc, calibration_error, log_loss
from rankstream.metrics.ranking import (
    hit,
    hit_at,
    mrr,
    ndcg,
    ndcg_at,
    random_hit,
    random_hit_at,
    random_ndcg,
    random_ndcg_at,
    rank_of,
    recall,
)


def test_the_best_score_has_the_first_place_and_ties_keep_the_order_of_candidates():
    scores = np.array([0.5, 0.9, 0.5])
    assert [rank_of(candidate, scores) for candidate in range(3)] == [2, 1, 3]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=20))
def test_places_are_those_of_a_stable_sort(scores: list[int]):
    order = sorted(range(len(scores)), key=lambda candidate: -scores[candidate])
    assert [rank_of(candidate, np.array(scores, float)) for candidate in order] == list(range(1, len(scores) + 1))


def test_gain_falls_with_the_place_and_ends_at_k():
    assert [ndcg_at(place) for place in (1, 3, 10, 11, None)] == [1.0, 0.5, pytest.approx(1 / log2(11)), 0.0, 0.0]
    assert [hit_at(place) for place in (1, 10, 11, None)] == [1, 1, 0, 0]


def test_what_chance_is_expected_to_reach_is_what_it_reaches():
    rng = np.random.default_rng(0)
    places = rng.integers(1, 51, 200_000)
    assert np.mean([hit_at(place) for place in places]) == pytest.approx(random_hit_at(50), rel=0.03)
    assert np.mean([ndcg_at(place) for place in places]) == pytest.approx(random_ndcg_at(50), rel=0.03)


def test_an_interval_is_wider_when_requests_come_from_few_users():
    values = [0.0, 1.0] * 50
    few = bootstrap_interval(values, [place % 4 for place in range(100)], seed=1)
    many = bootstrap_interval(values, list(range(100)), seed=1)
    assert few[1] - few[0] > many[1] - many[0] > 0


def test_no_requests_have_no_interval():
    with pytest.raises(ValueError, match="at least one request"):
        bootstrap_interval([], [], seed=1)


def test_several_wanted_items_are_judged_together():
    places = np.array([2, 5, 30])
    assert [hit(places, 1), hit(places, 2)] == [0.0, 1.0]
    assert [recall(places, 5), recall(places, 1), recall(places[:1], 10)] == [2 / 3, 0.0, 1.0]
    assert mrr(places) == 0.5
    assert ndcg(np.array([1, 2, 3]), 10) == pytest.approx(1.0)
    assert ndcg(places, 10) == pytest.approx((1 / log2(3) + 1 / log2(6)) / (1 + 1 / log2(3) + 1 / 2))


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 5), st.integers(0, 20), st.integers(1, 12))
def test_chance_of_several_is_what_random_orders_give_on_average(wanted, others, k):
    rng = np.random.default_rng(wanted + 7 * others)
    drawn = [rng.permutation(wanted + others)[:wanted] + 1 for _ in range(1500)]
    assert random_hit(wanted, wanted + others, k) == pytest.approx(np.mean([hit(one, k) for one in drawn]), abs=0.06)
    assert random_ndcg(wanted, wanted + others, k) == pytest.approx(np.mean([ndcg(one, k) for one in drawn]), abs=0.06)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.integers(0, 3)), min_size=1, max_size=30))
def test_auc_is_the_share_of_pairs_in_order_also_when_rows_count_several_times(rows):
    scores = np.array([score for score, _, _ in rows], float)
    labels = np.array([label for _, label, _ in rows])
    weights = np.array([weight for _, _, weight in rows], float)
    pairs = [
        ((scores[a] > scores[b]) + 0.5 * (scores[a] == scores[b]), weights[a] * weights[b])
        for a in np.flatnonzero(labels)
        for b in np.flatnonzero(~labels)
    ]
    total = sum(weight for _, weight in pairs)
    wanted = sum(won * weight for won, weight in pairs) / total if total else np.nan
    assert auc(scores, labels, weights) == pytest.approx(wanted, nan_ok=True)


def test_probabilities_that_keep_their_promise_have_no_calibration_error():
    rng = np.random.default_rng(0)
    said = rng.random(200_000)
    came = rng.random(200_000) < said
    assert calibration_error(said, came) < 0.01
    assert calibration_error(np.full(200_000, 0.9), came) == pytest.approx(0.4, abs=0.01)
    assert log_loss(said, came).mean() < log_loss(np.full(200_000, 0.5), came).mean()
