"""How old items are: by the catalogue where it says so, else since the log first held an action on them.

What is not known of either counts as old: a share of young items is never too high.
"""

from collections.abc import Iterable

import numpy as np

from rankstream.content.catalogue import Catalogue
from rankstream.content.columns import NONE
from rankstream.evaluation.replay.exposures import Exposure
from rankstream.features.ids import Keys
from rankstream.metrics.arrays import Bools, Ints

YOUNG_DAYS = 7
YOUNG_SHOWN = "young shown"  # metrics: shares of the first 10 of a feed, and of the items that were wanted
YOUNG_WANTED = "young wanted"
DAY_MS = 86_400_000


class ItemAges:
    """When each item of a log was first acted on."""

    def __init__(self) -> None:
        self._first_ms: dict[int, int] = {}

    def note(self, exposures: Iterable[Exposure]) -> None:
        """Take note of what was acted on, in whatever order."""
        for one in exposures:
            self._first_ms[one.item_key] = min(self._first_ms.get(one.item_key, one.at_ms), one.at_ms)

    def young(self, keys: Keys, at_ms: int, catalogue: Catalogue | None = None) -> Bools:
        """Return which items ``(n,)`` came into being within ``YOUNG_DAYS`` before a time."""
        age_ms = at_ms - self._created_ms(keys, at_ms, catalogue)
        is_young: Bools = (age_ms >= 0) & (age_ms < YOUNG_DAYS * DAY_MS)
        return is_young

    def _created_ms(self, keys: Keys, at_ms: int, catalogue: Catalogue | None) -> Ints:
        seen = np.array([self._first_ms.get(key, NONE) for key in keys.tolist()], np.int64)
        if catalogue is None or not len(catalogue):
            return seen
        rows, found = catalogue.look_up(keys)
        created = np.where(found, catalogue.created_ms[np.where(found, rows, 0)], NONE)
        return np.where(created == NONE, seen, created)
