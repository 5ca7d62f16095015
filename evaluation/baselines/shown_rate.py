"""How often an item was taken of the times that it was shown: what lists are ordered by where nothing else is known."""

from collections.abc import Sequence

import numpy as np

from rankstream.evaluation.baselines.base import ItemRows, Scores, UserItems
from rankstream.evaluation.baselines.popularity import HOUR_MS
from rankstream.events.impressions import Impressions
from rankstream.metrics.arrays import Ints

PRIOR_SHOWN = 20.0  # the rate over all items has the weight of so many shows


class ShownRate:
    """The rate at which each item was taken, smoothed, by the lists whose outcome was known at the last full hour.

    An item that was never shown has that of all items.
    """

    name = "rate when shown"
    about = "how often each item was taken of the times that it was shown, smoothed, until the last full hour"

    def __init__(self, items: ItemRows, lists: Impressions, actions: Sequence[int], positives: int, within_ms: int):
        """Take what was shown, with the mask of the ``actions`` that followed on each item ``within_ms``."""
        shown_ms = np.repeat(lists.times_ms, np.diff(lists.starts))
        order = np.argsort(shown_ms, kind="stable")
        self._known_ms: Ints = shown_ms[order] + within_ms
        self._rows: Ints = np.array([items.row(key) for key in lists.item_keys[order].tolist()], np.int64)
        self._taken = np.array([bool(actions[row] & positives) for row in order.tolist()], np.bool_)
        self._end = 0  # of what counts
        self._shown, self._hits = (np.zeros(int(self._rows.max(initial=-1)) + 1) for _ in range(2))
        self._scores: Scores | None = None

    def scores(self, user: UserItems, at_ms: int) -> Scores:
        """Return the rates less that of all items, the same for all users."""
        end = int(np.searchsorted(self._known_ms, at_ms // HOUR_MS * HOUR_MS, side="right"))
        if self._scores is None or end > self._end:
            new = slice(self._end, max(end, self._end))
            self._shown += np.bincount(self._rows[new], minlength=len(self._shown))
            self._hits += np.bincount(self._rows[new], self._taken[new], len(self._hits))
            self._end = new.stop
            usual = self._hits.sum() / max(1.0, self._shown.sum())
            rates = (self._hits + PRIOR_SHOWN * usual) / (self._shown + PRIOR_SHOWN)
            self._scores = Scores(np.arange(len(rates)), rates - usual)
        return self._scores
