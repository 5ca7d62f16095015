import numpy as np
import pytest

from rankstream.experiments.kuairand.scoring import (
    Impressions,
    Scored,
    auc,
    intervals,
    list_aucs,
    ordered,
    ranks_in_lists,
    score,
)

UTILITY = {"click": 1.0, "skip": -1.0}


def impressions(users, clicks, lists=None) -> Impressions:
    """Clicks of users, one list each if no other lists are given; no user skips."""
    labels = np.stack([np.array(clicks, float), np.zeros(len(clicks))], axis=1)
    owners = np.array(users)
    return Impressions(owners, owners if lists is None else np.array(lists), labels, ("click", "skip"), UTILITY,
                   int(owners.max()) + 1)  # fmt: skip


def predictions(clicks):
    return np.stack([np.array(clicks, float), np.zeros(len(clicks))], axis=1)


def some_impressions(users: int = 40, shown: int = 6, seed: int = 0) -> tuple[Impressions, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.random(users * shown)
    return impressions(np.repeat(np.arange(users), shown), rng.random(users * shown) < truth), predictions(truth)


def pairs_won(scores, labels):
    won = [float(p > n) + (p == n) / 2 for p in scores[labels == 1] for n in scores[labels == 0]]
    return float(np.mean(won))


def test_hit_at_3_counts_a_users_clicks_among_the_three_best():
    scored = score(impressions([0] * 5, [1, 1, 0, 0, 1]), predictions([0.9, 0.1, 0.8, 0.7, 0.2]))
    assert scored["hit3_click"] == 1.0
    assert scored["ndcg10"] == pytest.approx((1 + 1 / np.log2(5) + 1 / np.log2(6)) / (1 + 1 / np.log2(3) + 1 / 2))


def test_a_list_of_three_has_no_hit_at_3():
    scored = score(impressions([0] * 3 + [1] * 4, [1, 1, 1, 0, 0, 0, 1]), predictions([0.5] * 3 + [0.9, 0.8, 0.7, 0.1]))
    assert scored["hit3_click"] == 0.0


def test_a_list_in_which_order_does_not_matter_has_no_ndcg():
    scored = score(impressions([0, 0, 1, 1], [1, 1, 0, 1]), predictions([0.9, 0.8, 0.7, 0.1]))
    assert scored["ndcg10"] == pytest.approx(1 / np.log2(3))


def test_lists_of_one_user_are_ranked_apart_and_resampled_together():
    logged = impressions([0, 0, 0, 0], [1, 0, 1, 0], lists=[0, 0, 1, 1])
    assert Scored(logged, predictions([0.2, 0.1, 0.9, 0.8])).metrics()["gauc_click"] == 1.0
    assert Scored(logged, predictions([0.2, 0.1, 0.8, 0.9])).metrics(np.array([3.0]))["gauc_click"] == 0.5


def test_auc_is_the_share_of_pairs_won_with_ties_and_weights():
    rng = np.random.default_rng(0)
    scores, labels = rng.integers(0, 6, 60) / 6, (rng.random(60) < 0.4).astype(float)
    weights = rng.integers(0, 4, 60)
    often = np.repeat(np.arange(60), weights)
    assert auc(*ordered(scores, labels), np.ones(60)) == pytest.approx(pairs_won(scores, labels))
    assert auc(*ordered(scores, labels), weights.astype(float)) == pytest.approx(
        pairs_won(scores[often], labels[often])
    )


def test_gauc_is_each_lists_auc_weighted_by_impressions():
    rng = np.random.default_rng(1)
    users, scores = rng.integers(0, 8, 90), rng.integers(0, 5, 90) / 5
    labels = (rng.random(90) < 0.5).astype(float)
    above, below = list_aucs(users, labels, scores, 8)
    for user in range(8):
        mine = users == user
        assert above[user] == pytest.approx(pairs_won(scores[mine], labels[mine]) * mine.sum())
        assert below[user] == mine.sum()


def test_ranks_start_at_zero_in_each_list():
    assert ranks_in_lists(np.array([1, 0, 1, 0]), np.array([0.1, 0.9, 0.7, 0.2])).tolist() == [1, 0, 0, 1]


def test_honest_probabilities_are_calibrated_and_shifted_ones_are_not():
    logged, honest = some_impressions(users=2000)
    assert score(logged, honest)["ece_click"] < 0.03
    assert score(logged, np.clip(honest + 0.2, 0, 1))["ece_click"] > 0.1


def test_resampling_a_user_twice_is_the_same_as_having_two_of_it():
    logged, predicted = some_impressions(users=6)
    weights = np.array([2.0, 1.0, 0.0, 1.0, 1.0, 3.0])
    users = np.repeat(np.arange(6), weights.astype(int))
    rows = np.concatenate([np.flatnonzero(logged.users == user) for user in users])
    copied = impressions(np.repeat(np.arange(len(users)), 6), logged.labels[rows, 0])
    weighted, whole = Scored(logged, predicted).metrics(weights), score(copied, predicted[rows])
    for name in ("gauc_click", "auc_click", "logloss_click"):
        assert weighted[name] == pytest.approx(whole[name])


def test_differences_are_paired():
    logged, good = some_impressions(users=300)
    noise = predictions(np.random.default_rng(5).random(len(good)))
    models = {"good": [Scored(logged, good)], "same": [Scored(logged, good)], "noise": [Scored(logged, noise)]}
    found = intervals(models, "good", 300, resamples=60, seed=0)
    assert found["same"]["reference_less_row"]["auc_click"] == (0.0, 0.0, 0.0)
    mean, low, high = found["noise"]["reference_less_row"]["auc_click"]
    assert 0 < low < mean < high
    mean, low, high = found["good"]["metrics"]["auc_click"]
    assert low < mean < high


def test_the_interval_of_a_calibrated_models_error_does_not_lie_above_it():
    """A resample's own noise is error too: the percentiles of resampled values lie above the point."""
    rng = np.random.default_rng(3)
    honest = rng.random((3000, 2))
    logged = Impressions(
        np.arange(3000) // 3,
        np.arange(3000) // 3,
        (rng.random((3000, 2)) < honest).astype(float),
        ("click", "skip"),
        UTILITY,
        1000,
    )
    scored = Scored(logged, honest)
    found = intervals({"one": [scored]}, "one", 1000, resamples=100, seed=0)
    mean, low, high = found["one"]["metrics"]["ece_click"]
    resampled = [
        scored.metrics(np.bincount(rng.integers(0, 1000, 1000), minlength=1000).astype(float))["ece_click"]
        for _ in range(100)
    ]
    assert np.median(resampled) > mean
    assert 0 <= low < mean
    assert high < np.quantile(resampled, 0.975)


def test_the_order_is_scored_by_the_utility_that_makes_it():
    """Of a head that alone makes the score, the order's GAUC is its own; of one that the score is against, too."""
    rng = np.random.default_rng(4)
    lists = np.arange(600) // 6
    labels = rng.integers(0, 2, (600, 2)).astype(float)
    predicted = rng.random((600, 2))
    logged = Impressions(lists, lists, labels, ("click", "skip"), {"click": 1.0, "skip": -1e-9}, 100)
    metrics = score(logged, predicted)
    assert metrics["order_gauc_click"] == pytest.approx(metrics["gauc_click"])
    against = Impressions(lists, lists, labels, ("click", "skip"), {"click": 1e-9, "skip": -1.0}, 100)
    assert score(against, predicted)["order_gauc_skip"] == pytest.approx(metrics["gauc_skip"])
