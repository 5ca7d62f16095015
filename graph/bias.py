"""Walks that prefer what is about the same as where they began (Pixie, section 3.1 (1): biasing the walk).

The paper keeps edges of one language, or one topic, next to each other, so that a walk which prefers it draws from a
part of a list, and nothing is filtered. Here a board's items lie by topic, and a walk prefers that of its first item::

    breakfast    food: tea milk rice    drink: cola        begun at milk: any of the four, or, preferring, of the three
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rankstream.features.matches.tables import Lists, Rows32
from rankstream.features.schema import Ints


@dataclass(frozen=True)
class Bias:
    """How strongly walks prefer their topic, and where each topic lies in the lists of boards."""

    share: float  # probability that a step prefers it, where the board has any item of it
    topics: Rows32  # (n,) of each item, from 0; -1 for unknown, which is preferred by none
    items: Lists  # of each board, by topic

    @cached_property
    def width(self) -> int:
        """Return how many topics there are, and one more, for unknown."""
        return int(self.topics.max(initial=-1)) + 2

    @cached_property
    def cells(self) -> Ints:
        """Return ``board * width + topic + 1`` of each entry, ascending."""
        boards = np.repeat(np.arange(len(self.items)), np.diff(self.items.starts))
        found: Ints = boards * self.width + self.topics[self.items.rows] + 1
        return found

    @cached_property
    def runs(self) -> tuple[Ints, Ints]:
        """Return the different cells and where each starts, with the end of the last one."""
        cells, starts = np.unique(self.cells, return_index=True)
        return cells, np.append(starts, len(self.cells)).astype(np.int64)

    def ranges(self, boards: Ints, topics: Rows32, rng: np.random.Generator) -> tuple[Ints, Ints]:
        """Return where what each walk draws from starts, and how much that is: a board's items, or those of a topic."""
        starts = self.items.starts.take(boards)
        lengths = self.items.starts.take(boards + 1) - starts
        cells, begins = self.runs
        wanted = boards * self.width + topics + 1
        at = np.minimum(np.searchsorted(cells, wanted), len(cells) - 1)
        prefers = (cells[at] == wanted) & (topics >= 0) & (rng.random(len(boards)) < self.share)
        return np.where(prefers, begins[at], starts), np.where(prefers, begins[at + 1] - begins[at], lengths)
