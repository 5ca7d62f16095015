"""Metrics of predictions for impressions: HIT@3, NDCG@10, AUC, GAUC, log loss and calibration, with intervals.

Every metric can be computed with weighted users: in a bootstrap resample a user sampled twice has weight two. A list is
one request, its candidates joined with one state (``models/ranker/impressions.py`` shows why). GAUC is the AUC within a
list, weighted by impressions: ``gauc_`` of a head's own prediction, ``order_gauc_`` of the score that the list is
ordered by, by which models without heads can be compared. HIT@3 needs lists of at least ``MIN_LIST``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MIN_LIST = 4  # impressions of a list: of three, the first three are all
BINS = 15  # of calibration, equally many predictions in each
EDGE = 1e-7


@dataclass(frozen=True)
class Impressions:
    """Logged impressions: what users were shown, in which list, and what they did with it."""

    users: Ints  # (N,) from 0
    lists: Ints  # (N,) from 0; a list is of one user
    labels: Doubles  # (N, heads) 0 or 1
    heads: tuple[str, ...]
    utility: Mapping[str, float]  # weight of each head in the score that lists are ordered by
    num_users: int

    @cached_property
    def num_lists(self) -> int:
        """How many lists there are."""
        return int(self.lists.max(initial=-1)) + 1

    @cached_property
    def user_of(self) -> Ints:
        """Return the user of each list, ``(lists,)``."""
        owner = np.zeros(self.num_lists, np.int64)
        owner[self.lists] = self.users
        return owner

    @cached_property
    def is_long(self) -> Doubles:
        """Return 1 for lists that are long enough for HIT@3, else 0, ``(lists,)``."""
        return (np.bincount(self.lists, minlength=self.num_lists) >= MIN_LIST).astype(np.float64)

    @cached_property
    def weights(self) -> Doubles:
        """Return the weights of the heads, ``(heads,)``."""
        return np.array([self.utility[head] for head in self.heads])

    @cached_property
    def gains(self) -> Doubles:
        """Return the gain of each impression, ``(N,)``; never below zero."""
        gained: Doubles = np.maximum(self.labels @ self.weights, 0.0)
        return gained


def ranks_in_lists(lists: Ints, scores: Doubles, seed: int = 0) -> Ints:
    """Return each impression's index in its list by score, from 0; equal scores in random order."""
    priorities = np.random.default_rng(seed).random(len(lists))
    order = np.lexsort((priorities, -scores, lists))
    starts = np.concatenate([[0], np.flatnonzero(np.diff(lists[order])) + 1])
    first = np.repeat(starts, np.diff(np.append(starts, len(lists))))
    ranks = np.empty(len(lists), np.int64)
    ranks[order] = np.arange(len(lists)) - first
    return ranks


@dataclass(frozen=True)
class Scored:
    """Predictions of one model for logged impressions; what many bootstrap resamples share is computed once."""

    impressions: Impressions
    predictions: Doubles  # (N, heads) probabilities

    def metrics(self, weights: Doubles | None = None) -> dict[str, float]:
        """Return all metrics, each user with its weight in ``weights (users,)``; one each by default."""
        counted = np.ones(self.impressions.num_users) if weights is None else weights
        metrics = {name: ratio(sums, counted) for name, sums in self.sums.items()}
        rows = counted[self.impressions.users]
        for column, head in enumerate(self.impressions.heads):
            metrics[f"auc_{head}"] = auc(*self._sorted[column], rows)
            metrics[f"ece_{head}"] = calibration_error(*self._binned[column], rows)
        return metrics

    @cached_property
    def sums(self) -> dict[str, tuple[Doubles, Doubles]]:
        """Return a user's sums, numerator and denominator, of every metric that is a mean."""
        impressions = self.impressions
        score = self.predictions @ impressions.weights
        ranks = ranks_in_lists(impressions.lists, score)
        found: dict[str, tuple[Doubles, Doubles]] = {}
        for column, head in enumerate(impressions.heads):
            label, predicted = impressions.labels[:, column], self.predictions[:, column].clip(EDGE, 1 - EDGE)
            losses = -(label * np.log(predicted) + (1 - label) * np.log(1 - predicted))
            found[f"logloss_{head}"] = (self._by_user(losses), self._by_user(np.ones(len(losses))))
            hits = self._by_list(label * (ranks < 3)) * impressions.is_long
            found[f"hit3_{head}"] = (self._of_lists(hits), self._of_lists(impressions.is_long))
            aucs, counts = list_aucs(impressions.lists, label, predicted, impressions.num_lists)
            found[f"gauc_{head}"] = (self._of_lists(aucs), self._of_lists(counts))
            order = score * np.sign(impressions.utility[head])
            aucs, counts = list_aucs(impressions.lists, label, order, impressions.num_lists)
            found[f"order_gauc_{head}"] = (self._of_lists(aucs), self._of_lists(counts))
        gained, counted = self._ndcg(ranks)
        found["ndcg10"] = (self._of_lists(gained), self._of_lists(counted))
        return found

    def _ndcg(self, ranks: Ints, k: int = 10) -> tuple[Doubles, Doubles]:
        """Return NDCG of each list whose order matters, and which lists those are."""
        impressions = self.impressions
        ideal = ranks_in_lists(impressions.lists, impressions.gains)
        best = self._by_list(np.where(ideal < k, impressions.gains / np.log2(ideal + 2), 0.0))
        worst = self._by_list(impressions.gains / np.log2(self._from_behind(ideal) + 2))
        found = self._by_list(np.where(ranks < k, impressions.gains / np.log2(ranks + 2), 0.0))
        counted = best > worst + EDGE
        return np.where(counted, found / np.maximum(best, EDGE), 0.0), counted.astype(np.float64)

    def _from_behind(self, ranks: Ints) -> Ints:
        return np.bincount(self.impressions.lists)[self.impressions.lists] - 1 - ranks

    def _by_user(self, values: Doubles) -> Doubles:
        return np.bincount(self.impressions.users, values, self.impressions.num_users).astype(np.float64)

    def _by_list(self, values: Doubles) -> Doubles:
        return np.bincount(self.impressions.lists, values, self.impressions.num_lists).astype(np.float64)

    def _of_lists(self, values: Doubles) -> Doubles:
        return np.bincount(self.impressions.user_of, values, self.impressions.num_users).astype(np.float64)

    @cached_property
    def _sorted(self) -> list[tuple[Ints, Ints, Doubles]]:
        return [
            ordered(self.predictions[:, n], self.impressions.labels[:, n]) for n in range(len(self.impressions.heads))
        ]

    @cached_property
    def _binned(self) -> list[tuple[Ints, Doubles, Doubles]]:
        return [
            (equal_bins(self.predictions[:, n]), self.predictions[:, n], self.impressions.labels[:, n])
            for n in range(len(self.impressions.heads))
        ]


@dataclass(frozen=True)
class ScoredTwice:
    """Predictions for sessions of impressions, and for the same impressions in lists of a day."""

    sessions: Scored
    days: Scored

    def metrics(self, weights: Doubles | None = None) -> dict[str, float]:
        """Return AUC, log loss and calibration of sessions, the other metrics of days, and GAUC of both."""
        sessions, days = self.sessions.metrics(weights), self.days.metrics(weights)
        kept = {name: value for name, value in sessions.items() if name.startswith(("auc_", "logloss_", "ece_"))}
        kept |= {f"session_{name}": value for name, value in sessions.items() if name.startswith("gauc_")}
        of_lists = ("hit3_", "ndcg", "gauc_", "order_gauc_")
        return kept | {name: value for name, value in days.items() if name.startswith(of_lists)}


def ratio(sums: tuple[Doubles, Doubles], weights: Doubles) -> float:
    """Return the weighted mean of a metric from its users' sums."""
    above, below = (float(part @ weights) for part in sums)
    return above / below if below else float("nan")


def ordered(scores: Doubles, labels: Doubles) -> tuple[Ints, Ints, Doubles]:
    """Return the order of the scores, the index of each one's run of ties (in order), and the labels in order."""
    order = np.argsort(scores, kind="stable")
    begins = np.concatenate([[True], np.diff(scores[order]) > 0])
    return order, np.cumsum(begins) - 1, labels[order]


def auc(order: Ints, runs: Ints, labels: Doubles, weights: Doubles) -> float:
    """Return the probability that a positive scores higher than a negative, ties half, rows weighted ``(N,)``."""
    mine = weights[order]
    positive = np.bincount(runs, mine * labels)
    negative = np.bincount(runs, mine * (1 - labels))
    below = np.cumsum(negative) - negative
    pairs = positive.sum() * negative.sum()
    return float((positive * (below + negative / 2)).sum() / pairs) if pairs else float("nan")


def list_aucs(lists: Ints, labels: Doubles, scores: Doubles, num_lists: int) -> tuple[Doubles, Doubles]:
    """Return AUC x impressions and impressions of each list with both labels, zeros for others: GAUC is their ratio."""
    order = np.lexsort((scores, lists))
    one, label, score = lists[order], labels[order], scores[order]
    runs = np.cumsum(np.concatenate([[True], (np.diff(one) != 0) | (np.diff(score) != 0)])) - 1
    owner = one[np.concatenate([[True], np.diff(runs) > 0])]  # (runs,)
    positive, negative = np.bincount(runs, label), np.bincount(runs, 1 - label)
    positives, negatives = (np.bincount(owner, part, num_lists) for part in (positive, negative))
    before = np.cumsum(negative) - negative
    first = np.concatenate([[True], np.diff(owner) > 0])
    base = np.zeros(num_lists)
    base[owner[first]] = before[first]
    won = np.bincount(owner, positive * (before - base[owner] + negative / 2), num_lists)
    pairs, counts = positives * negatives, positives + negatives
    both = pairs > 0
    return np.where(both, won / np.maximum(pairs, 1) * counts, 0.0), np.where(both, counts, 0.0)


def equal_bins(scores: Doubles) -> Ints:
    """Return the bin of each prediction, equally many in each."""
    edges = np.quantile(scores, np.linspace(0, 1, BINS + 1)[1:-1])
    return np.searchsorted(edges, scores, side="right").astype(np.int64)


def calibration_error(bins: Ints, predictions: Doubles, labels: Doubles, weights: Doubles) -> float:
    """Return the expected calibration error: |mean prediction - share of positives| of a bin, averaged over rows."""
    differences = np.bincount(bins, weights * (predictions - labels), BINS)
    return float(np.abs(differences).sum() / weights.sum())


def score(impressions: Impressions, predictions: npt.NDArray[np.floating]) -> dict[str, float]:
    """Return all metrics of predictions ``(N, heads)``."""
    return Scored(impressions, predictions.astype(np.float64)).metrics()


class HasMetrics(Protocol):
    """What has metrics under any weights of its users: a bootstrap resample is such weights."""

    def metrics(self, weights: Doubles | None = None) -> dict[str, float]:
        """Return the metrics."""
        ...


Intervals = dict[str, tuple[float, float, float]]  # name -> mean over seeds, and the 95 % interval's ends


def intervals(
    models: Mapping[str, Sequence[HasMetrics]], reference: str, users: int, *, resamples: int, seed: int
) -> dict[str, dict[str, Intervals]]:
    """Return each model's metrics, and those of ``reference`` less its own, as (mean, low, high).

    ``models`` holds one scored model a seed, all on the same impressions of so many ``users``. Each bootstrap resample
    samples users, the same for every model, and one seed of each model: intervals cover the variance of users and of
    trainings, differences are paired.
    """
    rng = np.random.default_rng(seed)
    points = {name: _mean([one.metrics() for one in seeds]) for name, seeds in models.items()}
    resampled: dict[str, list[dict[str, float]]] = {name: [] for name in models}
    for _ in range(resamples):
        weights = np.bincount(rng.integers(0, users, users), minlength=users).astype(np.float64)
        for name, seeds in models.items():
            resampled[name].append(seeds[int(rng.integers(len(seeds)))].metrics(weights))
    found: dict[str, dict[str, Intervals]] = {}
    for name, point in points.items():
        of_row, of_reference = resampled[name], resampled[reference]
        found[name] = {
            "metrics": {
                key: (point[key], *_bounds([one[key] for one in of_row], _centre(key, point))) for key in point
            },
            "reference_less_row": {
                key: (
                    points[reference][key] - point[key],
                    *_bounds([mine[key] - one[key] for mine, one in zip(of_reference, of_row, strict=True)]),
                )
                for key in point
            },
        }
    return found


def _mean(seeds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {key: float(np.mean([one[key] for one in seeds])) for key in seeds[0]}


def _centre(key: str, point: Mapping[str, float]) -> float | None:
    """Return the point estimate of a metric whose resamples are biased upward: noise itself adds calibration error."""
    return point[key] if key.startswith("ece_") else None


def _bounds(values: Sequence[float], mirrored_at: float | None = None) -> tuple[float, float]:
    """Return the 95 % interval of resampled values; ``mirrored_at`` a point (the basic bootstrap), not below zero."""
    defined = [value for value in values if not np.isnan(value)]  # a resample may lack positives of a rare head
    low, high = np.quantile(defined or [np.nan], [0.025, 0.975])
    if mirrored_at is None:
        return float(low), float(high)
    return max(0.0, float(2 * mirrored_at - high)), max(0.0, float(2 * mirrored_at - low))
