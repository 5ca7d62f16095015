"""Policies are what they claim: propensities are the frequencies that sampling shows."""

from collections import Counter
from itertools import permutations
from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankstream.ranking.blend import blend
from rankstream.ranking.exploration import (
    NO_EXPLORATION,
    EpsilonGreedy,
    Exploration,
    Greedy,
    Limits,
    PlackettLuce,
    exploration_named,
    last_eligible,
    uniforms,
)

NONE = Limits()
POLICIES = [PlackettLuce(0.7), EpsilonGreedy(0.4)]
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
        if isinstance(policy, PlackettLuce):
            weights = {one: np.exp(scores[one] / policy.temperature) for one in eligible}
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


def test_without_exploration_the_feed_is_the_blend():
    limits = Limits(["a", "a", "b", "a"], 2, 3)
    placed = NO_EXPLORATION.place(SCORES, limits, "u", "r")
    assert (placed.order, placed.propensities) == (blend(SCORES, limits.groups, 2, 3), None)
    assert NO_EXPLORATION.text is None


def test_a_cold_policy_is_greedy_and_its_propensities_stay_numbers():
    scores = np.linspace(5, -5, 200)
    placed = Exploration(PlackettLuce(1e-4)).place(scores, NONE, "u", "r")
    assert placed.order == list(range(200))
    assert all(0 < one <= 1 for one in placed.propensities)


def test_random_numbers_are_those_of_the_seed_the_user_and_the_request():
    numbers = uniforms(1000, 7, "u", "r1").tolist()
    assert numbers == uniforms(1000, 7, "u", "r1").tolist()
    others = [uniforms(1000, *names).tolist() for names in [(8, "u", "r1"), (7, "v", "r1"), (7, "ur", "1")]]
    assert all(numbers != other for other in others)
    assert min(numbers) > 0
    assert max(numbers) < 1


def test_random_numbers_are_the_same_on_every_machine_and_with_every_numpy():
    assert uniforms(3, 7, "u", 1).round(6).tolist() == [0.128996, 0.93651, 0.284002]


@pytest.mark.parametrize("wrong", [0, -1, float("nan"), float("inf")])
def test_parameters_that_make_no_policy_are_refused(wrong):
    with pytest.raises(ValueError, match="wanted more than 0"):
        PlackettLuce(wrong)
    with pytest.raises(ValueError, match="wanted more than 0"):
        EpsilonGreedy(wrong)


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.text)
def test_five_thousand_candidates_with_caps_are_placed(policy):
    scores = np.random.default_rng(0).standard_normal(5_000)
    limits = Limits((np.arange(5_000) % 700).tolist(), 5)
    placed = Exploration(policy).place(scores, limits, "u", "r")
    assert len(placed.order) == 3_500


@given(st.floats(1e-4, 1.0), st.integers(0, 1 << 62))
def test_a_policy_is_read_back_to_the_bit_from_what_a_feed_records(parameter, seed):
    for policy in (PlackettLuce(parameter), EpsilonGreedy(parameter), Greedy()):
        read_back = exploration_named(Exploration(policy, seed).text)
        assert read_back == (NO_EXPLORATION if policy == Greedy() else Exploration(policy, seed))


@pytest.mark.parametrize(
    "text", ["", "greedy", "plackett-luce temperature=0.1", "epsilon-greedy temperature=0.1 seed=1"]
)
def test_what_no_feed_records_is_no_policy(text):
    with pytest.raises(ValueError, match=r"wanted one as feeds record it: plackett-luce temperature=0\.1 seed=0"):
        exploration_named(text)
