"""What every embedding table promises, and the empty one."""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from rankstream.features.embeddings.key_search import KeySearch
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

    @cached_property
    def search(self) -> KeySearch:
        """Return what finds rows of keys."""
        return KeySearch(np.ascontiguousarray(self.keys))  # as kernels take them

    def look_up(self, keys: Keys) -> tuple[Floats, Bools]:
        """Return ``(n, dim)`` vectors, zeros where the key is unknown, and ``(n,)`` whether it is known."""
        vectors, found = self.table.look_up(keys)
        rows, is_put = self.search.find(keys)
        vectors[is_put] = self.rows[rows[is_put]]
        return vectors, found | is_put
