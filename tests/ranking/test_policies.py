"""Policies are what they claim: propensities are the frequencies that sampling shows."""

from collections import Counter
from itertools import permutations
from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankstream.ranking.blend import blend
from rankstream.ranking.exploration import Exploration
from rankstream.ranking.policies import (
    EpsilonGreedy,
    Greedy,
    Limits,
    PlackettLuce,
    RelativePlackettLuce,
    last_eligible,
    spread,
)

NONE = Limits()
POLICIES = [RelativePlackettLuce(0.7), PlackettLuce(0.7), EpsilonGreedy(0.4)]
CASES = [NONE, Limits(top_k=2), Limits(["a", "a", "b", "a"], 1), Limits(["a", "a", "b", "a"], 2, top_k=3)]
SCORES = np.array([0.3, 1.0, -0.2, 1.0])


def orders_of(limits, count=4):
    """Every feed that the limits allow."""
    return {tuple(blend(-np.argsort(order), limits.groups, limits.max_per_group, limits.top_k))
            for order in permutations(range(count))}  # fmt: skip


def plainly(policy, scores, order, limits):
    """The propensities as the docstrings define them, position by position: the plain twin of the fast ones."""
    left, taken, given = set(range(len(scores))), Counter(), []
    for index in order:
        groups = limits.groups if limits.max_per_group else None
        eligible = sorted(one for one in left if not groups or taken[groups[one]] < limits.max_per_group)
        best = max(eligible, key=lambda one: (scores[one], -one))
        if isinstance(policy, PlackettLuce | RelativePlackettLuce):
            unit = policy.temperature * (1.0 if isinstance(policy, PlackettLuce) else spread(scores))
            weights = {one: np.exp((scores[one] - scores[best]) / unit) if unit else 1.0 for one in eligible}
            given.append(weights[index] / sum(weights.values()))
        else:
            epsilon = policy.epsilon if isinstance(policy, EpsilonGreedy) else 0.0
            given.append(epsilon / len(eligible) + (1 - epsilon) * (index == best))
        left.discard(index)
        if groups:
            taken[groups[index]] += 1
    return given


@pytest.mark.parametrize("limits", CASES, ids=["all", "top 2", "1 a group", "2 a group, top 3"])
@pytest.mark.parametrize("policy", [*POLICIES, Greedy()], ids=lambda policy: policy.text or "greedy")
def test_the_probabilities_of_all_feeds_sum_to_one(policy, limits):
    orders = orders_of(limits)
    assert sum(prod(policy.propensities(SCORES, order, limits)) for order in orders) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("limits", CASES, ids=["all", "top 2", "1 a group", "2 a group, top 3"])
@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.text)
def test_feeds_come_as_often_as_their_propensities_predict(policy, limits):
    """A chi-square test on 2,500 requests, at its quantile of 99.99 %."""
    requests = 2_500
    exploration = Exploration(policy, seed=3)
    seen = Counter(tuple(exploration.place(SCORES, limits, "u", n).order) for n in range(requests))
    expected = {order: requests * prod(policy.propensities(SCORES, order, limits)) for order in orders_of(limits)}
    assert set(seen) <= set(expected)
    distance = sum((seen[order] - often) ** 2 / often for order, often in expected.items())
    freedom = len(expected) - 1
    assert distance < freedom + 4.3 * np.sqrt(2 * freedom) + 8


@given(
    st.lists(st.tuples(st.floats(-5, 5), st.integers(0, 3)), min_size=1, max_size=30),
    st.sampled_from([None, 1, 2, 3]),
    st.sampled_from([None, 1, 5, 40]),
    st.sampled_from([*POLICIES, Greedy()]),
    st.integers(0, 9),
)
def test_fast_propensities_are_the_plain_ones_and_limits_hold(candidates, cap, top_k, policy, seed):
    scores = np.array([score for score, _ in candidates])
    limits = Limits([group for _, group in candidates], cap, top_k)
    placed = Exploration(policy, seed).place(scores, limits, 1, "r")
    assert len(placed.order) == len(set(placed.order)) == len(blend(scores, limits.groups, cap, top_k))
    assert cap is None or max(Counter(limits.groups[index] for index in placed.order).values()) <= cap
    given_ones = policy.propensities(scores, placed.order, limits)
    np.testing.assert_allclose(given_ones, plainly(policy, scores, placed.order, limits), rtol=1e-9)
    assert placed.propensities is None or placed.propensities == given_ones.tolist()
    for step, index in enumerate(placed.order):
        propensities = policy.next_propensities(scores, placed.order[:step], limits)
        assert propensities.sum() == pytest.approx(1)
        assert propensities[index] == pytest.approx(given_ones[step], rel=1e-9)


def test_the_first_propensity_is_the_marginal_of_the_first_position():
    placed = Exploration(PlackettLuce(0.7)).place(SCORES, NONE, "u", "r")
    softmax = np.exp(SCORES / 0.7) / np.exp(SCORES / 0.7).sum()
    assert placed.propensities[0] == pytest.approx(softmax[placed.order[0]])


def test_a_candidate_is_last_eligible_when_its_group_gets_full():
    limits = Limits(["a", "a", "b", "c", "b"], 1)
    assert last_eligible(5, [1, 4], limits).tolist() == [0, 0, 1, 2, 1]


@pytest.mark.parametrize("policy", [PlackettLuce(1e-4), RelativePlackettLuce(1e-4)], ids=lambda policy: policy.text)
def test_a_cold_policy_is_greedy_and_its_propensities_stay_numbers(policy):
    scores = np.linspace(5, -5, 200)
    placed = Exploration(policy).place(scores, NONE, "u", "r")
    assert placed.order == list(range(200))
    assert all(0 < one <= 1 for one in placed.propensities)


@pytest.mark.parametrize("wrong", [0, -1, float("nan"), float("inf")])
def test_parameters_that_make_no_policy_are_refused(wrong):
    with pytest.raises(ValueError, match="wanted more than 0"):
        PlackettLuce(wrong)
    with pytest.raises(ValueError, match="wanted more than 0"):
        RelativePlackettLuce(wrong)
    with pytest.raises(ValueError, match="wanted more than 0"):
        EpsilonGreedy(wrong)


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.text)
def test_five_thousand_candidates_with_caps_are_placed(policy):
    scores = np.random.default_rng(0).standard_normal(5_000)
    limits = Limits((np.arange(5_000) % 700).tolist(), 5)
    placed = Exploration(policy).place(scores, limits, "u", "r")
    assert len(placed.order) == 3_500


# --- Relative to the spread of the scores -------------------------------------------------------------------------

ANY_SCORES = st.lists(st.floats(-5, 5).map(lambda score: round(score, 3)), min_size=1, max_size=40).map(np.array)


@given(ANY_SCORES, st.floats(1e-6, 1e6), st.floats(-10, 10), st.integers(0, 9))
def test_the_order_is_the_same_for_scores_of_another_scale_and_zero(scores, scale, shift, seed):
    others = scale * (scores + shift)
    exploration = Exploration(RelativePlackettLuce(0.3), seed)
    placed, other = (exploration.place(one, NONE, "u", "r") for one in (scores, others))
    np.testing.assert_allclose(
        exploration.policy.next_propensities(others, (), NONE),
        exploration.policy.next_propensities(scores, (), NONE),
        rtol=1e-6,
    )
    assert other.order == placed.order


@given(ANY_SCORES, st.randoms(use_true_random=False), st.sampled_from([None, 2, 7]), st.sampled_from([None, 1, 2]))
def test_propensities_are_to_the_bit_those_of_candidates_in_any_other_order(scores, random, top_k, cap):
    groups = [n % 5 for n in range(len(scores))]
    shuffled = list(range(len(scores)))
    random.shuffle(shuffled)
    policy = RelativePlackettLuce(0.4)
    placed = Exploration(policy, 3).place(scores, Limits(groups, cap, top_k), "u", "r")
    found = policy.propensities(
        scores[shuffled],
        [shuffled.index(index) for index in placed.order],
        Limits([groups[index] for index in shuffled], cap, top_k),
    )
    assert found.tolist() == placed.propensities


def test_a_tenth_explores_a_little_where_scores_are_close_together_and_where_they_are_far_apart():
    """50 scores of a normal distribution: the best is first most often, whatever their unit."""
    scores = np.random.default_rng(0).standard_normal((200, 50))
    for unit in (1e-3, 1.0, 1e3):
        best = [RelativePlackettLuce(0.1).next_propensities(unit * row, (), NONE)[row.argmax()] for row in scores]
        assert 0.8 < np.mean(best) < 0.9
    absolute = [PlackettLuce(0.1).next_propensities(1e-3 * row, (), NONE)[row.argmax()] for row in scores]
    assert np.mean(absolute) < 0.021  # what 0.1 in units of the score makes of scores that are close together


def test_equal_scores_are_in_random_order_and_one_candidate_is_certain():
    equal = Exploration(RelativePlackettLuce(1e-4)).place(np.full(4, 0.7), NONE, "u", "r")
    assert equal.propensities == pytest.approx([1 / 4, 1 / 3, 1 / 2, 1])
    assert Exploration(RelativePlackettLuce(0.1)).place(np.array([0.7]), NONE, "u", "r").propensities == [1.0]


def test_outliers_do_not_make_the_rest_random():
    """Three of 50 scores are off by a million: among the others, the temperature is what it was."""
    scores = np.random.default_rng(1).standard_normal(50)
    off = np.concatenate([scores, [1e6, -1e6, 1e6]])
    assert spread(off) == pytest.approx(spread(scores), rel=0.35)
    policy, best = RelativePlackettLuce(0.1), int(scores.argmax())
    with_them = policy.next_propensities(off, [50, 52], NONE)[best]
    assert with_them == pytest.approx(policy.next_propensities(scores, (), NONE)[best], abs=0.15)


def test_where_most_candidates_score_alike_the_spread_is_that_of_all():
    """47 unknown items and three known ones: the deciles are equal, or apart by the rounding of float32 alone."""
    known = [0.9, 0.8, 0.7]
    for noise in (0.0, 3e-8):
        scores = np.array([*known, *(0.1 + noise * np.arange(47) / 47)])
        probabilities = RelativePlackettLuce(0.1).next_propensities(scores, (), NONE)
        assert probabilities[:3].sum() > 0.99
        assert 0.9 < probabilities[0] < 0.99


def test_impossible_scores_come_last_in_random_order():
    scores = np.array([-np.inf, 0.2, -np.inf, 0.1, -np.inf])
    policy = RelativePlackettLuce(0.5)
    placed = [Exploration(policy, seed).place(scores, NONE, "u", "r") for seed in range(30)]
    assert {frozenset(one.order[:2]) for one in placed} == {frozenset({1, 3})}
    assert len({tuple(one.order[2:]) for one in placed}) == 6
    for one in placed:
        assert one.propensities[2:] == pytest.approx([1 / 3, 1 / 2, 1])
        assert policy.next_propensities(scores, one.order[:2], NONE).tolist() == pytest.approx(
            [1 / 3, 0, 1 / 3, 0, 1 / 3]
        )
    assert policy.propensities(np.full(2, -np.inf), [0, 1], NONE) == pytest.approx([0.5, 1.0])
