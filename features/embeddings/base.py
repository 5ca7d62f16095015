"""What every embedding table promises, and the empty one."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from rankstream.features.ids import Keys
from rankstream.features.schema import Bools, Floats


class VectorTable(Protocol):
    """Vectors by key: ``table.EmbeddingTable`` on disk, ``memory.ItemTable`` in memory, or ``NoVectors``."""

    @property
    def dim(self) -> int:
        """Width of a vector."""
        ...

    def look_up(self, keys: Keys) -> tuple[Floats, Bools]:
        """Return ``(n, dim)`` vectors, zeros where the key is unknown, and ``(n,)`` whether it is known."""
        ...


@dataclass(frozen=True)
class NoVectors:
    """An empty embedding table: every lookup misses."""

    dim: int

    def look_up(self, keys: Keys) -> tuple[Floats, Bools]:
        """Return zeros."""
        return np.zeros((len(keys), self.dim), np.float32), np.zeros(len(keys), np.bool_)


@dataclass(frozen=True)
class WithRows:
    """A table with some rows put in place of its own."""

    table: VectorTable
    keys: Keys  # (m,) sorted
    rows: Floats  # (m, dim)

    @property
    def dim(self) -> int:
        """Width of a vector."""
        return self.table.dim

    def look_up(self, keys: Keys) -> tuple[Floats, Bools]:
        """Return ``(n, dim)`` vectors, zeros where the key is unknown, and ``(n,)`` whether it is known."""
        vectors, found = self.table.look_up(keys)
        at = np.minimum(np.searchsorted(self.keys, keys), max(len(self.keys) - 1, 0))
        is_put = self.keys[at] == keys if len(self.keys) else np.zeros(len(keys), np.bool_)
        if is_put.any():
            vectors[is_put] = self.rows[at[is_put]]
            found = found | is_put
        return vectors, found
