import numpy as np
import pytest

from rankstream.evaluation.replay.outcomes import ALL, Outcomes, RankedQuery
from rankstream.evaluation.replay.summary import Bootstrap, differences, verdict
from rankstream.metrics.bootstrap import bootstrap_interval


def test_intervals_of_many_metrics_are_those_of_each_alone():
    rng = np.random.default_rng(0)
    users = [str(user) for user in rng.integers(0, 80, 600)]
    columns = {name: rng.random(600) < share for name, share in (("rare", 0.05), ("often", 0.6))}
    found = Bootstrap(users, seed=3).means({name: values.astype(float) for name, values in columns.items()})
    for name, values in columns.items():
        low, high = bootstrap_interval(values.astype(float), users, seed=4)
        assert found[name]["value"] == pytest.approx(values.mean())
        assert (found[name]["low"], found[name]["high"]) == (
            pytest.approx(low, abs=0.01),
            pytest.approx(high, abs=0.01),
        )


def test_what_is_not_known_does_not_count():
    found = Bootstrap(["a", "a", "b"], seed=1).means({0: np.array([1.0, np.nan, 1.0]), 1: np.full(3, np.nan)})
    assert found[0] == {"value": 1.0, "low": 1.0, "high": 1.0, "requests": 2}
    assert np.isnan(found[1]["value"])
    assert found[1]["requests"] == 0


def test_a_verdict_is_none_where_the_interval_holds_nothing():
    about = {"variant": "A", "baseline": "B", "metric": "hit@10", "value": 0.02}
    assert "ahead of B" in verdict(about | {"low": 0.01, "high": 0.03})
    assert "not clearly different from B" in verdict(about | {"low": -0.01, "high": 0.05})
    assert "behind B" in verdict(about | {"low": -0.03, "high": -0.01})
    assert "behind B" in verdict(about | {"low": 0.01, "high": 0.03}, better_is_lower=True)


def outcomes_of(columns, users):
    """Return outcomes with these values of hit@10."""
    outcomes = Outcomes((10,), (ALL,))
    outcomes.queries = [RankedQuery(user, 0, 0, False, 1000, {}) for user in users]
    for name, values in columns.items():
        outcomes.variant(name).metrics[ALL, "hit@10"] = list(values)
    return outcomes


def test_a_ranker_without_a_hit_is_not_worse_than_a_random_order_that_has_hardly_any():
    users = [str(number) for number in range(40)]
    outcomes = outcomes_of({"mine": np.zeros(40), "random": np.full(40, 0.0002), "good": np.arange(40) < 20}, users)
    of_random, of_good = differences(outcomes, "mine", "hit@10")
    assert of_random["low"] < 0 < of_random["high"] < 0.1
    assert "not clearly different" in verdict(of_random)
    assert "mine is behind good" in verdict(of_good)
    assert of_good["high"] > Bootstrap(users, 1).means({0: -(np.arange(40) < 20).astype(float)})[0]["high"]


def test_many_users_without_a_hit_are_worse_than_a_random_order_that_has_some():
    users = [str(number) for number in range(400)]
    outcomes = outcomes_of({"mine": np.zeros(400), "random": np.full(400, 0.1)}, users)
    assert "mine is behind random" in verdict(differences(outcomes, "mine", "hit@10")[0])
