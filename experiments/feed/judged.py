"""Metrics of ranked queries, whole and by kind of query.

Intervals are 95 %, by bootstrap over users; differences are paired by query. Of a product that was trained several
times, with other seeds, a query's metric is the mean over its trainings.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from rankstream.evaluation.replay.summary import Bootstrap, paired
from rankstream.experiments.feed.ranked import Ranked
from rankstream.experiments.feed.task import Task
from rankstream.features.ids import id_key
from rankstream.metrics.arrays import Bools, Floats
from rankstream.metrics.ranking import hit, ndcg, reciprocal_rank

Of = Callable[[Floats], float]  # the ranks of a query's targets -> a metric


def cut_reciprocal_rank(ranks: Floats, k: int) -> float:
    """Return 1 / the first target's rank, 0 where that is beyond ``k``."""
    return reciprocal_rank(ranks) if hit(ranks, k) else 0.0


_Values = Mapping[tuple[str, str], Floats]  # (ranker, metric) -> of each query (n,)
ORDER: Mapping[str, Of] = {
    "mrr@20": lambda ranks: cut_reciprocal_rank(ranks, 20),
    "ndcg@10": lambda ranks: ndcg(ranks, 10),
}
OF_CATALOGUE: Mapping[str, Of] = {"hr@20": lambda ranks: hit(ranks, 20), **ORDER}
OF_LISTS: Mapping[str, Of] = {"hr@1": lambda ranks: hit(ranks, 1), **ORDER}  # shorter than 20, nearly all
ALL = "all"


def judged(
    ranked: Ranked,
    task: Task,
    products: Sequence[str],
    seed: int = 0,
    trainings: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Any]:
    """Return each ranker's metrics by split, and how far each product is ahead of every other ranker.

    ``trainings`` are the rankers whose mean a row is; they have no row of their own but their means, by metric.
    """
    users, metrics = [str(user) for user in ranked.users], OF_LISTS if task.shown else OF_CATALOGUE
    splits = {name: which for name, which in splits_of(ranked, task).items() if which.any()}
    of_each = {
        (name, metric): np.array([of(ranks) for ranks in found])
        for name, found in ranked.ranks.items()
        for metric, of in metrics.items()
    }
    values = _means(of_each, trainings or {})
    names = list(dict.fromkeys(name for name, _ in values))
    columns: dict[tuple[str, ...], Floats] = {
        (name, metric, split): np.where(which, column, np.nan)
        for (name, metric), column in values.items()
        for split, which in splits.items()
    }
    pairs: dict[tuple[str, ...], tuple[Floats, Floats]] = {
        (product, name, metric, split): (columns[product, metric, split], columns[name, metric, split])
        for product in products
        for name in names
        for metric in metrics
        for split in splits
        if name != product
    }
    return {
        "splits": {
            split: {"queries": int(which.sum()), "users": len({users[row] for row in np.flatnonzero(which).tolist()})}
            for split, which in splits.items()
        },
        "rows": _nested(Bootstrap(users, seed).means(columns)),
        "differences": _nested(paired(pairs, users, seed)),
        "trainings": {
            row: {metric: [round(float(of_each[name, metric].mean()), 4) for name in one] for metric in metrics}
            for row, one in (trainings or {}).items()
        },
    }


def _means(values: _Values, trainings: Mapping[str, Sequence[str]]) -> _Values:
    """Put the mean over a row's trainings in their place."""
    row_of = {name: row for row, names in trainings.items() for name in names}
    together: dict[tuple[str, str], list[Floats]] = {}
    for (name, metric), column in values.items():
        together.setdefault((row_of.get(name, name), metric), []).append(column)
    return {key: np.mean(columns, axis=0) for key, columns in together.items()}


def splits_of(ranked: Ranked, task: Task) -> dict[str, Bools]:
    """Return which queries are of each kind, ``(n,)``: by what the user had done, and by what was known of the target.

    An item is trained on often if it is in the half of the queries whose targets were acted on most before the cut.
    """
    log = task.log
    users = {str(user): number for number, user in enumerate(log.by_user.user_ids.tolist())}
    first_of_user = np.full(len(users), np.iinfo(np.int64).max)
    np.minimum.at(first_of_user, log.by_user.user_of_row, log.times_ms)
    first_of_pair: dict[tuple[int, int], int] = {}
    pairs = zip(log.by_user.user_of_row.tolist(), log.item_keys.tolist(), log.times_ms.tolist(), strict=True)
    for user, key, at_ms in pairs:
        first_of_pair.setdefault((user, key), at_ms)  # the log is sorted by time
    rows = [users[str(user)] for user in ranked.users]
    targets = [[id_key(target) for target in targets] for targets in ranked.targets]
    at_ms = ranked.at_ms.tolist()
    repeated = np.array(
        [
            any(first_of_pair.get((user, key), now) < now for key in keys)
            for user, keys, now in zip(rows, targets, at_ms, strict=True)
        ],
        np.bool_,
    )
    new_user = first_of_user[rows] >= ranked.at_ms
    keys, counts = np.unique(task.past.item_keys, return_counts=True)
    count_of = dict(zip(keys.tolist(), counts.tolist(), strict=True))
    trained = np.array([max((count_of.get(key, 0) for key in keys), default=0) for keys in targets])
    often = trained > np.median(trained) if len(trained) else np.zeros(0, np.bool_)
    return {
        ALL: np.ones(len(ranked), np.bool_),
        "target in the user's history": repeated,
        "target not in the history": ~repeated,
        "target trained often": often,
        "target trained seldom": ~often,
        "user without actions": new_user,
        "user with actions": ~new_user,
    }


def _nested(found: Mapping[tuple[str, ...], Mapping[str, Any]]) -> dict[str, Any]:
    """Return ``{(a, b, c): values}`` as ``{a: {b: {c: [value, low, high]}}}``."""
    nested: dict[str, Any] = {}
    for (*path, last), values in found.items():
        inner = nested
        for name in path:
            inner = inner.setdefault(name, {})
        inner[last] = [round(values[name], 4) for name in ("value", "low", "high")]
    return nested
