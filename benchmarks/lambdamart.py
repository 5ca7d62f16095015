"""What people would score with instead: LightGBM's LambdaMART, 500 trees over the columns that the ranker sees.

Trees take no sequences, so they get the mean vector of the actions' items in the place of the actions. They are trained
on random lists: where a tree splits costs the same whatever it learned, and every tree has all of its leaves.
"""

from collections.abc import Callable
from importlib.util import find_spec

import numpy as np

from rankstream.features.schema import FeatureSizes, Floats, ModelInputs, random_inputs

TREES, LEAVES = 500, 31  # LightGBM's default of leaves
LISTS, LIST_LENGTH = 100, 50  # that it is trained on
ACTIONS = 20
NO_LIGHTGBM = "lightgbm is not installed: pip install lightgbm"


def is_here() -> bool:
    """Return whether LightGBM is installed."""
    return find_spec("lightgbm") is not None


def columns_of(inputs: ModelInputs) -> Floats:
    """Return a row a candidate: its own columns, and beside them the user's, the session's and the request's."""
    shared = (inputs.action_items.mean(axis=0), inputs.user_vector, inputs.session_vector, inputs.context)
    request = np.concatenate(shared)
    repeated = np.broadcast_to(request, (inputs.num_candidates, len(request)))
    return np.concatenate([inputs.candidate_items, inputs.candidate_features, repeated], axis=1)


def lambdamart_scorer(sizes: FeatureSizes, num_types: int, trees: int = TREES) -> Callable[[ModelInputs], Floats]:
    """Train a booster of so many trees, and return what scores a request on one thread."""
    import lightgbm  # here, so that the other scorers are measured without it

    lists = [random_inputs(sizes, ACTIONS, LIST_LENGTH, num_types, seed) for seed in range(LISTS)]
    rows = np.concatenate([columns_of(one) for one in lists])
    labels = np.random.default_rng(0).integers(0, 2, len(rows))
    settings = {"objective": "lambdarank", "num_leaves": LEAVES, "num_threads": 1, "seed": 0, "verbosity": -1}
    data = lightgbm.Dataset(rows, labels, group=[LIST_LENGTH] * LISTS)
    booster = lightgbm.train(settings, data, trees)
    return lambda inputs: np.asarray(booster.predict(columns_of(inputs), num_threads=1), np.float32)[:, None]
