from collections import Counter
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankstream.evaluation.interleaving import FIRST, SECOND, credit, preference, sign_test, team_draft


def rng_of(seed=0):
    return np.random.default_rng(seed)


def test_captains_pick_in_turn_each_the_best_that_is_left():
    lists = Counter(team_draft("abcd", "caeb", 4, rng_of(seed)).items for seed in range(400))
    assert set(lists) == {tuple(one) for one in ("acbe", "aceb", "cabe", "caeb")}
    assert all(70 < count < 130 for count in lists.values())


rankings = st.lists(st.integers(0, 30), unique=True, max_size=20)


@given(rankings, rankings, st.one_of(st.none(), st.integers(0, 45)), st.integers(0, 99))
def test_an_interleaved_list_is_fair_and_holds_every_item_once(first, second, length, seed):
    shown = team_draft(first, second, length, rng_of(seed))
    everything = set(first) | set(second)
    assert len(set(shown.items)) == len(shown.items) == min(len(everything), 45 if length is None else length)
    assert set(shown.items) <= everything
    for team, ranking in ((FIRST, first), (SECOND, second)):
        picked = [item for item, by in zip(shown.items, shown.teams, strict=True) if by == team]
        assert [item for item in ranking if item in picked] == picked
    both_could = len(shown.items) if set(first) == set(second) else 0
    assert all(abs(2 * sum(shown.teams[:end]) - end) <= 1 for end in range(both_could))


def test_the_same_seed_returns_the_same_list():
    assert team_draft("abcd", "dcba", None, rng_of(3)) == team_draft("abcd", "dcba", None, rng_of(3))


def test_credit_goes_to_who_picked_the_item():
    shown = team_draft("ab", "cd", None, rng_of())
    assert credit(shown, {"a", "c", "d", "z"}) == (1, 2)
    assert credit(shown, set()) == (0, 0)


def test_equal_rankings_win_as_often_as_they_lose():
    points = [credit(team_draft("abcdef", "abcdef", 4, rng_of(seed)), {"b"}) for seed in range(2000)]
    found = preference(points, range(2000), seed=0)
    assert found.win_rate.low < 0.5 < found.win_rate.high
    assert found.p_value > 0.05
    assert found.wins + found.losses == 2000


def test_a_ranking_that_people_prefer_wins():
    """Users act on good items, 0 to 9; the first ranking puts them in front, the second in between."""
    good, points, users = list(range(10)), [], []
    for request in range(60):
        rng = rng_of(request)
        other = rng.permutation(40).tolist()
        shown = team_draft(good + list(range(10, 40)), other, 10, rng)
        points.append(credit(shown, {item for item in good if rng.random() < 0.4}))
        users.append(request // 3)
    found = preference(points, users, seed=0)
    assert found.win_rate.low > 0.6
    assert found.p_value < 0.001
    assert found.wins > found.losses


@pytest.mark.parametrize(("wins", "losses"), [(0, 1), (5, 3), (10, 0), (3, 12), (60, 40), (7, 7), (0, 0)])
def test_the_sign_test_is_the_binomial_tail(wins, losses):
    rounds, maximum = wins + losses, max(wins, losses)
    tail = sum(comb(rounds, one) for one in range(maximum, rounds + 1)) / 2**rounds
    assert sign_test(wins, losses) == pytest.approx(min(1.0, 2 * tail), rel=1e-9)


def test_the_sign_test_takes_millions():
    assert sign_test(500_500, 499_500) == pytest.approx(0.3177, abs=1e-3)
    assert sign_test(600_000, 400_000) == 0.0


def test_no_requests_are_refused():
    with pytest.raises(ValueError, match="no values"):
        preference([], [], seed=0)
