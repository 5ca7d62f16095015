from math import log2

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.metrics import (
    bootstrap_interval,
    expected_hit_of_chance,
    expected_ndcg_of_chance,
    hit_at,
    ndcg_at,
    place_of,
)


def test_the_best_score_has_the_first_place_and_ties_keep_the_order_of_candidates():
    scores = np.array([0.5, 0.9, 0.5])
    assert [place_of(candidate, scores) for candidate in range(3)] == [2, 1, 3]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=20))
def test_places_are_those_of_a_stable_sort(scores: list[int]):
    order = sorted(range(len(scores)), key=lambda candidate: -scores[candidate])
    assert [place_of(candidate, np.array(scores, float)) for candidate in order] == list(range(1, len(scores) + 1))


def test_gain_falls_with_the_place_and_ends_at_k():
    assert [ndcg_at(place) for place in (1, 3, 10, 11, None)] == [1.0, 0.5, pytest.approx(1 / log2(11)), 0.0, 0.0]
    assert [hit_at(place) for place in (1, 10, 11, None)] == [1, 1, 0, 0]


def test_what_chance_is_expected_to_reach_is_what_it_reaches():
    chance = np.random.default_rng(0)
    places = chance.integers(1, 51, 200_000)
    assert np.mean([hit_at(place) for place in places]) == pytest.approx(expected_hit_of_chance(50), rel=0.03)
    assert np.mean([ndcg_at(place) for place in places]) == pytest.approx(expected_ndcg_of_chance(50), rel=0.03)


def test_an_interval_is_wider_when_requests_come_from_few_users():
    values = [0.0, 1.0] * 50
    few = bootstrap_interval(values, [place % 4 for place in range(100)], seed=1)
    many = bootstrap_interval(values, list(range(100)), seed=1)
    assert few[1] - few[0] > many[1] - many[0] > 0


def test_no_requests_have_no_interval():
    with pytest.raises(ValueError, match="at least one request"):
        bootstrap_interval([], [], seed=1)
