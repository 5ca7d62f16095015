"""Smoothed item engagement rates (CTR and kin) from logged impressions, point-in-time.

A training example must not find its own label in its item's rates, and in serving rates are as old as the last daily
job. So a log's impressions are counted once, and ``ExposureRates.as_of`` returns the features that a table published at
that time would hold; an example is joined with those of its day's midnight.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rankstream.events.impressions import Impressions
from rankstream.events.labels import head_labels, list_labels
from rankstream.events.log import EventLog
from rankstream.features.embeddings.memory import Ints, ItemTable
from rankstream.features.schema import Bools, Floats

PRIOR_EXPOSURES = 20.0  # prior: the rate over all items, with the weight of this many impressions
DAY_MS = 86_400_000


@dataclass(frozen=True)
class ExposureRates:
    """A log's impressions of known items, oldest first."""

    item_table: ItemTable
    items: Ints  # (n,) rows of the item table
    times_ms: Ints  # (n,)
    done: Floats  # (n, rates) was any action of the rate's done?
    observed: Bools  # (n, rates) would the log have recorded it? If not, its absence is no negative
    names: tuple[str, ...]

    def as_of(self, as_of_ms: int) -> Floats:
        """Return features ``(items, 2 + rates)`` from the impressions before ``as_of_ms``.

        ``log_exposures`` and ``log_yesterday`` are log1p of their number, over 10 and over 5; a rate is its smoothed
        log-odds less those over all items: 0 means "like any other item".
        """
        shown = slice(0, int(np.searchsorted(self.times_ms, as_of_ms)))
        recent = slice(int(np.searchsorted(self.times_ms, as_of_ms - DAY_MS)), shown.stop)
        columns = [np.log1p(self._count(shown)) / 10, np.log1p(self._count(recent)) / 5]
        for rate in range(len(self.names)):
            observed = self.observed[shown, rate]
            shows = self._count(shown, observed)
            hits = self._count(shown, observed * self.done[shown, rate])
            usual = np.clip(hits.sum() / max(shows.sum(), 1.0), 1e-4, 1 - 1e-4)
            share = (hits + PRIOR_EXPOSURES * usual) / (shows + PRIOR_EXPOSURES)
            columns.append(np.log(share / (1 - share)) - np.log(usual / (1 - usual)))
        return np.stack(columns, axis=1).astype(np.float32)

    def _count(self, rows: slice, weights: npt.NDArray[Any] | None = None) -> npt.NDArray[np.float64]:
        return np.bincount(self.items[rows], weights, len(self.item_table)).astype(np.float64)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Name the columns of ``as_of``."""
        return ("log_exposures", "log_yesterday", *(f"rate_{name}" for name in self.names))


def exposure_rates(
    log: EventLog, item_table: ItemTable, rates: Mapping[str, Sequence[str]], since_ms: Mapping[str, int]
) -> ExposureRates:
    """Count a log's impressions: those of its lists, or, in a log without, the rows of one user, item and timestamp.

    ``rates`` names the actions any of which counts; ``since_ms`` is when the log begins to record them, 0 if absent.
    """
    if log.impressions is not None:
        return _of_lists(log, log.impressions, item_table, rates)
    users = log.by_user.user_of_row
    items = item_table.rows_of(log.item_keys)
    known = np.flatnonzero(items >= 0)
    triples = np.stack([log.times_ms[known], users[known], items[known]], axis=1)
    impressions, which = np.unique(triples, axis=0, return_inverse=True)
    done = np.zeros((len(impressions), len(rates)), np.float32)
    np.maximum.at(done, which.reshape(-1), head_labels(log, rates)[log.actions[known]])
    observed = impressions[:, :1] >= np.array([since_ms.get(name, 0) for name in rates])
    return ExposureRates(item_table, impressions[:, 2], impressions[:, 0], done, observed, tuple(rates))


def _of_lists(
    log: EventLog, shown: Impressions, item_table: ItemTable, rates: Mapping[str, Sequence[str]]
) -> ExposureRates:
    items = item_table.rows_of(shown.item_keys)
    known = np.flatnonzero(items >= 0)
    times_ms = np.repeat(shown.times_ms, np.diff(shown.starts))[known]
    done = list_labels(log, shown, rates)[known]
    return ExposureRates(item_table, items[known], times_ms, done, np.ones(done.shape, np.bool_), tuple(rates))
