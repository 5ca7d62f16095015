"""How good predictions of exposures are: HIT@3, NDCG@10, AUC, GAUC, log loss and calibration, with their intervals.

Every figure can be taken with the users weighed: a bootstrap draws users, and a user drawn twice weighs two. A list is
what was ranked at one moment (``models/ranker/impressions.py`` says why it must be one). GAUC is the AUC within a list,
weighed by exposures: ``gauc_`` of a head's own prediction, ``order_gauc_`` of the score that the list is ordered by,
which is what models without heads can be compared by. HIT@3 needs lists of at least ``MIN_LIST``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MIN_LIST = 4  # exposures that a list holds: with three, the first three are all
BINS = 15  # of calibration, equally many predictions in each
EDGE = 1e-7


@dataclass(frozen=True)
class Answers:
    """What users did with what they were shown."""

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
    def long(self) -> Doubles:
        """Say 1 for lists that are long enough for HIT@3, ``(lists,)``."""
        return (np.bincount(self.lists, minlength=self.num_lists) >= MIN_LIST).astype(np.float64)

    @cached_property
    def weights(self) -> Doubles:
        """Return the weights of the heads, ``(heads,)``."""
        return np.array([self.utility[head] for head in self.heads])

    @cached_property
    def gains(self) -> Doubles:
        """Return what each exposure was worth, ``(N,)``; none is worth less than nothing."""
        gained: Doubles = np.maximum(self.labels @ self.weights, 0.0)
        return gained


def ranks_in_lists(lists: Ints, scores: Doubles, seed: int = 0) -> Ints:
    """Return each exposure's place in its list by score, from 0; equal scores in random order."""
    lots = np.random.default_rng(seed).random(len(lists))
    order = np.lexsort((lots, -scores, lists))
    starts = np.concatenate([[0], np.flatnonzero(np.diff(lists[order])) + 1])
    first = np.repeat(starts, np.diff(np.append(starts, len(lists))))
    places = np.empty(len(lists), np.int64)
    places[order] = np.arange(len(lists)) - first
    return places


@dataclass(frozen=True)
class Scored:
    """Predictions of one model beside the answers, ready to be weighed many times."""

    answers: Answers
    predictions: Doubles  # (N, heads) probabilities

    def metrics(self, weights: Doubles | None = None) -> dict[str, float]:
        """Return all figures, each user counting as often as ``weights (users,)`` says."""
        weighed = np.ones(self.answers.num_users) if weights is None else weights
        figures = {name: ratio(sums, weighed) for name, sums in self.sums.items()}
        rows = weighed[self.answers.users]
        for column, head in enumerate(self.answers.heads):
            figures[f"auc_{head}"] = auc(*self._sorted[column], rows)
            figures[f"ece_{head}"] = calibration_error(*self._binned[column], rows)
        return figures

    @cached_property
    def sums(self) -> dict[str, tuple[Doubles, Doubles]]:
        """Return sums a user, above and below the line, of every figure that is a mean."""
        answers = self.answers
        score = self.predictions @ answers.weights
        places = ranks_in_lists(answers.lists, score)
        found: dict[str, tuple[Doubles, Doubles]] = {}
        for column, head in enumerate(answers.heads):
            label, predicted = answers.labels[:, column], self.predictions[:, column].clip(EDGE, 1 - EDGE)
            losses = -(label * np.log(predicted) + (1 - label) * np.log(1 - predicted))
            found[f"logloss_{head}"] = (self._by_user(losses), self._by_user(np.ones(len(losses))))
            hits = self._by_list(label * (places < 3)) * answers.long
            found[f"hit3_{head}"] = (self._of_lists(hits), self._of_lists(answers.long))
            aucs, counts = list_aucs(answers.lists, label, predicted, answers.num_lists)
            found[f"gauc_{head}"] = (self._of_lists(aucs), self._of_lists(counts))
            order = score * np.sign(answers.utility[head])
            aucs, counts = list_aucs(answers.lists, label, order, answers.num_lists)
            found[f"order_gauc_{head}"] = (self._of_lists(aucs), self._of_lists(counts))
        gained, counted = self._ndcg(places)
        found["ndcg10"] = (self._of_lists(gained), self._of_lists(counted))
        return found

    def _ndcg(self, places: Ints, k: int = 10) -> tuple[Doubles, Doubles]:
        """Return NDCG of each list in which order matters, and which those are."""
        answers = self.answers
        ideal = ranks_in_lists(answers.lists, answers.gains)
        best = self._by_list(np.where(ideal < k, answers.gains / np.log2(ideal + 2), 0.0))
        worst = self._by_list(answers.gains / np.log2(self._from_behind(ideal) + 2))
        found = self._by_list(np.where(places < k, answers.gains / np.log2(places + 2), 0.0))
        counted = best > worst + EDGE
        return np.where(counted, found / np.maximum(best, EDGE), 0.0), counted.astype(np.float64)

    def _from_behind(self, places: Ints) -> Ints:
        return np.bincount(self.answers.lists)[self.answers.lists] - 1 - places

    def _by_user(self, values: Doubles) -> Doubles:
        return np.bincount(self.answers.users, values, self.answers.num_users).astype(np.float64)

    def _by_list(self, values: Doubles) -> Doubles:
        return np.bincount(self.answers.lists, values, self.answers.num_lists).astype(np.float64)

    def _of_lists(self, values: Doubles) -> Doubles:
        return np.bincount(self.answers.user_of, values, self.answers.num_users).astype(np.float64)

    @cached_property
    def _sorted(self) -> list[tuple[Ints, Ints, Doubles]]:
        return [ordered(self.predictions[:, n], self.answers.labels[:, n]) for n in range(len(self.answers.heads))]

    @cached_property
    def _binned(self) -> list[tuple[Ints, Doubles, Doubles]]:
        return [
            (equal_bins(self.predictions[:, n]), self.predictions[:, n], self.answers.labels[:, n])
            for n in range(len(self.answers.heads))
        ]


@dataclass(frozen=True)
class ScoredTwice:
    """Predictions of visits, and of the same exposures in lists of a day."""

    visits: Scored
    days: Scored

    def metrics(self, weights: Doubles | None = None) -> dict[str, float]:
        """Return AUC, log loss and calibration of visits, the other figures of days, and GAUC of both."""
        fresh, listed = self.visits.metrics(weights), self.days.metrics(weights)
        kept = {name: figure for name, figure in fresh.items() if name.startswith(("auc_", "logloss_", "ece_"))}
        kept |= {f"visit_{name}": figure for name, figure in fresh.items() if name.startswith("gauc_")}
        of_lists = ("hit3_", "ndcg", "gauc_", "order_gauc_")
        return kept | {name: figure for name, figure in listed.items() if name.startswith(of_lists)}


def ratio(sums: tuple[Doubles, Doubles], weights: Doubles) -> float:
    """Return the weighed mean of sums a user."""
    above, below = (float(part @ weights) for part in sums)
    return above / below if below else float("nan")


def ordered(scores: Doubles, labels: Doubles) -> tuple[Ints, Ints, Doubles]:
    """Return the order of the scores, which of them (in order) begin a run of equal ones, and the labels in order."""
    order = np.argsort(scores, kind="stable")
    begins = np.concatenate([[True], np.diff(scores[order]) > 0])
    return order, np.cumsum(begins) - 1, labels[order]


def auc(order: Ints, runs: Ints, labels: Doubles, weights: Doubles) -> float:
    """Return the chance that a positive scores higher than a negative, equal ones half, rows weighed ``(N,)``."""
    mine = weights[order]
    positive = np.bincount(runs, mine * labels)
    negative = np.bincount(runs, mine * (1 - labels))
    below = np.cumsum(negative) - negative
    pairs = positive.sum() * negative.sum()
    return float((positive * (below + negative / 2)).sum() / pairs) if pairs else float("nan")


def list_aucs(lists: Ints, labels: Doubles, scores: Doubles, num_lists: int) -> tuple[Doubles, Doubles]:
    """Return AUC x exposures and exposures of each list with both labels, zeros for others: GAUC is their ratio."""
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


def judge(answers: Answers, predictions: npt.NDArray[np.floating]) -> dict[str, float]:
    """Return all figures of predictions ``(N, heads)``."""
    return Scored(answers, predictions.astype(np.float64)).metrics()


class Judgement(Protocol):
    """Something that can be measured with its users weighed."""

    def metrics(self, weights: Doubles | None = None) -> dict[str, float]:
        """Return the figures."""
        ...


Figures = dict[str, tuple[float, float, float]]  # name -> mean over seeds, and the 95 % interval's ends


def intervals(
    models: Mapping[str, Sequence[Judgement]], reference: str, users: int, *, draws: int, seed: int
) -> dict[str, dict[str, Figures]]:
    """Return each model's figures, and those of ``reference`` less its own, as (mean, low, high).

    ``models`` holds one judgement a seed, all of the same answers of so many ``users``. Each draw takes users anew, the
    same for every model, and of each model one of its seeds: intervals hold both kinds of chance, differences are
    paired.
    """
    rng = np.random.default_rng(seed)
    points = {name: _mean([one.metrics() for one in seeds]) for name, seeds in models.items()}
    drawn: dict[str, list[dict[str, float]]] = {name: [] for name in models}
    for _ in range(draws):
        weights = np.bincount(rng.integers(0, users, users), minlength=users).astype(np.float64)
        for name, seeds in models.items():
            drawn[name].append(seeds[int(rng.integers(len(seeds)))].metrics(weights))
    found: dict[str, dict[str, Figures]] = {}
    for name, point in points.items():
        of_row, of_reference = drawn[name], drawn[reference]
        found[name] = {
            "figures": {
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


def _mean(figures: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {key: float(np.mean([one[key] for one in figures])) for key in figures[0]}


def _centre(key: str, point: Mapping[str, float]) -> float | None:
    """Return the point of a figure whose draws stand too high: of each draw's own noise, calibration error is made."""
    return point[key] if key.startswith("ece_") else None


def _bounds(values: Sequence[float], mirrored_at: float | None = None) -> tuple[float, float]:
    """Return the 95 % interval of what was drawn; ``mirrored_at`` a point (the basic bootstrap), not below zero."""
    told = [value for value in values if not np.isnan(value)]  # a draw may hold no positive of a rare head
    low, high = np.quantile(told or [np.nan], [0.025, 0.975])
    if mirrored_at is None:
        return float(low), float(high)
    return max(0.0, float(2 * mirrored_at - high)), max(0.0, float(2 * mirrored_at - low))
