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
