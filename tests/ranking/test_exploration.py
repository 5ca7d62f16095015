"""Exploration: a policy, the random numbers of a request, and what a feed records of both."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankstream.ranking.blend import blend
from rankstream.ranking.exploration import NO_EXPLORATION, Exploration, exploration_named, uniforms
from rankstream.ranking.policies import EpsilonGreedy, Greedy, Limits, PlackettLuce, RelativePlackettLuce

SCORES = np.array([0.3, 1.0, -0.2, 1.0])


def test_without_exploration_the_feed_is_the_blend():
    limits = Limits(["a", "a", "b", "a"], 2, 3)
    placed = NO_EXPLORATION.place(SCORES, limits, "u", "r")
    assert (placed.order, placed.propensities) == (blend(SCORES, limits.groups, 2, 3), None)
    assert NO_EXPLORATION.text is None


def test_random_numbers_are_those_of_the_seed_the_user_and_the_request():
    numbers = uniforms(1000, 7, "u", "r1").tolist()
    assert numbers == uniforms(1000, 7, "u", "r1").tolist()
    others = [uniforms(1000, *names).tolist() for names in [(8, "u", "r1"), (7, "v", "r1"), (7, "ur", "1")]]
    assert all(numbers != other for other in others)
    assert min(numbers) > 0
    assert max(numbers) < 1


def test_random_numbers_are_the_same_on_every_machine_and_with_every_numpy():
    assert uniforms(3, 7, "u", 1).round(6).tolist() == [0.128996, 0.93651, 0.284002]


@given(st.floats(1e-4, 1.0), st.integers(0, 1 << 62))
def test_a_policy_is_read_back_to_the_bit_from_what_a_feed_records(parameter, seed):
    for policy in (RelativePlackettLuce(parameter), PlackettLuce(parameter), EpsilonGreedy(parameter), Greedy()):
        read_back = exploration_named(Exploration(policy, seed).text)
        assert read_back == (NO_EXPLORATION if policy == Greedy() else Exploration(policy, seed))


@pytest.mark.parametrize(
    "text", ["", "greedy", "plackett-luce temperature=0.1", "epsilon-greedy temperature=0.1 seed=1"]
)
def test_what_no_feed_records_is_no_policy(text):
    with pytest.raises(
        ValueError, match=r"wanted one as feeds record it: plackett-luce relative-temperature=0\.1 seed=0"
    ):
        exploration_named(text)


@pytest.mark.parametrize(
    ("policy", "scores", "expected"),
    [
        (RelativePlackettLuce(0.1), [0.5] * 40, 1.0),  # equal scores: any order
        (RelativePlackettLuce(100.0), list(range(40)), 1.0),
        (RelativePlackettLuce(0.1), list(range(40)), 0.332),
        (EpsilonGreedy(1.0), list(range(40)), 1.0),
        (EpsilonGreedy(0.1), list(range(40)), 0.183),
        (Greedy(), list(range(40)), None),  # nothing is drawn
        (RelativePlackettLuce(0.1), [0.5], None),  # nothing to draw from
    ],
)
def test_entropy_is_that_of_the_first_position_over_the_uniform_one(policy, scores, expected):
    assert Exploration(policy).entropy(np.array(scores, np.float64)) == (expected and pytest.approx(expected, abs=5e-4))
