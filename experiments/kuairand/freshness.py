"""What a row lacks beside the full hybrid, by how old the newest action was when the user was shown something.

If realtime actions are worth anything, they are worth most while they are fresh. Each exposure stands with the age of
the newest action that its request knew; a gain is the full hybrid's AUC less the row's, users drawn anew, one of each
row's seeds a draw.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from rankstream.experiments.kuairand.request_cache import RequestCache
from rankstream.experiments.kuairand.scoring import Doubles, Ints, Scored, auc, intervals, ordered

HOUR_MS = 3_600_000
AGES = {  # the name of each group, and where it ends; visits are half an hour apart, but for those cut at midnight
    "up to 3 hours": 3 * HOUR_MS,
    "3 to 12 hours": 12 * HOUR_MS,
    "12 to 24 hours": 24 * HOUR_MS,
    "1 to 3 days": 72 * HOUR_MS,
    "more than 3 days": 1 << 62,
}
HEADS = ("click", "skip")


def ages_of(cache: RequestCache) -> Ints:
    """Return the age of the newest action that each exposure's request knew, ``(N,)`` ms, -1 if it knew none."""
    counts = cache.counts[cache.states, 0]
    ages = np.asarray(cache.columns["action_ages_ms"])
    starts = np.minimum(cache.action_starts[cache.states], max(len(ages) - 1, 0))
    newest = np.where(counts > 0, ages[starts] if len(ages) else 0, -1)
    return np.repeat(newest, cache.sizes_of)


@dataclass(frozen=True)
class ScoredByAge:
    """Predictions of one model, each age's exposures for themselves: a ``Judgement``."""

    judged: Scored
    ages_ms: Ints  # (N,)

    @cached_property
    def groups(self) -> dict[str, npt.NDArray[np.bool_]]:
        """Return which exposures are of each age that occurs."""
        begins = [0, *AGES.values()]
        found = {
            name: (self.ages_ms >= begin) & (self.ages_ms < end)
            for begin, (name, end) in zip(begins, AGES.items(), strict=False)
        }
        return {name: kept for name, kept in found.items() if kept.any()}

    @cached_property
    def _sorted(self) -> dict[tuple[str, str], tuple[tuple[Ints, Ints, Doubles], Ints]]:
        answers, predictions = self.judged.answers, self.judged.predictions
        columns = {head: answers.heads.index(head) for head in HEADS}
        return {
            (name, head): (ordered(predictions[kept, column], answers.labels[kept, column]), answers.users[kept])
            for name, kept in self.groups.items()
            for head, column in columns.items()
        }

    def metrics(self, weights: Doubles | None = None) -> dict[str, float]:
        """Return the AUC of each age and head, each user counting as often as ``weights (users,)`` says."""
        weighed = np.ones(self.judged.answers.num_users) if weights is None else weights
        return {_key(*of): auc(*order, weighed[users]) for of, (order, users) in self._sorted.items()}


def gains_by_age(
    models: Mapping[str, Sequence[Scored]], ages_ms: Ints, reference: str, *, draws: int, seed: int
) -> dict[str, dict[str, Any]]:
    """Give, by age and head, the reference's AUC and what each other row lacks: (mean, low, high)."""
    by_age = {row: [ScoredByAge(one, ages_ms) for one in seeds] for row, seeds in models.items()}
    first = by_age[reference][0]
    found = intervals(by_age, reference, first.judged.answers.num_users, draws=draws, seed=seed)
    said: dict[str, dict[str, Any]] = {name: {"exposures": int(kept.sum())} for name, kept in first.groups.items()}
    for name, told in said.items():
        for head in HEADS:
            told[head] = {
                row: found[row]["figures" if row == reference else "reference_less_row"][_key(name, head)]
                for row in models
            }
    return said


def _key(age: str, head: str) -> str:
    return f"{head}, {age}"
