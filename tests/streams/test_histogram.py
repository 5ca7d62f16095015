"""Buckets as Prometheus counts them: a value belongs to every bound that it does not exceed."""

import pytest

from rankstream.streams.histogram import Histogram


def a_histogram(*values: float) -> Histogram:
    made = Histogram((0.1, 1.0))
    for value in values:
        made.observe(value)
    return made


def test_a_value_on_a_bound_is_within_it_and_one_above_all_is_counted_too():
    found = a_histogram(0.05, 0.1, 0.5, 7.0)
    assert found.cumulative() == [(0.1, 2), (1.0, 3), (float("inf"), 4)]
    assert (found.count, found.sum) == (4, pytest.approx(7.65))


def test_two_are_added_bucket_by_bucket():
    total = a_histogram(0.05)
    total.add(a_histogram(0.5, 7.0))
    assert total.cumulative() == a_histogram(0.05, 0.5, 7.0).cumulative()
    assert total.sum == pytest.approx(7.55)


def test_counts_of_other_bounds_can_not_be_added():
    with pytest.raises(ValueError, match=r"bounds \(2\.0,\) came; wanted \(0\.1, 1\.0\)"):
        a_histogram().add(Histogram((2.0,)))
