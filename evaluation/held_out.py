"""How good trained models are on the part of a log that they never saw, each by the metrics of its paper.

A quick evaluation: vectors against all items, requests joined one by one; no broker, no stored states, no delays.
What the whole system would have served is evaluated by ``rankstream replay``. Queries lie after ``since_ms``, and all
actions up to a query are known, as in the stream: to the models and to the baselines (``baselines/``), which go on
learning. Items without a vector can't be ranked by anybody: where they are relevant, they are misses, and counted. Only
logged impressions are ranked in the sets that they were shown in. Equal scores count half.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from rankstream.evaluation.baselines.base import NOTHING
from rankstream.evaluation.baselines.held_out_log import HeldOutScores, Moment, numbered, scores_at
from rankstream.evaluation.baselines.panel import Asked
from rankstream.evaluation.baselines.popularity import POPULARITY
from rankstream.evaluation.replay.summary import unresampled
from rankstream.events.log import EventLog
from rankstream.events.sequences import UserSequences, group_by_user
from rankstream.features.ids import Id, id_key, id_keys
from rankstream.features.join import OfflineFeatures
from rankstream.features.schema import Bools
from rankstream.features.schema import Floats as Vectors
from rankstream.metrics.arrays import Ints
from rankstream.metrics.bootstrap import bootstrap_interval
from rankstream.metrics.probabilities import auc
from rankstream.metrics.ranking import Ranks, recalls, reciprocal_ranks
from rankstream.models.ranker.examples import NegativesConfig, RankingExample, inputs_of
from rankstream.models.ranker.factored import SplitRanker
from rankstream.models.ranker.training_join import as_of_its_day, offline_features
from rankstream.models.recipes.bundle import RankerRecipe
from rankstream.models.recipes.ranker_requests import requests_of
from rankstream.models.recipes.run_folder import TrainedModels
from rankstream.models.sessions.sessionize import session_vectors_at
from rankstream.models.training.holdout import Queries, future_queries, next_item_queries, ranks_of_relevant, rows_after
from rankstream.models.users import pinnerformer_training as pinner
from rankstream.models.users.time_features import DAY_MS

Floats = npt.NDArray[np.float64]

HIT_K = 3  # TransAct's
LAST_ITEM = "last item's vector"
MODEL = ""  # the name of the model's own values, beside those of the baselines


@dataclass(frozen=True)
class Estimate:
    """A mean over queries, with its 95 % interval: bootstrap over users."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class HeldOutMetric:
    """A model's mean of one metric, beside those of baselines that need no training."""

    model: str
    metric: str
    mean: float
    low: float  # 95 %, bootstrap over users
    high: float
    queries: int
    unknown: int  # relevant items of these queries that have no vector: misses of every ranker
    baselines: dict[str, Estimate]
    best_baseline: str  # the one with the highest mean on these very queries, which favours it a little
    ahead: Estimate  # of the best baseline, paired by query
    verdict: str  # in words


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
    yield from user_metrics(models, log, held_out)
    yield from session_metrics(models, log, held_out)
    yield from ranker_metrics(models, log, held_out)


# Encoders: all items --------------------------------------------------------------------------------------------------


def user_metrics(models: TrainedModels, log: EventLog, held_out: HeldOut) -> Iterator[HeldOutMetric]:
    """Yield Recall@k of the positives of the next days, queried after 25, 50 and 75 % of each user's actions."""
    table, everything = models.item_table, _with_unknown_items(models, log)
    sequences = group_by_user(log, table)
    known_rows, known = np.flatnonzero(sequences.item_rows >= 0), sequences.known()
    positives = np.flatnonzero(np.isin(everything.actions, log.codes_of(models.about.positives)))
    rows = known_rows[rows_after(known, held_out.since_ms, (0.25, 0.5, 0.75))]
    queries = future_queries(everything, positives, rows, held_out.horizon_ms, models.about.exclude_seen)
    queries = queries.sample(held_out.max_queries, held_out.seed)
    if not len(queries):
        return
    moments = [
        Moment(everything.user_ids[everything.users[row]], int(everything.times_ms[row]) + 1) for row in queries.rows
    ]
    rows = np.searchsorted(known_rows, queries.rows)
    found = _Ranked(queries, len(table))
    ranks = {
        MODEL: found.by_vectors(
            pinner.user_vectors_at(models.pinnerformer, known, table, rows),
            pinner.item_vectors_of(models.pinnerformer, table),
        ),
        LAST_ITEM: found.by_vectors(table.vectors[known.item_rows[rows]], table.vectors),
    } | found.by_baselines(_scores_at(models, log, moments))
    users = everything.users[queries.rows]
    for k in (10, 50):
        values = {name: recalls(one, k) for name, one in ranks.items()}
        yield _metric("PinnerFormer", f"Recall@{k}", values, users, found.unknown)


def session_metrics(models: TrainedModels, log: EventLog, held_out: HeldOut) -> Iterator[HeldOutMetric]:
    """Yield recall and reciprocal rank of the next item of the session, queried after each action."""
    table, everything = models.item_table, _with_unknown_items(models, log)
    rows = np.flatnonzero(everything.times_ms >= held_out.since_ms)
    rows = rows[rows + 1 < len(everything)]
    rows = rows[~np.isin(everything.actions[rows + 1], log.codes_of(models.about.negatives))]
    queries = next_item_queries(everything, rows, models.about.exclude_seen)
    queries = queries.sample(held_out.max_queries, held_out.seed)
    if not len(queries):
        return
    sequences, starts = group_by_user(log, table), everything.session_starts()
    moments = [_before_next(everything, starts, int(row)) for row in queries.rows]
    found = _Ranked(queries, len(table))
    ranks = {
        MODEL: found.by_vectors(session_vectors_at(models.hiertcn, sequences, table, queries.rows), table.vectors),
        LAST_ITEM: found.by_vectors(table.padded[sequences.item_rows[queries.rows]], table.vectors),
    } | found.by_baselines(_scores_at(models, log, moments))
    users = everything.users[queries.rows]
    for k in (1, 5, 10):
        values = {name: recalls(one, k) for name, one in ranks.items()}
        yield _metric("HierTCN", f"Recall@{k}", values, users, found.unknown)
    values = {name: reciprocal_ranks(one) for name, one in ranks.items()}
    yield _metric("HierTCN", "MRR", values, users, found.unknown)


def _with_unknown_items(models: TrainedModels, log: EventLog) -> UserSequences:
    """Return the log by user; items without a vector are numbered after the item table's."""
    rows = numbered(log.item_keys[log.by_user.order], id_keys(models.item_table.ids.tolist()))
    return replace(group_by_user(log, models.item_table), item_rows=rows)


def _before_next(sequences: UserSequences, starts: Ints, row: int) -> Moment:
    """Return what is known after a row: the user's items up to it, and what others did before the next one."""
    first = int(sequences.starts[sequences.users[row]])
    session = max(first, int(starts[np.searchsorted(starts, row, side="right") - 1]))
    newest_first = sequences.item_rows[first : row + 1][::-1]
    items = newest_first[np.sort(np.unique(newest_first, return_index=True)[1])]
    in_session = len(np.unique(sequences.item_rows[session : row + 1]))
    at_ms, next_ms = (int(one) for one in sequences.times_ms[row : row + 2])
    user_id: Id = sequences.user_ids[sequences.users[row]]
    return Moment(user_id, min(at_ms + 1, next_ms), items, in_session)


def _scores_at(models: TrainedModels, log: EventLog, moments: Sequence[Moment]) -> HeldOutScores:
    keys = id_keys(models.item_table.ids.tolist())
    positives = sum(1 << int(code) for code in log.codes_of(models.about.positives))
    return scores_at(log, moments, keys, positives, models.about.impressions and log.impressions is None)


class _Ranked:
    """The ranks of the relevant items of queries among all that have a vector; infinite for those without one."""

    def __init__(self, queries: Queries, items: int) -> None:
        self.unknown = np.array([np.count_nonzero(one >= items) for one in queries.relevant], np.int64)
        self.items = items
        self.queries = Queries(
            queries.rows,
            tuple(one[one < items] for one in queries.relevant),
            tuple(one[one < items] for one in queries.excluded),
        )

    def by_vectors(self, vectors: Vectors, items: Vectors, at_once: int = 256) -> list[Ranks]:
        """Rank by dot products, some queries at a time: all scores at once would not fit into memory."""
        ranks: list[Ranks] = []
        for at in range(0, len(self.queries), at_once):
            which = np.arange(at, min(at + at_once, len(self.queries)))
            ranks += ranks_of_relevant(vectors[which] @ items.T, self.queries.take(which))
        return self._with_unknown(ranks)

    def by_baselines(self, scores: HeldOutScores) -> dict[str, list[Ranks]]:
        """Rank by each baseline; equal scores by popularity, and where that is equal too, they count half."""
        rows = np.arange(self.items)
        ranks: dict[str, list[Ranks]] = {name: [] for name in scores.names()}
        for number, asked in enumerate(scores.asked):
            others = np.ones(self.items, np.bool_)
            others[self.queries.relevant[number]] = others[self.queries.excluded[number]] = False
            popular = asked.scores[POPULARITY].of(rows)
            for name, found in ranks.items():
                one = asked.scores[name].of(rows)
                found.append(_half_ranks(self.queries.relevant[number], others, one, popular))
        return {name: self._with_unknown(found) for name, found in ranks.items()}

    def _with_unknown(self, ranks: Sequence[Ranks]) -> list[Ranks]:
        return [np.append(one, np.full(more, np.inf)) for one, more in zip(ranks, self.unknown.tolist(), strict=True)]


def _half_ranks(relevant: Ints, others: Bools, scores: Floats, second: Floats) -> Ranks:
    """Return how many of the others rank before each relevant item, from 0, equal ones counting half."""
    ranks = np.zeros(len(relevant))
    for number, row in enumerate(relevant.tolist()):
        equal = others & (scores == scores[row])
        before = np.count_nonzero(others & (scores > scores[row])) + np.count_nonzero(equal & (second > second[row]))
        ranks[number] = before + np.count_nonzero(equal & (second == second[row])) / 2
    return ranks


# The ranker: the candidates of a request ------------------------------------------------------------------------------


def ranker_metrics(models: TrainedModels, log: EventLog, held_out: HeldOut) -> Iterator[HeldOutMetric]:
    """Yield AUC within a request and HIT@3 of each head, among logged impressions or sampled negatives."""
    offline = offline_features(log, models, models.ranker.config.sizes, held_out.since_ms)
    rng = np.random.default_rng(held_out.seed)
    negatives = NegativesConfig(held_out.negatives, matched=0, exclude_seen=models.about.exclude_seen)
    recipe = RankerRecipe(
        models.about.heads, models.about.utility, impressions=models.about.impressions, negatives=negatives
    )
    examples = requests_of(log, recipe, offline, rng, held_out.since_ms)
    if not recipe.impressions:
        examples = [_without_unknown_negatives(one, offline) for one in examples]
    examples = [one for one in examples if _has_both(one)]
    kept = [examples[at] for at in np.sort(rng.permutation(len(examples))[: held_out.max_requests])]
    if not kept:
        return
    users = np.array([one.user_key for one in kept], np.uint64)
    ids = {id_key(one): one for one in log.by_user.user_ids.tolist()}
    if log.impressions is not None:
        ids |= dict(zip(log.impressions.user_keys.tolist(), log.impressions.user_ids.tolist(), strict=True))
    moments = [Moment(ids[one.user_key], one.now_ms) for one in kept]
    answers = _scores_at(models, log, moments)
    ranked = _RankedRequests(models, offline, answers)
    scores = [ranked.scores(one, asked) for one, asked in zip(kept, answers.asked, strict=True)]
    for column, head in enumerate(models.about.heads):
        positive = [one.labels[:, column] > 0 for one in kept]
        chosen = [at for at, mine in enumerate(positive) if mine.any() and not mine.all()]
        unknown = np.array([np.count_nonzero(positive[at] & ~ranked.known(kept[at])) for at in chosen], np.int64)
        for metric, of in (("AUC", auc), (f"HIT@{HIT_K}", _hit)):
            values = {
                name: np.array([of(scores[at][name][:, column], positive[at]) for at in chosen])
                for name in (MODEL, *answers.names())
            }
            if chosen:
                yield _metric("ranker", f"{metric} {head}", values, users[chosen], unknown)


def _has_both(example: RankingExample) -> bool:
    """Return whether some head has both positives and negatives; most sessions show one item."""
    positive = example.labels > 0
    return bool((positive.any(axis=0) & ~positive.all(axis=0)).any())


def _without_unknown_negatives(example: RankingExample, offline: OfflineFeatures) -> RankingExample:
    """Leave out sampled items without a vector; what was acted on stays, and is missed if it has none."""
    kept = offline.items.look_up(example.candidates)[1] | (example.labels > 0).any(axis=1)
    return replace(example, candidates=example.candidates[kept], labels=example.labels[kept])


class _RankedRequests:
    """The scores of the candidates of requests, by the ranker and by each baseline."""

    def __init__(self, models: TrainedModels, offline: OfflineFeatures, answers: HeldOutScores) -> None:
        self.split, self.offline, self.names = SplitRanker(models.ranker), offline, answers.names()
        self.impressions, self.rows_of = models.about.impressions, answers.items.rows_of

    def known(self, example: RankingExample) -> Bools:
        """Return which candidates can be ranked: all that were shown, else those with a vector."""
        if self.impressions:  # a worker ranks what it is asked to, by what else is known
            return np.ones(len(example.candidates), np.bool_)
        found: Bools = self.offline.items.look_up(example.candidates)[1]
        return found

    def scores(self, example: RankingExample, asked: Asked) -> dict[str, Floats]:
        """Return each candidate's score for each head, ``(N, heads)``; what has no vector has the lowest of all."""
        known = self.known(example)[:, None]
        mine = self.split.probabilities(inputs_of(as_of_its_day(example), self.offline)).astype(np.float64)
        rows = self.rows_of(example.candidates)
        popular = asked.scores.get(POPULARITY, NOTHING).of(rows)
        found = {MODEL: np.where(known, mine, -np.inf)}
        for name in self.names:
            ordered = _in_two(asked.scores[name].of(rows), popular)[:, None]
            found[name] = np.where(known, np.repeat(ordered, mine.shape[1], axis=1), -np.inf)
        return found


def _in_two(first: Floats, second: Floats) -> Floats:
    """Return scores ``(N,)`` that order by the first, and where it is equal, by the second."""
    pairs = np.stack([first, second], axis=1)
    return np.unique(pairs, axis=0, return_inverse=True)[1].ravel().astype(np.float64)


def _hit(scores: Floats, positive: Bools) -> float:
    """Return 1 if a positive is among the first three, else 0; equal scores count half, the lowest of all is a miss."""
    best = scores[positive].max()
    others = scores[~positive]
    before = np.count_nonzero(others > best) + np.count_nonzero(others == best) / 2
    return float(before < HIT_K and np.isfinite(best))


# In numbers and words -------------------------------------------------------------------------------------------------


def _metric(
    model: str, metric: str, values: Mapping[str, Floats], users: npt.NDArray[np.integer], unknown: Ints
) -> HeldOutMetric:
    mine = _estimate(values[MODEL], users)
    baselines = {name: _estimate(one, users) for name, one in values.items() if name != MODEL}
    best = max(baselines, key=lambda name: baselines[name].mean)
    ahead = _ahead(values[MODEL], values[best], users)
    return HeldOutMetric(
        model, metric, mine.mean, mine.low, mine.high, len(users), int(unknown.sum()), baselines, best, ahead,
        verdict_of(model, metric, best, len(baselines), ahead),
    )  # fmt: skip


def _ahead(mine: Floats, theirs: Floats, users: npt.NDArray[np.integer]) -> Estimate:
    """Return the mean difference, paired by query, with an interval that is wider where one side never varies."""
    found, names = _estimate(mine - theirs, users), users.astype(str).tolist()
    (my_low, my_high), (low, high) = unresampled(mine, names), unresampled(theirs, names)
    return Estimate(found.mean, found.low - my_low - high, found.high + my_high + low)


def _estimate(values: Floats, users: npt.NDArray[np.integer]) -> Estimate:
    low, high = bootstrap_interval(values, users.tolist(), seed=0)
    return Estimate(float(values.mean()), low, high)


def verdict_of(model: str, metric: str, best: str, baselines: int, ahead: Estimate) -> str:
    """Return in words whether a model beats the best baseline, and by how much."""
    which, low, high = f"{best}, the best of {baselines} baselines", ahead.low, ahead.high
    if low <= 0 <= high:
        return f"{model} is not clearly different from {which}: {ahead.mean:+.4f} [{low:+.4f}, {high:+.4f}] of {metric}"
    low, high = sorted((abs(low), abs(high)))
    word = "beats" if ahead.mean > 0 else "loses to"
    return f"{model} {word} {which}, by {abs(ahead.mean):.4f} [{low:.4f}, {high:.4f}] of {metric}"
