"""The full hybrid's gain over a row, by the age of the newest action known at the impression.

If realtime actions help, they help most while they are fresh. Impressions are grouped by the age of the newest action
in their request's state; a gain is the full hybrid's AUC less the row's, with bootstrap intervals over users and seeds.
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
AGES = {  # name of each group -> its upper bound; sessions are half an hour apart, but for those cut at midnight
    "up to 3 hours": 3 * HOUR_MS,
    "3 to 12 hours": 12 * HOUR_MS,
    "12 to 24 hours": 24 * HOUR_MS,
    "1 to 3 days": 72 * HOUR_MS,
    "more than 3 days": 1 << 62,
}
HEADS = ("click", "skip")


def ages_of(cache: RequestCache) -> Ints:
    """Return the age of the newest action that each impression's request knew, ``(N,)`` ms, -1 if none."""
    counts = cache.counts[cache.states, 0]
    ages = np.asarray(cache.columns["action_ages_ms"])
    starts = np.minimum(cache.action_starts[cache.states], max(len(ages) - 1, 0))
    newest = np.where(counts > 0, ages[starts] if len(ages) else 0, -1)
    return np.repeat(newest, cache.sizes_of)


@dataclass(frozen=True)
class ScoredByAge:
    """Predictions of one model, scored by age: a ``HasMetrics``."""

    scored: Scored
    ages_ms: Ints  # (N,)

    @cached_property
    def groups(self) -> dict[str, npt.NDArray[np.bool_]]:
        """Return the mask of impressions of each age that occurs."""
        begins = [0, *AGES.values()]
        found = {
            name: (self.ages_ms >= begin) & (self.ages_ms < end)
            for begin, (name, end) in zip(begins, AGES.items(), strict=False)
        }
        return {name: kept for name, kept in found.items() if kept.any()}

    @cached_property
    def _sorted(self) -> dict[tuple[str, str], tuple[tuple[Ints, Ints, Doubles], Ints]]:
        impressions, predictions = self.scored.impressions, self.scored.predictions
        columns = {head: impressions.heads.index(head) for head in HEADS}
        return {
            (name, head): (
                ordered(predictions[kept, column], impressions.labels[kept, column]),
                impressions.users[kept],
            )
            for name, kept in self.groups.items()
            for head, column in columns.items()
        }

    def metrics(self, weights: Doubles | None = None) -> dict[str, float]:
        """Return the AUC of each age and head, each user with its weight in ``weights (users,)``."""
        counted = np.ones(self.scored.impressions.num_users) if weights is None else weights
        return {_key(*of): auc(*order, counted[users]) for of, (order, users) in self._sorted.items()}


def gains_by_age(
    models: Mapping[str, Sequence[Scored]], ages_ms: Ints, reference: str, *, resamples: int, seed: int
) -> dict[str, dict[str, Any]]:
    """Return, by age and head, the reference's AUC and its gain over each other row: (mean, low, high)."""
    by_age = {row: [ScoredByAge(one, ages_ms) for one in seeds] for row, seeds in models.items()}
    first = by_age[reference][0]
    found = intervals(by_age, reference, first.scored.impressions.num_users, resamples=resamples, seed=seed)
    gains: dict[str, dict[str, Any]] = {name: {"exposures": int(kept.sum())} for name, kept in first.groups.items()}
    for name, of_age in gains.items():
        for head in HEADS:
            of_age[head] = {
                row: found[row]["metrics" if row == reference else "reference_less_row"][_key(name, head)]
                for row in models
            }
    return gains


def _key(age: str, head: str) -> str:
    return f"{head}, {age}"
