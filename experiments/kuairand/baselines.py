"""The ranker's baselines: random order, an item's own rates, and LightGBM on counters, which is what Metarank does."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from rankstream.events.public.kuairand import HEADS, UTILITY
from rankstream.experiments.kuairand.request_cache import RequestCache

Doubles = npt.NDArray[np.float64]
Predict = Callable[[RequestCache], Doubles]  # a cache -> (N, heads)

RATES = {"click": 2, "long_view": 3, "like": 4, "skip": 5}  # columns of kuairand.KuaiRand.features_at
NEWEST = 10  # actions whose types are counted separately: what the user did last
ROUNDS = 200


def at_random(seed: int) -> Predict:
    """Predict at random: the metrics of a random order."""

    def predict(requests: RequestCache) -> Doubles:
        return np.random.default_rng(seed).random((len(requests.labels), len(requests.heads)))

    return predict


def popularity(train: RequestCache) -> Predict:
    """Predict the item's rate over all users, as of the end of training."""
    usual = np.asarray(train.labels, np.float64).mean(0).clip(1e-6, 1 - 1e-6)

    def predict(requests: RequestCache) -> Doubles:
        features = np.asarray(requests.columns["candidate_features"], np.float64)[requests.shown]
        rates = features[:, [RATES[head] for head in HEADS]]
        probabilities: Doubles = 1.0 / (1.0 + np.exp(-np.log(usual / (1 - usual)) - rates))
        return probabilities

    return predict


def counters(cache: RequestCache, num_types: int) -> npt.NDArray[np.float32]:
    """Return the counters of each impression, ``(N, F)``: of item, user and newest actions, and the time.

    It counts as many actions as the rankers see.
    """
    types = np.asarray(cache.columns["action_types"], np.int64)
    written = len(cache.counts)
    request = np.repeat(np.arange(written), cache.counts[:, 0])
    index = np.arange(len(types)) - np.repeat(cache.action_starts[:-1], cache.counts[:, 0])
    seen = index < cache.num_actions
    whole = _shares(request[seen], types[seen], written, num_types)
    newest = _shares(request[index < NEWEST], types[index < NEWEST], written, num_types)
    user = np.concatenate([np.asarray(cache.columns["contexts"]), whole, newest], axis=1)
    of = np.repeat(cache.states, cache.sizes_of)
    items = np.asarray(cache.columns["candidate_features"])[cache.shown]
    return np.concatenate([items, user[of]], axis=1).astype(np.float32)


def _shares(request: npt.NDArray[Any], types: npt.NDArray[Any], requests: int, num_types: int) -> Doubles:
    """Return the share of each action type in each request's history, ``(requests, types)``."""
    cells = np.bincount(request * num_types + types - 1, minlength=requests * num_types)
    counts = cells.reshape(requests, num_types).astype(np.float64)
    shares: Doubles = counts / np.maximum(counts.sum(1, keepdims=True), 1.0)
    return shares


def lambdamart(days: RequestCache, num_types: int, seed: int) -> Predict:
    """Train LambdaMART on lists of a day; its score stands for every head.

    Its score orders a list and is no probability: only metrics of the final order are meaningful. The head of skips
    gets it negated.
    """
    weights = np.array([UTILITY[head] for head in HEADS])
    gains = np.rint(np.maximum(np.asarray(days.labels) @ weights, 0)).astype(np.int64)
    model = _boosted("lambdarank", counters(days, num_types), gains, seed, groups=days.sizes_of)

    def predict(requests: RequestCache) -> Doubles:
        scores = np.asarray(model.predict(counters(requests, num_types), num_threads=1))
        return np.stack([scores * np.sign(weight) for weight in weights], axis=1)

    return predict


def classifiers(train: RequestCache, num_types: int, seed: int) -> Predict:
    """Train a boosted classifier a head on the same counters; it predicts probabilities."""
    features, labels = counters(train, num_types), np.asarray(train.labels)
    models = [_boosted("binary", features, labels[:, head], seed) for head in range(len(HEADS))]

    def predict(requests: RequestCache) -> Doubles:
        features = counters(requests, num_types)
        return np.stack([np.asarray(model.predict(features, num_threads=1)) for model in models], axis=1)

    return predict


def _boosted(
    objective: str, features: npt.NDArray[Any], labels: npt.NDArray[Any], seed: int, groups: Any = None
) -> Any:
    import lightgbm  # here, so that the other rows run without it

    settings = {
        "objective": objective,
        "learning_rate": 0.05,
        "num_leaves": 15,
        "min_data_in_leaf": 100,
        "feature_fraction": 0.8,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "seed": seed,
        "num_threads": 1,
        "verbosity": -1,
    }
    return lightgbm.train(settings, lightgbm.Dataset(features, np.ascontiguousarray(labels), group=groups), ROUNDS)
