"""Dense item features of a training log, as of its end: popularity, all and recent, and the share of each action.

Of a log that says what was shown, also how often, and what came of it (``exposure_rates.py``).
"""

from collections.abc import Mapping, Sequence

import numpy as np

from rankstream.events.log import EventLog
from rankstream.events.sequences import group_by_user
from rankstream.features.embeddings.memory import ItemTable
from rankstream.features.join import DAY_MS
from rankstream.features.schema import Floats, Ints
from rankstream.models.items.exposure_rates import exposure_rates

RECENT_DAYS = (1, 7)  # before the log's end, that popularity is also counted over
PRIOR_ACTIONS = 20.0  # prior: the log's shares, with the weight of this many actions


def item_features(
    log: EventLog, item_table: ItemTable, rates: Mapping[str, Sequence[str]] | None = None
) -> tuple[Floats, tuple[str, ...]]:
    """Return dense features ``(items, F)`` of the table's items and their names, from this log alone.

    ``rates`` are those of impressions, by the actions any of which counts; none for a log of actions alone.

    ``log_popularity`` is log1p(actions) / log1p(most), of all times and of the last days before the log's end;
    ``share_<action>`` is the share of that action among the item's, less the log's own share, both smoothed: 0 means
    "like any other item".
    """
    known = group_by_user(log, item_table)
    rows, actions = known.item_rows[known.item_rows >= 0], known.actions[known.item_rows >= 0]
    num_actions = len(log.vocabulary.actions)
    cells = np.bincount(rows * num_actions + actions - 1, minlength=len(item_table) * num_actions)
    counts = cells.reshape(len(item_table), num_actions).astype(np.float64)  # (items, actions)
    totals = counts.sum(axis=1, keepdims=True)  # (items, 1)
    usual = counts.sum(axis=0) / max(counts.sum(), 1.0)  # (actions,)
    shares = (counts + PRIOR_ACTIONS * usual) / (totals + PRIOR_ACTIONS) - usual
    ages_ms = known.times_ms.max(initial=0) - known.times_ms[known.item_rows >= 0]
    recent = [_popularity(rows[ages_ms < days * DAY_MS], len(item_table)) for days in RECENT_DAYS]
    popularity = np.stack([_popularity(rows, len(item_table)), *recent], axis=1)
    names = (
        "log_popularity",
        *(f"log_popularity_{days}d" for days in RECENT_DAYS),
        *(f"share_{action}" for action in log.vocabulary.actions),
    )
    features = np.concatenate([popularity, shares], axis=1).astype(np.float32)
    if not rates:
        return features, names
    shown = exposure_rates(log, item_table, rates, since_ms={})
    of_impressions = shown.as_of(int(shown.times_ms.max(initial=0)) + 1)
    return np.concatenate([features, of_impressions], axis=1), (*names, *shown.feature_names)


def _popularity(rows: Ints, items: int) -> Floats:
    """Return log1p(actions) / log1p(most) of each item, ``(items,)``."""
    logs = np.log1p(np.bincount(rows, minlength=items))
    found: Floats = (logs / max(logs.max(initial=0.0), np.log(2.0))).astype(np.float32)
    return found
