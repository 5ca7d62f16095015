"""The final order of a feed: ties, repetition and diversity.

Best score first; equal scores keep the order of the candidates, so the same request always has the same answer.
A candidate that comes twice (``7`` and ``"7"`` are one item) counts once, at its first position. Of a group (an
author, a shop), candidates beyond the best ``max_per_group`` are left out.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rankstream.features.ids import Id, Keys
from rankstream.ranking.utility import Scores

Indices = npt.NDArray[np.intp]


def first_positions(keys: Keys | npt.NDArray[np.int32]) -> Indices:
    """Return the index of each key's first occurrence, in order."""
    _, indices = np.unique(keys, return_index=True)
    return np.sort(indices)


def blend(
    scores: Scores, groups: Sequence[Id] | None = None, max_per_group: int | None = None, top_k: int | None = None
) -> list[int]:
    """Return the indices of the candidates in the feed's order."""
    order: list[int] = np.argsort(-scores, kind="stable").tolist()
    if groups is not None and max_per_group is not None:
        order = _capped(order, groups, max_per_group)
    return order[:top_k]


def _capped(order: Sequence[int], groups: Sequence[Id], maximum: int) -> list[int]:
    taken: Counter[Id] = Counter()
    kept = []
    for index in order:
        taken[groups[index]] += 1
        if taken[groups[index]] <= maximum:
            kept.append(index)
    return kept
