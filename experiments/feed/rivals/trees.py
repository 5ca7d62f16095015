"""LightGBM over what the product's ranker sees of a candidate: what the network adds to what it is given.

::

    the run's folder -> encoders, tables as of the encoders' cut -> the requests that the ranker was trained on
    request          -> every item that matches + RANDOM random ones -> the product's join -> rows of one list
    booster          -> in place of the bundle's ranker (``Backend``): states, tables and join stay the product's own

A feed's rows are ``candidate_features`` and ``context`` of ``ModelInputs``: popularity and shares of the item, how it
matches what the user did, its similarity to the vectors of user, session and newest actions, the time, the user's
counters. Trained on hard negatives alone, trees order these and put random items above them all, hence the random
ones; whether each negative weighs as many items as it stands for (``log_q``), and the objective, are chosen by
validation, as is the number of trees: NDCG@10 among all items, as the drawn ones stand for them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rankstream.experiments.feed.replayed import variant_of
from rankstream.experiments.feed.rivals.base import Entry
from rankstream.experiments.feed.rivals.on_top import on_top_of
from rankstream.experiments.feed.task import Task
from rankstream.features.files import whole_file
from rankstream.features.join import columns_of_known
from rankstream.features.schema import FeatureSizes, Floats, Ints, ModelInputs
from rankstream.metrics.arrays import Bools
from rankstream.models.ranker.joined import JoinedRequest, JoinedRequests

Doubles = npt.NDArray[np.float64]

RANDOM, EVERY_MATCH = 100, 10_000  # random items of a list, besides all that match
MAX_REQUESTS = 6_000  # drawn at random; of lists that were shown, all
MAX_ROWS = 1_500_000  # of all lists: 400 MB
ROUNDS, PATIENCE = 500, 50  # trees, and trees without a better validation
K = 10


@dataclass(frozen=True)
class Objective:
    """One way to train; the best by validation is taken."""

    name: str  # as LightGBM has it: "lambdarank" is LambdaMART (Burges, 2010), "binary" a classifier
    weighted: bool  # does a negative weigh as many items as it stands for?

    def __str__(self) -> str:
        return f"{self.name}{', negatives weighted' if self.weighted else ''}"


OF_CATALOGUE = (Objective("lambdarank", False), Objective("lambdarank", True), Objective("binary", True))
OF_LISTS = (Objective("lambdarank", False), Objective("binary", False))


@dataclass(frozen=True)
class Lists:
    """Requests as rows, list by list."""

    features: Floats  # (n, G + C)
    wanted: Bools  # (n,)
    stands_for: Doubles  # (n,) items; 1 for those that are there for certain
    sizes: Ints  # (lists,)

    @property
    def slices(self) -> list[slice]:
        """Return the rows of each list."""
        return [slice(start, stop) for start, stop in pairwise([0, *np.cumsum(self.sizes).tolist()])]


class BoosterBackend:
    """A booster's score in place of a ranker's probabilities, ``(N, 1)``."""

    def __init__(self, booster: Any) -> None:
        self.booster = booster

    def score(self, inputs: ModelInputs) -> Floats:
        """Return the score of each candidate by its own row alone."""
        scores: Floats = self.booster.predict(rows_of(inputs), num_threads=1)[:, None].astype(np.float32)
        return scores


def rows_of(inputs: ModelInputs) -> Floats:
    """Return what the trees see of each candidate, ``(N, G + C)``."""
    context = np.broadcast_to(inputs.context, (inputs.num_candidates, len(inputs.context)))
    return np.concatenate([inputs.candidate_features, context], axis=1)


def rank(entry: Entry) -> str:
    """Train, and rank by the product's bundle with the booster in it."""
    booster, note = trained(entry)
    lists, backend = entry.task.log.impressions, BoosterBackend(booster)
    entry.replay([variant_of(entry.row, entry.product, entry.task.cut_ms, lists, backend=backend)])
    return note


def trained(entry: Entry) -> tuple[Any, str]:
    """Return the booster that validates best and a note of all that were tried; what is there is not trained again."""
    import lightgbm  # here, so that the other rows run without it

    model, note = entry.folder / "booster.txt", entry.folder / "note.txt"
    if not model.exists():
        training, validation = lists_of(entry.task, entry.product.folder / "work", entry.seed)
        objectives = OF_LISTS if entry.task.shown else OF_CATALOGUE
        booster, tried = best_of(objectives, training, validation, entry.seed)
        note.write_text(f"{tried}; trained on {len(training.sizes):,} lists of {training.sizes.mean():.0f}")
        with whole_file(model) as beside:
            booster.save_model(beside)
    return lightgbm.Booster(model_file=model), note.read_text()


# What is learned from ------------------------------------------------------------------------------------------------


def lists_of(task: Task, run: Path, seed: int) -> tuple[Lists, Lists]:
    """Return the lists to train on and those to validate with, of the requests that the ranker has."""
    rng, under = np.random.default_rng(seed), on_top_of(task, run)
    recipe, about, sizes = under.recipe.ranker, under.models.about, under.offline.sizes
    among = replace(recipe.negatives, count=RANDOM, matched=EVERY_MATCH)
    requests = under.requests(replace(recipe, negatives=among, max_requests=MAX_REQUESTS, beside_lists=0))
    training, validation = requests.learned, requests.validated
    heads = np.array([about.utility[head] > 0 for head in about.heads])
    hidden = recipe.training.hidden_items
    some = JoinedRequests(training.items, _of_rows(training.requests, MAX_ROWS, rng))
    return as_lists(some, heads, sizes, rng, hidden), as_lists(validation, heads, sizes, rng)


def as_lists(
    requests: JoinedRequests, heads: Bools, sizes: FeatureSizes, rng: np.random.Generator, hidden: float = 0.0
) -> Lists:
    """Return requests as rows, those with something to choose; wanted is what makes one of these ``heads`` true.

    The rows of a list are shuffled: trees order equal scores as they come, and what was acted on comes first. A share
    ``hidden`` of the candidates is made unknown items, as the ranker's are: what is new is to have a score too.
    """
    features, wanted, stands_for = [], [], []
    of_known = np.flatnonzero(columns_of_known(sizes))
    for row, one in enumerate(requests.requests):
        of_list: Bools = np.any(one.labels[:, heads] > 0, axis=1)
        if not 0 < np.count_nonzero(of_list) < len(of_list):
            continue
        order = rng.permutation(len(of_list))
        of_each = np.ones(len(of_list)) if one.log_q is None else np.exp(-one.log_q.astype(np.float64))
        rows = rows_of(requests.inputs(row))
        rows[np.ix_(rng.random(len(rows)) < hidden, of_known)] = 0.0
        features.append(rows[order])
        wanted.append(of_list[order])
        stands_for.append(np.where(of_list, 1.0, of_each)[order])
    counts = np.array([len(one) for one in wanted], np.int64)
    return Lists(np.concatenate(features), np.concatenate(wanted), np.concatenate(stands_for), counts)


def _of_rows(requests: Sequence[JoinedRequest], most: int, rng: np.random.Generator) -> list[JoinedRequest]:
    """Return requests of so many candidates at most, drawn at random."""
    order = rng.permutation(len(requests))
    rows = np.cumsum([len(requests[at].candidates) for at in order.tolist()])
    return [requests[at] for at in order[rows <= most].tolist()]


# Learning -------------------------------------------------------------------------------------------------------------


def best_of(objectives: Sequence[Objective], training: Lists, validation: Lists, seed: int) -> tuple[Any, str]:
    """Return the booster that validates best, and a note of all of them."""
    boosters = {objective: boosted(objective, training, validation, seed) for objective in objectives}
    found = {objective: _validated(booster) for objective, booster in boosters.items()}
    best = max(found, key=lambda objective: found[objective])
    tried = "; ".join(f"{objective}: {value:.3f}" for objective, value in found.items())
    return boosters[best], f"{best}, {boosters[best].best_iteration} trees (validation NDCG@10 of each: {tried})"


def boosted(objective: Objective, training: Lists, validation: Lists, seed: int) -> Any:
    """Return a booster, cut where its validation was best."""
    import lightgbm

    settings = {
        "objective": objective.name,
        "metric": "None",
        "learning_rate": 0.05,
        "num_leaves": 31,
        "min_data_in_leaf": 50,
        "feature_fraction": 0.8,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "seed": seed,
        "deterministic": True,
        "num_threads": 1,
        "verbosity": -1,
    }
    weights = training.stands_for if objective.weighted else None
    data = lightgbm.Dataset(training.features, training.wanted.astype(np.int32), weight=weights, group=training.sizes)
    held_out = data.create_valid(validation.features, validation.wanted.astype(np.int32), group=validation.sizes)
    return lightgbm.train(
        settings,
        data,
        ROUNDS,
        valid_sets=[held_out],
        feval=lambda scores, _: (f"ndcg@{K}", catalogue_ndcg(scores, validation), True),
        callbacks=[lightgbm.early_stopping(PATIENCE, verbose=False)],
    )


def _validated(booster: Any) -> float:
    (of_held_out,) = booster.best_score.values()
    return float(of_held_out[f"ndcg@{K}"])


def catalogue_ndcg(scores: Doubles, lists: Lists) -> float:
    """Return the mean NDCG@10 of the lists' wanted items, each alone among all that the negatives stand for.

    As ``models.ranker.training.served_ndcg`` estimates it; equal scores count half.
    """
    gains: list[float] = []
    for rows in lists.slices:
        mine, others = scores[rows][lists.wanted[rows]], scores[rows][~lists.wanted[rows]]
        stand_for = lists.stands_for[rows][~lists.wanted[rows]]
        above = (others > mine[:, None]) @ stand_for + (others == mine[:, None]) @ stand_for / 2
        gains += np.where(above + 1 <= K, 1 / np.log2(above + 2), 0.0).tolist()
    return sum(gains) / max(1, len(gains))
