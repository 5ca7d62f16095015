import numpy as np

from rankstream.experiments.kuairand.freshness import HOUR_MS, ages_of, gains_by_age
from rankstream.experiments.kuairand.scoring import Impressions, Scored
from tests.experiments.test_ranker_tables import a_feed


def impressions_of(labels) -> Impressions:
    users = np.arange(len(labels)) % 50
    both = np.stack([labels, 1 - labels], axis=1)
    return Impressions(users, users, both, ("click", "skip"), {"click": 1.0, "skip": -1.0}, 50)


def test_a_row_that_knows_less_is_behind_only_where_it_knows_less():
    """The full model knows all labels; the row knows those of old states, and guesses where the state is fresh."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 2000).astype(np.float64)
    ages = np.where(np.arange(2000) < 1000, HOUR_MS, 100 * HOUR_MS)
    knows = np.stack([labels, 1 - labels], axis=1)
    guesses = np.where((ages == HOUR_MS)[:, None], rng.random((2000, 2)), knows)
    logged = impressions_of(labels)
    models = {"full": [Scored(logged, knows)], "row": [Scored(logged, guesses)]}
    found = gains_by_age(models, ages, "full", resamples=50, seed=0)
    assert set(found) == {"up to 3 hours", "more than 3 days"}
    assert found["up to 3 hours"]["exposures"] == 1000
    for head in ("click", "skip"):
        assert found["up to 3 hours"][head]["full"][0] == 1.0
        point, low, high = found["up to 3 hours"][head]["row"]
        assert 0.4 < low < point < high < 0.6
        assert found["more than 3 days"][head]["row"] == (0.0, 0.0, 0.0)


def test_ages_are_those_of_each_impressions_newest_action(tmp_path):
    cache = a_feed(tmp_path, seed=0)
    ages = ages_of(cache)
    for request in range(len(cache)):
        batch = cache.batch(np.array([request]))
        wanted = int(batch.action_ages_ms[0, 0]) if cache.lengths[request] else -1
        mine = ages[cache.candidate_starts[request] : cache.candidate_starts[request + 1]]
        assert (mine == wanted).all()
    assert -1 in ages
    assert (ages > 0).any()
