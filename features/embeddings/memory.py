"""A table of item vectors in memory; training and evaluation refer to items by its rows."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from rankstream.features.ids import Ids, Keys, id_keys
from rankstream.features.schema import Floats

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ItemTable:
    """The items that have a vector."""

    ids: Ids  # (items,)
    vectors: Floats  # (items, I)

    def __post_init__(self) -> None:
        if len(self.ids) != len(self.vectors):
            raise ValueError(f"{len(self.ids)} items with {len(self.vectors)} vectors; wanted a vector an item")

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def padded(self) -> Floats:
        """Return the vectors and one row of zeros behind them, ``(items + 1, I)``: row -1 is an unknown item's."""
        return np.concatenate([self.vectors, np.zeros((1, self.dim), np.float32)])

    @property
    def dim(self) -> int:
        """Width of a vector."""
        return int(self.vectors.shape[1])

    @cached_property
    def keys(self) -> Keys:
        """Return the items' keys, ``(items,)``."""
        return id_keys(self.ids.tolist())

    @cached_property
    def _sorted(self) -> tuple[Keys, Ints]:
        order = np.argsort(self.keys)
        return self.keys[order], order

    def rows_of(self, keys: Keys) -> Ints:
        """Return the row of each key, -1 where the table lacks it."""
        held, order = self._sorted
        if not len(held):
            return np.full(len(keys), -1, np.int64)
        positions = np.minimum(np.searchsorted(held, keys), len(held) - 1)
        return np.where(held[positions] == keys, order[positions], -1)

    def look_up(self, keys: Keys) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """Return vectors and whether each key is known: a ``VectorTable`` in memory."""
        rows = self.rows_of(keys)
        found = rows >= 0
        vectors = np.zeros((len(keys), self.dim), np.float32)
        vectors[found] = self.vectors[rows[found]]
        return vectors, found


class KeyedItems(ItemTable):
    """Items that are known by their keys alone, which stand for their ids."""

    @cached_property
    def keys(self) -> Keys:
        """Return the items' keys, ``(items,)``."""
        keys: Keys = self.ids
        return keys
