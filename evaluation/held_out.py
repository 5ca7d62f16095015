"""How good trained models are on the part of a log that they never saw, each by the measure of its paper.

Quick: vectors against a catalogue, requests joined one by one; no broker, no state, no delays. What the whole system
would have served is ``replay.py``'s to say. Everybody is asked at moments after ``since_ms``, knowing all that was done
until then, as the stream would. Items that the models never saw can be found by nobody and are left out; only what was
shown in a visit is ranked as it was shown.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from rankstream.events.log import EventLog
from rankstream.events.sequences import Timelines, timelines_of
from rankstream.features.join import Joinable, join
from rankstream.features.schema import Bools
from rankstream.features.schema import Floats as Vectors
from rankstream.metrics.bootstrap import bootstrap_interval
from rankstream.metrics.probabilities import auc
from rankstream.metrics.ranking import recalls, reciprocal_ranks
from rankstream.models.ranker.examples import NegativesConfig, RankingExample
from rankstream.models.ranker.factored import SplitRanker
from rankstream.models.ranker.training_join import as_of_its_day, joinable
from rankstream.models.recipes.bundle import RankerRecipe, requests_of
from rankstream.models.recipes.run_folder import TrainedModels
from rankstream.models.sessions.sessionize import session_vectors_at
from rankstream.models.training.holdout import (
    Cases,
    answer_ranks,
    future_cases,
    item_counts,
    next_item_cases,
    rows_after,
)
from rankstream.models.users import pinnerformer_training as pinner
from rankstream.models.users.time_features import DAY_MS

Floats = npt.NDArray[np.float64]

HIT_K = 3  # TransAct's


@dataclass(frozen=True)
class Figure:
    """A model's mean of one measure, and what needs no learning beside it."""

    model: str
    measure: str
    mean: float
    low: float  # 95 %, users drawn anew
    high: float
    rivals: dict[str, float]
    cases: int


@dataclass(frozen=True)
class HeldOut:
    """Where and how much to ask."""

    since_ms: int  # the models saw nothing from then on
    horizon_ms: int = 14 * DAY_MS  # PinnerFormer's positives: of so long after the moment
    most_cases: int = 3000  # of each encoder
    most_requests: int = 1000  # of the ranker
    negatives: int = 50  # drawn for each request of the ranker
    seed: int = 0


def figures(models: TrainedModels, log: EventLog, asked: HeldOut) -> Iterator[Figure]:
    """Measure PinnerFormer, HierTCN and the ranker; what has no case gives no figure."""
    timelines = timelines_of(log, models.catalogue)
    yield from user_figures(models, timelines.known(), log, asked)
    yield from session_figures(models, timelines, log, asked)
    yield from ranker_figures(models, log, asked)


def user_figures(models: TrainedModels, timelines: Timelines, log: EventLog, asked: HeldOut) -> Iterator[Figure]:
    """Give Recall@10 of the positives of the days to come, asked at a quarter, half and three quarters of the time."""
    positives = np.flatnonzero(np.isin(timelines.actions, log.codes_of(models.about.positives)))
    rows = rows_after(timelines, asked.since_ms, (0.25, 0.5, 0.75))
    cases = future_cases(timelines, positives, rows, asked.horizon_ms, models.about.exclude_seen)
    cases = cases.sample(asked.most_cases, asked.seed)
    if not len(cases):
        return
    vectors = models.catalogue.vectors
    past = positives[timelines.times_ms[positives] < asked.since_ms]
    ranks = {
        "": _ranks(pinner.user_vectors_at(models.pinnerformer, timelines, models.catalogue, cases.rows),
                   pinner.item_vectors_of(models.pinnerformer, models.catalogue), cases),
        "last item": _ranks(vectors[timelines.item_rows[cases.rows]], vectors, cases),
        "popularity": answer_ranks(item_counts(timelines, past, len(models.catalogue)), cases),
    }  # fmt: skip
    users = timelines.users[cases.rows]
    for k in (10, 50):
        yield _figure("PinnerFormer", f"Recall@{k}", {name: recalls(one, k) for name, one in ranks.items()}, users)


def session_figures(models: TrainedModels, timelines: Timelines, log: EventLog, asked: HeldOut) -> Iterator[Figure]:
    """Give recall and reciprocal rank of the next item of the session, asked after each action."""
    rows = np.flatnonzero(timelines.times_ms >= asked.since_ms)
    rows = rows[rows + 1 < len(timelines)]
    rows = rows[~np.isin(timelines.actions[rows + 1], log.codes_of(models.about.negatives))]
    cases = next_item_cases(timelines, rows, models.about.exclude_seen).sample(asked.most_cases, asked.seed)
    if not len(cases):
        return
    catalogue = models.catalogue
    past = np.flatnonzero((timelines.times_ms < asked.since_ms) & (timelines.item_rows >= 0))
    ranks = {
        "": _ranks(session_vectors_at(models.hiertcn, timelines, catalogue, cases.rows), catalogue.vectors, cases),
        "last item": _ranks(catalogue.padded[timelines.item_rows[cases.rows]], catalogue.vectors, cases),
        "popularity": answer_ranks(item_counts(timelines, past, len(catalogue)), cases),
    }
    users = timelines.users[cases.rows]
    for k in (1, 5, 10):
        yield _figure("HierTCN", f"Recall@{k}", {name: recalls(one, k) for name, one in ranks.items()}, users)
    yield _figure("HierTCN", "MRR", {name: reciprocal_ranks(one) for name, one in ranks.items()}, users)


def _ranks(queries: Vectors, items: Vectors, cases: Cases, at_once: int = 256) -> list[Floats]:
    """Rank by dot products, some cases at a time: all scores at once would not fit."""
    ranks: list[Floats] = []
    for at in range(0, len(cases), at_once):
        which = np.arange(at, min(at + at_once, len(cases)))
        ranks += answer_ranks(queries[which] @ items.T, cases.take(which))
    return ranks


def ranker_figures(models: TrainedModels, log: EventLog, asked: HeldOut) -> Iterator[Figure]:
    """Give AUC within a request and HIT@3 of each head: what was acted on among what was shown, or drawn at random."""
    batch = joinable(log, models, models.ranker.config.sizes.num_actions, asked.since_ms)
    chance = np.random.default_rng(asked.seed)
    drawn = NegativesConfig(asked.negatives, avoid_seen=models.about.exclude_seen)
    recipe = RankerRecipe(models.about.heads, models.about.utility, visits=models.about.visits, negatives=drawn)
    examples = requests_of(log, recipe, batch, chance, asked.since_ms)
    if not recipe.visits:  # among drawn items, being new would tell the answer
        examples = [_of_known_items(one, batch) for one in examples]
    examples = [one for one in examples if _can_be_wrong(one)]
    kept = [examples[at] for at in np.sort(chance.permutation(len(examples))[: asked.most_requests])]
    users = np.array([one.user_key for one in kept], np.uint64)
    split, popular = SplitRanker(models.ranker), models.about.feature_names.index("log_popularity")
    scores = [_scores(split, popular, as_of_its_day(one), batch) for one in kept]
    for column, head in enumerate(models.about.heads):
        wanted = [one.labels[:, column] > 0 for one in kept]
        asking = [at for at, mine in enumerate(wanted) if mine.any() and not mine.all()]
        for measure, of in (("AUC", auc), (f"HIT@{HIT_K}", _hit)):
            values = {
                name: np.array([of(scores[at][name][:, column], wanted[at]) for at in asking]) for name in SCORERS
            }
            if asking:
                yield _figure("ranker", f"{measure} {head}", values, users[asking])


def _can_be_wrong(example: RankingExample) -> bool:
    """Say whether some head has both, what it should put first and what it should not; most visits show one item."""
    wanted = example.labels > 0
    return bool((wanted.any(axis=0) & ~wanted.all(axis=0)).any())


def _of_known_items(example: RankingExample, batch: Joinable) -> RankingExample:
    known = batch.items.look_up(example.candidates)[1]
    return replace(example, candidates=example.candidates[known], labels=example.labels[known])


SCORERS = ("", "popularity")


def _scores(split: SplitRanker, popular: int, example: RankingExample, batch: Joinable) -> dict[str, Floats]:
    """Give each candidate's score for each head, ``(N, heads)``, by the ranker and by popularity."""
    inputs = join(example.state, example.user_key, example.candidates, example.now_ms, batch)
    popularity = inputs.candidate_features[:, popular]
    probabilities = split.probabilities(inputs).astype(np.float64)
    return {"": probabilities, "popularity": np.repeat(popularity[:, None], probabilities.shape[1], axis=1)}


def _hit(scores: Floats, wanted: Bools) -> float:
    """Give 1 if a wanted item is among the first three, equal scores counting half for and half against."""
    best = scores[wanted].max()
    others = scores[~wanted]
    return float(np.count_nonzero(others > best) + np.count_nonzero(others == best) / 2 < HIT_K)


def _figure(model: str, measure: str, values: Mapping[str, Floats], users: npt.NDArray[Any]) -> Figure:
    low, high = bootstrap_interval(values[""], users.tolist(), seed=0)
    rivals = {name: float(one.mean()) for name, one in values.items() if name}
    return Figure(model, measure, float(values[""].mean()), low, high, rivals, len(values[""]))
