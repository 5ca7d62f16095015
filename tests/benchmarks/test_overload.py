"""What a benchmark makes of two phases of which it is known what a request costs."""

import pytest

from benchmarks.overload import Costs, Spent, costs_of


def test_costs_come_out_of_two_phases_as_they_went_in():
    calm, busy = Spent(1_000, 20, 1_000 * 0.003 + 20 * 0.0001), Spent(700, 5_000, 700 * 0.003 + 5_000 * 0.0001)
    costs = costs_of(calm, busy)
    assert (costs.ranked_s, costs.shed_s) == (pytest.approx(0.003), pytest.approx(0.0001))


def test_what_is_left_for_ranking_and_what_is_shed_fill_the_core():
    share = Costs(ranked_s=0.003, shed_s=0.0001).most_ranked(5)
    assert share * 0.003 + (5 - share) * 0.0001 == pytest.approx(0.003)
    assert Costs(0.003, 0.001).most_ranked(5) == 0.0
