"""How good trained models are on the part of a log that they never saw, each by the metrics of its paper.

A quick evaluation: vectors against all items, requests joined one by one; no broker, no stored states, no delays.
What the whole system would have served is evaluated by ``rankstream replay``. Queries lie after ``since_ms``, and all
actions up to a query are known, as in the stream. Items without a vector can't be ranked and are left out. Only logged
impressions are ranked in the sets that they were shown in.
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
    Queries,
    future_queries,
    item_counts,
    next_item_queries,
    ranks_of_relevant,
    rows_after,
)
from rankstream.models.users import pinnerformer_training as pinner
from rankstream.models.users.time_features import DAY_MS

Floats = npt.NDArray[np.float64]

HIT_K = 3  # TransAct's


@dataclass(frozen=True)
class HeldOutMetric:
    """A model's mean of one metric, and that of baselines without training."""

    model: str
    metric: str
    mean: float
    low: float  # 95 %, bootstrap over users
    high: float
    baselines: dict[str, float]
    queries: int


@dataclass(frozen=True)
class HeldOut:
    """Which queries to put to the models, and how many."""

    since_ms: int  # the models saw nothing from then on
    horizon_ms: int = 14 * DAY_MS  # PinnerFormer's positives: within so long after the query
    max_queries: int = 3000  # of each encoder
    max_requests: int = 1000  # of the ranker
    negatives: int = 50  # sampled for each request of the ranker
    seed: int = 0


def held_out_metrics(models: TrainedModels, log: EventLog, held_out: HeldOut) -> Iterator[HeldOutMetric]:
    """Yield the metrics of PinnerFormer, HierTCN and the ranker; one without a query has none."""
    sequences = group_by_user(log, models.item_table)
    yield from user_metrics(models, sequences.known(), log, held_out)
    yield from session_metrics(models, sequences, log, held_out)
    yield from ranker_metrics(models, log, held_out)


def user_metrics(
    models: TrainedModels, sequences: UserSequences, log: EventLog, held_out: HeldOut
) -> Iterator[HeldOutMetric]:
    """Yield Recall@10 of the positives of the next days, queried after 25, 50 and 75 % of each user's actions."""
    positives = np.flatnonzero(np.isin(sequences.actions, log.codes_of(models.about.positives)))
    rows = rows_after(sequences, held_out.since_ms, (0.25, 0.5, 0.75))
    queries = future_queries(sequences, positives, rows, held_out.horizon_ms, models.about.exclude_seen)
    queries = queries.sample(held_out.max_queries, held_out.seed)
    if not len(queries):
        return
    vectors = models.item_table.vectors
    past = positives[sequences.times_ms[positives] < held_out.since_ms]
    ranks = {
        "": _ranks(pinner.user_vectors_at(models.pinnerformer, sequences, models.item_table, queries.rows),
                   pinner.item_vectors_of(models.pinnerformer, models.item_table), queries),
        "last item": _ranks(vectors[sequences.item_rows[queries.rows]], vectors, queries),
        "popularity": ranks_of_relevant(item_counts(sequences, past, len(models.item_table)), queries),
    }  # fmt: skip
    users = sequences.users[queries.rows]
    for k in (10, 50):
        yield _metric("PinnerFormer", f"Recall@{k}", {name: recalls(one, k) for name, one in ranks.items()}, users)


def session_metrics(
    models: TrainedModels, sequences: UserSequences, log: EventLog, held_out: HeldOut
) -> Iterator[HeldOutMetric]:
    """Yield recall and reciprocal rank of the next item of the session, held_out after each action."""
    rows = np.flatnonzero(sequences.times_ms >= held_out.since_ms)
    rows = rows[rows + 1 < len(sequences)]
    rows = rows[~np.isin(sequences.actions[rows + 1], log.codes_of(models.about.negatives))]
    queries = next_item_queries(sequences, rows, models.about.exclude_seen).sample(held_out.max_queries, held_out.seed)
    if not len(queries):
        return
    item_table = models.item_table
    past = np.flatnonzero((sequences.times_ms < held_out.since_ms) & (sequences.item_rows >= 0))
    ranks = {
        "": _ranks(
            session_vectors_at(models.hiertcn, sequences, item_table, queries.rows), item_table.vectors, queries
        ),
        "last item": _ranks(item_table.padded[sequences.item_rows[queries.rows]], item_table.vectors, queries),
        "popularity": ranks_of_relevant(item_counts(sequences, past, len(item_table)), queries),
    }
    users = sequences.users[queries.rows]
    for k in (1, 5, 10):
        yield _metric("HierTCN", f"Recall@{k}", {name: recalls(one, k) for name, one in ranks.items()}, users)
    yield _metric("HierTCN", "MRR", {name: reciprocal_ranks(one) for name, one in ranks.items()}, users)


def _ranks(vectors: Vectors, items: Vectors, queries: Queries, at_once: int = 256) -> list[Floats]:
    """Rank by dot products, some queries at a time: all scores at once would not fit into memory."""
    ranks: list[Floats] = []
    for at in range(0, len(queries), at_once):
        which = np.arange(at, min(at + at_once, len(queries)))
        ranks += ranks_of_relevant(vectors[which] @ items.T, queries.take(which))
    return ranks


def ranker_metrics(models: TrainedModels, log: EventLog, held_out: HeldOut) -> Iterator[HeldOutMetric]:
    """Yield AUC within a request and HIT@3 of each head, among logged impressions or sampled negatives."""
    offline = offline_features(log, models, models.ranker.config.sizes.num_actions, held_out.since_ms)
    rng = np.random.default_rng(held_out.seed)
    negatives = NegativesConfig(held_out.negatives, exclude_seen=models.about.exclude_seen)
    recipe = RankerRecipe(
        models.about.heads, models.about.utility, impressions=models.about.impressions, negatives=negatives
    )
    examples = requests_of(log, recipe, offline, rng, held_out.since_ms)
    if not recipe.impressions:  # among sampled items, being unknown would leak the label
        examples = [_of_known_items(one, offline) for one in examples]
    examples = [one for one in examples if _has_both(one)]
    kept = [examples[at] for at in np.sort(rng.permutation(len(examples))[: held_out.max_requests])]
    users = np.array([one.user_key for one in kept], np.uint64)
    split, popular = SplitRanker(models.ranker), models.about.feature_names.index("log_popularity")
    scores = [_scores(split, popular, as_of_its_day(one), offline) for one in kept]
    for column, head in enumerate(models.about.heads):
        positive = [one.labels[:, column] > 0 for one in kept]
        kept_for_head = [at for at, mine in enumerate(positive) if mine.any() and not mine.all()]
        for metric, of in (("AUC", auc), (f"HIT@{HIT_K}", _hit)):
            values = {
                name: np.array([of(scores[at][name][:, column], positive[at]) for at in kept_for_head])
                for name in SCORERS
            }
            if kept_for_head:
                yield _metric("ranker", f"{metric} {head}", values, users[kept_for_head])


def _has_both(example: RankingExample) -> bool:
    """Return whether some head has both positives and negatives; most sessions show one item."""
    positive = example.labels > 0
    return bool((positive.any(axis=0) & ~positive.all(axis=0)).any())


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


def _hit(scores: Floats, positive: Bools) -> float:
    """Return 1 if a positive is among the first three, else 0; equal scores count half."""
    best = scores[positive].max()
    others = scores[~positive]
    return float(np.count_nonzero(others > best) + np.count_nonzero(others == best) / 2 < HIT_K)


def _metric(model: str, metric: str, values: Mapping[str, Floats], users: npt.NDArray[Any]) -> HeldOutMetric:
    low, high = bootstrap_interval(values[""], users.tolist(), seed=0)
    baselines = {name: float(one.mean()) for name, one in values.items() if name}
    return HeldOutMetric(model, metric, float(values[""].mean()), low, high, baselines, len(values[""]))
