"""Shown lists in memory and as rows of files."""

from collections.abc import Sequence

import numpy as np

from rankstream.events.ids import plain_ids
from rankstream.events.impressions import NO_LIST, Impressions, impressions_of
from rankstream.features.ids import Id, id_key
from tests.builders.models import MINUTE_MS, START_MS

Shown = tuple[Id, Id, float, Id | None, int, int]  # user, item, minutes after the start, list id, position, surface


def shown(*rows: Sequence[object]) -> Impressions:
    """Rows of (user, item, minutes[, list id[, position[, surface]]]); None, -1 and 0 are none."""
    whole = [(*row, *(None, -1, 0)[len(row) - 3 :]) for row in rows]
    users, items, minutes, lists, positions, surfaces = zip(*whole, strict=True) if whole else ((),) * 6
    keys = [NO_LIST if one is None else id_key(one) for one in lists]
    times_ms = START_MS + np.round(np.array(minutes, np.float64) * MINUTE_MS).astype(np.int64)
    return impressions_of(
        plain_ids(list(users)), plain_ids(list(items)), times_ms, np.array(surfaces, np.int64),
        np.array(positions, np.int64), np.array(keys, np.uint64),
    )  # fmt: skip


def as_text(impressions: Impressions) -> list[tuple[Id, float, str]]:
    """Each list as its user, its minutes after the start, and its items in order."""
    found = []
    for row in range(len(impressions)):
        items = impressions.item_ids[impressions.starts[row] : impressions.starts[row + 1]]
        minutes = (int(impressions.times_ms[row]) - START_MS) / MINUTE_MS
        found.append((impressions.user_ids[row], minutes, " ".join(map(str, items))))
    return found
