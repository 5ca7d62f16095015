"""Held-out choices of a log of actions, each as if a user had made it of whom nothing is known (``strangers.py``).

Of a stranger nothing but the time and the day's counts are seen, so all items of a day are scored once, as of its
midnight and at the time of its middle choice. What is chosen lies after all requests that the ranker learned from; of
first choices, which are few, also what it learned from is asked.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch

from rankstream.events.labels import head_labels
from rankstream.events.log import EventLog
from rankstream.features.embeddings.memory import ItemTable
from rankstream.features.history import History
from rankstream.features.join import DAY_MS, OfflineFeatures
from rankstream.features.schema import POPULARITY_COLUMN, Ints
from rankstream.features.user_state import UserState
from rankstream.metrics.arrays import Floats
from rankstream.models.items.item_features import RECENT_DAYS, item_features
from rankstream.models.ranker.examples import STRANGER, RankingExample, inputs_of
from rankstream.models.ranker.hybrid import HybridRanker, collate
from rankstream.models.ranker.strangers import AskedDay, Choice
from rankstream.models.ranker.training_join import to_float16
from rankstream.models.recipes.bundle import RankerRecipe

MAX_CHOICES, MAX_FIRST = 2_000, 500
MAX_DAYS, MAX_SCORED = 64, 4_000_000  # days, and items scored on all of them: some 20 s
AT_ONCE = 16_384  # items
COLUMNS = 1 + len(RECENT_DAYS)  # of popularity


def asked_as_by_strangers(
    log: EventLog,
    items: ItemTable,
    ranker: HybridRanker,
    recipe: RankerRecipe,
    offline: OfflineFeatures,
    from_ms: int,
    firsts: bool = False,
) -> Iterator[AskedDay]:
    """Yield the days from ``from_ms`` on with what was chosen; of many choices, or days, some drawn at random.

    With ``firsts`` only what users chose first of all.
    """
    rows = _rows(log, items, recipe, from_ms, firsts, np.random.default_rng(recipe.seed))
    labels, known = head_labels(log, recipe.heads), items.rows_of(log.item_keys)
    days = log.times_ms[rows] // DAY_MS
    for day in np.unique(days).tolist():
        mine = rows[days == day]
        now_ms = int(log.times_ms[mine[len(mine) // 2]])
        logits, popularity = _scored(_counted(log, items, offline, day), items, ranker, now_ms)
        choices = []
        for row in mine.tolist():
            seen = _seen(log, row, known) if recipe.negatives.exclude_seen else np.zeros(0, np.int64)
            if known[row] not in seen:
                heads = labels[log.actions[row]] > 0
                choices.append(Choice(int(known[row]), heads, int(log.by_user.user_of_row[row]), seen))
        yield AskedDay(logits, popularity, choices)


def _rows(
    log: EventLog, items: ItemTable, recipe: RankerRecipe, from_ms: int, firsts: bool, rng: np.random.Generator
) -> Ints:
    """Return the rows of the choices: what makes a head true that weighs something, on items that have a vector."""
    wanted = head_labels(log, recipe.heads)[log.actions] @ np.maximum(recipe.weights, 0.0) > 0
    late = np.flatnonzero(wanted & (log.times_ms >= from_ms))
    late = late[items.rows_of(log.item_keys[late]) >= 0]
    if firsts:
        by_user = log.by_user
        began_ms = log.times_ms[by_user.order[by_user.starts[:-1]]]  # of each user
        late = late[log.times_ms[late] == began_ms[by_user.user_of_row[late]]]
    rows = np.sort(rng.permutation(late)[: MAX_FIRST if firsts else MAX_CHOICES])
    days = np.unique(log.times_ms[rows] // DAY_MS)
    most = int(np.clip(MAX_SCORED // max(1, len(items)), 1, MAX_DAYS))
    chosen = rng.permutation(days)[:most]
    return rows[np.isin(log.times_ms[rows] // DAY_MS, chosen)]


def _counted(log: EventLog, items: ItemTable, offline: OfflineFeatures, day: int) -> OfflineFeatures:
    """Return the tables with items counted as of the day's midnight."""
    features, _ = item_features(log.split_at(day * DAY_MS)[0], items, {})
    return replace(offline, item_features=to_float16(replace(items, vectors=features)))


@torch.no_grad()
def _scored(offline: OfflineFeatures, items: ItemTable, ranker: HybridRanker, now_ms: int) -> tuple[Floats, Floats]:
    """Return all items' logits ``(items, heads)`` for a stranger, and their popularity ``(items, COLUMNS)``."""
    ranker.eval()
    weight, logits, popularity = ranker.output.weight, [], []
    for keys in np.split(items.keys, range(AT_ONCE, len(items), AT_ONCE)):
        nothing = UserState(History(b"", offline.sizes.num_actions))
        labels = np.zeros((len(keys), len(ranker.config.heads)), np.float32)
        inputs = inputs_of(RankingExample(STRANGER, nothing, now_ms, keys, labels), offline)
        logits.append(ranker(collate([inputs]).to(weight.device, weight.dtype)).double().cpu().numpy())
        popularity.append(inputs.candidate_features[:, POPULARITY_COLUMN : POPULARITY_COLUMN + COLUMNS])
    return np.concatenate(logits), np.concatenate(popularity).astype(np.float64)


def _seen(log: EventLog, row: int, known: Ints) -> Ints:
    """Return the rows in the table of what the user of a row had acted on before it."""
    by_user = log.by_user
    user = by_user.user_of_row[row]
    rows = by_user.order[by_user.starts[user] : by_user.starts[user + 1]]
    seen = np.unique(known[rows[log.times_ms[rows] < log.times_ms[row]]])
    return seen[seen >= 0]
