import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankstream.streams.worker.load import Load, Overload
from tests.builders.actions import ARecord


def a_load(seconds_each: float | None = 0.01, within_s: float = 1.0) -> Load:
    return Load(within_s, seconds_each)


def test_what_can_be_ranked_in_time_is_ranked():
    assert a_load().num_shed(waiting=80, oldest_age_s=0.0) == 0
    assert a_load().num_shed(waiting=60, oldest_age_s=0.2) == 0


def test_of_what_cannot_the_newest_that_two_fifths_of_the_limit_are_enough_for_are_kept():
    assert a_load().num_shed(waiting=81, oldest_age_s=0.0) == 41
    assert a_load().num_shed(waiting=1_000, oldest_age_s=0.1) == 960


def test_few_requests_are_ranked_however_old_they_are():
    assert a_load().num_shed(waiting=40, oldest_age_s=3_600.0) == 0
    assert a_load(seconds_each=10.0).num_shed(waiting=1, oldest_age_s=0.0) == 0


def test_without_a_limit_or_a_measurement_nothing_is_shed():
    assert a_load(within_s=0.0).num_shed(waiting=1_000_000, oldest_age_s=3_600.0) == 0
    assert a_load(seconds_each=None).num_shed(waiting=1_000_000, oldest_age_s=3_600.0) == 0


@pytest.mark.parametrize(("seconds_each", "at_once"), [(None, 16), (0.001, 16), (0.0125, 8), (5.0, 1)])
def test_newer_requests_never_wait_long_for_those_that_are_scored_in_one_go(seconds_each, at_once):
    assert a_load(seconds_each).at_once == at_once


def test_a_measurement_moves_the_average_by_a_fifth():
    load = a_load(None)
    load.took(0.4, requests=4)
    load.took(0.2, requests=1)
    assert load.seconds_each == pytest.approx(0.1 + 0.2 * 0.1)


def requests_of(*sizes: int) -> list[ARecord]:
    return [ARecord(b"x" * size) for size in sizes]


def test_what_is_shed_in_one_go_is_bounded_in_requests_and_in_bytes():
    load = a_load(seconds_each=10.0)
    assert load.to_shed(requests_of(*[10] * 40), behind=1, oldest_age_s=0.0) == 40
    assert load.to_shed(requests_of(*[10] * 100), behind=1_000, oldest_age_s=0.0) == 64
    assert load.to_shed(requests_of(100_000, 100_000, 100_000), behind=9, oldest_age_s=0.0) == 2
    assert load.to_shed(requests_of(2_000_000, 10), behind=9, oldest_age_s=0.0) == 1


def test_fetches_are_fewer_while_requests_are_shed_and_for_a_second_after():
    now_s = [100.0]
    overload = Overload(within_s=0.5, clock=lambda: now_s[0])
    load = Load(0.5, seconds_each=10.0, overload=overload)
    assert load.to_shed(requests_of(10), behind=0, oldest_age_s=0.0) == 0
    assert overload.fetch_pace_s(0.003) == 0.003
    assert load.to_shed(requests_of(10), behind=1, oldest_age_s=0.0) == 1
    assert (overload.fetch_pace_s(0.003), overload.fetch_pace_s(0.1)) == (0.025, 0.1)
    overload.within_s = 60.0
    assert overload.fetch_pace_s(0.003) == 0.025  # actions must not wait for longer
    now_s[0] += 1.0
    assert overload.fetch_pace_s(0.003) == 0.003


@given(st.floats(1e-5, 10), st.floats(1e-3, 100), st.integers(1, 100_000), st.integers(0, 1_000), st.floats(0, 1e6))
def test_one_request_more_never_has_more_of_them_ranked_than_the_limit_allows(each, within, waiting, more, age):
    load = Load(within, each)
    shed = load.num_shed(waiting, age)
    kept = waiting - shed
    assert 0 <= shed < waiting
    assert kept <= max(load.at_once, within / each)
    assert load.num_shed(waiting + more, age) >= shed
