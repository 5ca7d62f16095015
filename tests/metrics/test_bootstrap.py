import pytest

from rankstream.metrics.bootstrap import bootstrap_interval


def test_an_interval_is_wider_when_requests_come_from_few_users():
    values = [0.0, 1.0] * 50
    few = bootstrap_interval(values, [number % 4 for number in range(100)], seed=1)
    many = bootstrap_interval(values, list(range(100)), seed=1)
    assert few[1] - few[0] > many[1] - many[0] > 0


def test_no_requests_have_no_interval():
    with pytest.raises(ValueError, match="at least one request"):
        bootstrap_interval([], [], seed=1)
