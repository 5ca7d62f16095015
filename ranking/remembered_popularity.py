"""How popular items are, remembered by id: an answer by popularity is for when there is no time, so it costs little.

What popularity says of an item is the same for everybody while one version of the counts serves. So each id is looked
up once; from then on a request is a look-up in a dictionary for each candidate, and a few calls of numpy.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rankstream.features.ids import Id, Keys, id_keys
from rankstream.features.schema import Bools
from rankstream.ranking.blend import Indices, first_positions
from rankstream.ranking.request import FeedItem
from rankstream.ranking.utility import Scores

MAX_REMEMBERED = 1 << 16  # ids, 20 MB; when there are more, all are forgotten

LookUp = Callable[[Keys], tuple[Scores, Bools]]  # of keys: how popular they are, and whether they are known


@dataclass(frozen=True)
class Standing:
    """What popularity says of the candidates of one request."""

    slots: npt.NDArray[np.int32]  # (N,): equal ones are one item, as ``7`` and ``"7"`` are
    scores: Scores  # (N,)
    known: Bools  # (N,)
    ids: Sequence[Id]  # (N,), as they were given
    remembered: Mapping[Id, FeedItem]

    def firsts(self) -> Indices | None:
        """Return the index of each item's first occurrence, in order; None where none comes twice."""
        ordered = np.sort(self.slots)
        return first_positions(self.slots) if (ordered[1:] == ordered[:-1]).any() else None

    def of(self, chosen: Indices) -> "Standing":
        """Return that of some of the candidates."""
        ids = [self.ids[at] for at in chosen.tolist()]
        return Standing(self.slots[chosen], self.scores[chosen], self.known[chosen], ids, self.remembered)

    def items(self, order: Sequence[int]) -> tuple[FeedItem, ...]:
        """Return the positions of a feed in this order."""
        return tuple([self.remembered[self.ids[at]] for at in order])


class RememberedPopularity:
    """A look-up with a memory; safe to call from many threads."""

    def __init__(self, look_up: LookUp, max_ids: int = MAX_REMEMBERED) -> None:
        self._look_up = look_up
        self._max_ids = max_ids
        self._memory = _Memory(0)
        self._filling = threading.Lock()

    def standing(self, ids: Sequence[Id]) -> Standing:
        """Return what the look-up says of these ids."""
        memory = self._memory
        try:
            return memory.standing(ids)
        except KeyError:
            return self._with(ids).standing(ids)

    def _with(self, ids: Sequence[Id]) -> "_Memory":
        """Return a memory that holds these ids: the one at hand, or a new one where it is full."""
        with self._filling:
            new = self._memory.without(ids)
            if len(self._memory.slots) + len(new) > len(self._memory.scores):
                new = list(dict.fromkeys(ids))
                self._memory = _Memory(max(self._max_ids, len(new)))
            keys = id_keys(new)
            self._memory.add(new, keys, *self._look_up(keys))
            return self._memory


class _Memory:
    """Numbers by slot, a slot an item; what an id was given stays."""

    def __init__(self, size: int) -> None:
        self.slots: dict[Id, int] = {}
        self.items: dict[Id, FeedItem] = {}
        self.scores = np.empty(size, np.float64)
        self.known = np.empty(size, np.bool_)
        self._of_key: dict[int, int] = {}

    def standing(self, ids: Sequence[Id]) -> Standing:
        """Return what is remembered of these ids. Raises ``KeyError`` where one is not."""
        slots = np.fromiter(map(self.slots.__getitem__, ids), np.int32, len(ids))
        return Standing(slots, self.scores.take(slots), self.known.take(slots), ids, self.items)

    def without(self, ids: Sequence[Id]) -> list[Id]:
        """Return those of the ids that are not remembered, each once."""
        return [one for one in dict.fromkeys(ids) if one not in self.slots]

    def add(self, ids: Sequence[Id], keys: Keys, scores: Scores, known: Bools) -> None:
        """Remember ids; others see one once its slot stands, last."""
        rows = zip(ids, keys.tolist(), scores.tolist(), known.tolist(), strict=True)
        for identifier, key, score, is_known in rows:
            slot = self._of_key.setdefault(key, len(self._of_key))
            self.scores[slot], self.known[slot] = score, is_known
            self.items[identifier] = FeedItem(identifier, score, {})
            self.slots[identifier] = slot
