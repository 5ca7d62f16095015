"""What orders items where there is no time to score them: how often each was acted on, whoever asks."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rankstream.features.embeddings.base import VectorTable
from rankstream.features.embeddings.key_search import Rows
from rankstream.features.embeddings.table import EmbeddingTable
from rankstream.features.ids import Id, Keys
from rankstream.features.schema import POPULARITY_COLUMN, Bools
from rankstream.ranking.remembered_popularity import RememberedPopularity
from rankstream.ranking.request import MAX_CANDIDATES
from rankstream.ranking.utility import Scores

POPULARITY = "popularity"  # as feeds name it
EVER = "ever"
LAST_WEEK = "7d"
WINDOWS = {
    "1d": "log_popularity_1d",
    LAST_WEEK: "log_popularity_7d",
}  # the features (``models/items/item_features.py``)


@dataclass(frozen=True)
class Popularity:
    """The popularity column of the items' dense features."""

    items: EmbeddingTable
    features: VectorTable
    recent_column: int | None = None  # of the features: the same of the last days; None where only ever counts

    def look_up(self, keys: Keys) -> tuple[Scores, Bools]:
        """Return the popularity of items, ``(N,)`` float64 from 0 to 1, 0 where the key is unknown, and what is known.

        Without the column nothing is known of any.
        """
        if self.features.dim <= POPULARITY_COLUMN:
            return np.zeros(len(keys)), np.zeros(len(keys), np.bool_)
        features, known = self.features.look_up(keys)
        return features[:, POPULARITY_COLUMN].astype(np.float64), known

    @cached_property
    def remembered(self) -> RememberedPopularity:
        """``look_up`` by ids, with a memory."""
        return RememberedPopularity(self.look_up)

    @cached_property
    def best(self) -> Sequence[Id]:
        """The most popular items of the table, as many as a request may ask for; found out once."""
        scores, _ = self.look_up(self.items.keys)
        return self.items.ids(np.argsort(-scores, kind="stable")[:MAX_CANDIDATES])

    @cached_property
    def lately(self) -> Rows:
        """Rows of all items, those first that most was done to in the last days, then at all; found out once."""
        scores, _ = self.look_up(self.items.keys)
        if self.recent_column is None:
            return np.argsort(-scores, kind="stable")
        features, _ = self.features.look_up(self.items.keys)
        return np.lexsort((-scores, -features[:, self.recent_column]))


def recent_column(names: Sequence[str], width: int, window: str = LAST_WEEK) -> int | None:
    """Return which of ``width`` dense features is the popularity of the last days; None where it is not known.

    ``window`` is one of ``WINDOWS``, or ``EVER``, of which there is none.
    """
    name = WINDOWS.get(window)
    return names.index(name) if name in names and len(names) == width else None
