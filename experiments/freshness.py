"""What a row lacks beside the full hybrid, by how old the newest action was when the user was shown something.

If realtime actions are worth anything, they are worth most while they are fresh. Each exposure stands with the age of
the newest action that its request knew; a gain is the full hybrid's AUC less the row's, users drawn anew, one of each
row's seeds a draw.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from experiments.judging import Answers, Doubles, Ints, auc, ordered
from models.request_cache import RequestCache

HOUR_MS = 3_600_000
AGES = {  # the name of each group, and where it ends; visits are half an hour apart, but for those cut at midnight
    "up to 3 hours": 3 * HOUR_MS,
    "3 to 12 hours": 12 * HOUR_MS,
    "12 to 24 hours": 24 * HOUR_MS,
    "1 to 3 days": 72 * HOUR_MS,
    "more than 3 days": 1 << 62,
}
HEADS = ("click", "skip")

Predictions = Mapping[str, Sequence[npt.NDArray[np.floating]]]  # of a row, one a seed: (N, heads)


def ages_of(cache: RequestCache) -> Ints:
    """Give the age of the newest action that each exposure's request knew, ``(N,)`` ms, -1 if it knew none."""
    counts = cache.counts[cache.states, 0]
    ages = np.asarray(cache.columns["action_ages_ms"])
    starts = np.minimum(cache.action_starts[cache.states], max(len(ages) - 1, 0))
    newest = np.where(counts > 0, ages[starts] if len(ages) else 0, -1)
    return np.repeat(newest, cache.sizes_of)


@dataclass(frozen=True)
class Group:
    """The exposures of an age, of one head."""

    users: Ints  # (n,)
    labels: Doubles  # (n,)
    kept: npt.NDArray[np.bool_]  # (N,) of all exposures
    column: int  # of the head

    def auc(self, predictions: npt.NDArray[np.floating], weights: Doubles) -> float:
        """Give the AUC with each user weighed."""
        scores = predictions[self.kept, self.column].astype(np.float64)
        return auc(*ordered(scores, self.labels), weights[self.users])


def gains_by_age(
    answers: Answers, ages_ms: Ints, predicted: Predictions, reference: str, *, draws: int, seed: int
) -> dict[str, dict[str, Any]]:
    """Give, by age and head, the reference's AUC and what each row lacks: (mean, low, high)."""
    found: dict[str, dict[str, Any]] = {}
    begin = 0
    for name, end in AGES.items():
        kept = (ages_ms >= begin) & (ages_ms < end)
        begin = end
        if kept.any():
            found[name] = {"exposures": int(kept.sum())}
            for head in HEADS:
                column = answers.heads.index(head)
                group = Group(answers.users[kept], answers.labels[kept, column], kept, column)
                found[name][head] = _gains(group, predicted, reference, answers.num_users, draws, seed)
    return found


def _gains(
    group: Group, predicted: Predictions, reference: str, users: int, draws: int, seed: int
) -> dict[str, tuple[float, float, float]]:
    chance = np.random.default_rng([seed, group.column])
    alike = np.ones(users)
    points = {row: float(np.mean([group.auc(one, alike) for one in seeds])) for row, seeds in predicted.items()}
    drawn: dict[str, list[float]] = {row: [] for row in predicted}
    for _ in range(draws):
        weights = np.bincount(chance.integers(0, users, users), minlength=users).astype(np.float64)
        for row, seeds in predicted.items():
            drawn[row].append(group.auc(seeds[int(chance.integers(len(seeds)))], weights))
    whole = np.array(drawn[reference])
    return {
        row: _interval(points[row], whole)
        if row == reference
        else _interval(points[reference] - points[row], whole - np.array(drawn[row]))
        for row in predicted
    }


def _interval(point: float, drawn: Doubles) -> tuple[float, float, float]:
    low, high = np.nanquantile(drawn, [0.025, 0.975]) if np.isfinite(drawn).any() else (np.nan, np.nan)
    return point, float(low), float(high)
