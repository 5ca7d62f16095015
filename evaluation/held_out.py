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
from rankstream.events.sequences import UserSequences, group_by_user
from rankstream.features.join import OfflineFeatures
from rankstream.features.schema import Bools
from rankstream.features.schema import Floats as Vectors
from rankstream.metrics.bootstrap import bootstrap_interval
from rankstream.metrics.probabilities import auc
from rankstream.metrics.ranking import recalls, reciprocal_ranks
from rankstream.models.ranker.examples import NegativesConfig, RankingExample, inputs_of
from rankstream.models.ranker.factored import SplitRanker
from rankstream.models.ranker.training_join import as_of_its_day, offline_features
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
    max_cases: int = 3000  # of each encoder
    max_requests: int = 1000  # of the ranker
    negatives: int = 50  # drawn for each request of the ranker
    seed: int = 0


def figures(models: TrainedModels, log: EventLog, asked: HeldOut) -> Iterator[Figure]:
    """Measure PinnerFormer, HierTCN and the ranker; what has no case gives no figure."""
    sequences = group_by_user(log, models.item_table)
    yield from user_figures(models, sequences.known(), log, asked)
    yield from session_figures(models, sequences, log, asked)
    yield from ranker_figures(models, log, asked)


def user_figures(models: TrainedModels, sequences: UserSequences, log: EventLog, asked: HeldOut) -> Iterator[Figure]:
    """Yield Recall@10 of the positives of the days to come, asked at a quarter, half and three quarters of the time."""
    positives = np.flatnonzero(np.isin(sequences.actions, log.codes_of(models.about.positives)))
    rows = rows_after(sequences, asked.since_ms, (0.25, 0.5, 0.75))
    cases = future_cases(sequences, positives, rows, asked.horizon_ms, models.about.exclude_seen)
    cases = cases.sample(asked.max_cases, asked.seed)
    if not len(cases):
        return
    vectors = models.item_table.vectors
    past = positives[sequences.times_ms[positives] < asked.since_ms]
    ranks = {
        "": _ranks(pinner.user_vectors_at(models.pinnerformer, sequences, models.item_table, cases.rows),
                   pinner.item_vectors_of(models.pinnerformer, models.item_table), cases),
        "last item": _ranks(vectors[sequences.item_rows[cases.rows]], vectors, cases),
        "popularity": answer_ranks(item_counts(sequences, past, len(models.item_table)), cases),
    }  # fmt: skip
    users = sequences.users[cases.rows]
    for k in (10, 50):
        yield _figure("PinnerFormer", f"Recall@{k}", {name: recalls(one, k) for name, one in ranks.items()}, users)


def session_figures(models: TrainedModels, sequences: UserSequences, log: EventLog, asked: HeldOut) -> Iterator[Figure]:
    """Yield recall and reciprocal rank of the next item of the session, asked after each action."""
    rows = np.flatnonzero(sequences.times_ms >= asked.since_ms)
    rows = rows[rows + 1 < len(sequences)]
    rows = rows[~np.isin(sequences.actions[rows + 1], log.codes_of(models.about.negatives))]
    cases = next_item_cases(sequences, rows, models.about.exclude_seen).sample(asked.max_cases, asked.seed)
    if not len(cases):
        return
    item_table = models.item_table
    past = np.flatnonzero((sequences.times_ms < asked.since_ms) & (sequences.item_rows >= 0))
    ranks = {
        "": _ranks(session_vectors_at(models.hiertcn, sequences, item_table, cases.rows), item_table.vectors, cases),
        "last item": _ranks(item_table.padded[sequences.item_rows[cases.rows]], item_table.vectors, cases),
        "popularity": answer_ranks(item_counts(sequences, past, len(item_table)), cases),
    }
    users = sequences.users[cases.rows]
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
    """Yield AUC within a request and HIT@3 of each head: what was acted on among what was shown, or drawn at random."""
    offline = offline_features(log, models, models.ranker.config.sizes.num_actions, asked.since_ms)
    rng = np.random.default_rng(asked.seed)
    drawn = NegativesConfig(asked.negatives, exclude_seen=models.about.exclude_seen)
    recipe = RankerRecipe(models.about.heads, models.about.utility, visits=models.about.visits, negatives=drawn)
    examples = requests_of(log, recipe, offline, rng, asked.since_ms)
    if not recipe.visits:  # among drawn items, being new would tell the answer
        examples = [_of_known_items(one, offline) for one in examples]
    examples = [one for one in examples if _can_be_wrong(one)]
    kept = [examples[at] for at in np.sort(rng.permutation(len(examples))[: asked.max_requests])]
    users = np.array([one.user_key for one in kept], np.uint64)
    split, popular = SplitRanker(models.ranker), models.about.feature_names.index("log_popularity")
    scores = [_scores(split, popular, as_of_its_day(one), offline) for one in kept]
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
    """Return whether some head has both, what it should put first and what it should not; most visits show one item."""
    wanted = example.labels > 0
    return bool((wanted.any(axis=0) & ~wanted.all(axis=0)).any())


def _of_known_items(example: RankingExample, offline: OfflineFeatures) -> RankingExample:
    known = offline.items.look_up(example.candidates)[1]
    return replace(example, candidates=example.candidates[known], labels=example.labels[known])


SCORERS = ("", "popularity")


def _scores(split: SplitRanker, popular: int, example: RankingExample, offline: OfflineFeatures) -> dict[str, Floats]:
    """Return each candidate's score for each head, ``(N, heads)``, by the ranker and by popularity."""
    inputs = inputs_of(example, offline)
    popularity = inputs.candidate_features[:, popular]
    probabilities = split.probabilities(inputs).astype(np.float64)
    return {"": probabilities, "popularity": np.repeat(popularity[:, None], probabilities.shape[1], axis=1)}


def _hit(scores: Floats, wanted: Bools) -> float:
    """Return 1 if a wanted item is among the first three, equal scores counting half for and half against."""
    best = scores[wanted].max()
    others = scores[~wanted]
    return float(np.count_nonzero(others > best) + np.count_nonzero(others == best) / 2 < HIT_K)


def _figure(model: str, measure: str, values: Mapping[str, Floats], users: npt.NDArray[Any]) -> Figure:
    low, high = bootstrap_interval(values[""], users.tolist(), seed=0)
    rivals = {name: float(one.mean()) for name, one in values.items() if name}
    return Figure(model, measure, float(values[""].mean()), low, high, rivals, len(values[""]))
