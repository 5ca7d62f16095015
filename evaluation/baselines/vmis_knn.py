"""VMIS-kNN: items of the sessions that are most like the user's."""

from dataclasses import dataclass
from heapq import nlargest
from math import log

import numpy as np

from rankstream.evaluation.baselines.base import NOTHING, RECENT_ITEMS, Scores, Session, UserItems
from rankstream.evaluation.baselines.session_index import SessionIndex


@dataclass(frozen=True)
class VMISSizes:
    """How many sessions and items count; the defaults are fixed for all logs."""

    sampled: int = 500  # newest sessions that share an item with the user's, of which neighbours are chosen: m
    neighbours: int = 100  # k
    items: int = (
        RECENT_ITEMS  # newest ones of the user's session that neighbours are looked up by; older have no weight
    )


USUAL = VMISSizes()


class VMISKNN:
    """Vector-Multiplication-Indexed-Session kNN.

    A neighbour is as similar as the positions of the shared items are late in the user's session; it adds that, times
    a weight that falls by a tenth for each step back of the newest shared item, times the item's inverse frequency.
    Source: Kersbergen, Sprangers and Schelter, Serenade: Low-Latency Session-Based Recommendation in e-Commerce at
    Scale, SIGMOD 2022, algorithm 1. Sessions that are still open count too, the user's own does not.
    """

    def __init__(self, index: SessionIndex, sizes: VMISSizes = USUAL, name: str = "VMIS-kNN") -> None:
        self.index, self.sizes, self.name = index, sizes, name

    @property
    def about(self) -> str:
        """Return in words what it ranks by, and its source."""
        sizes = self.sizes
        return (
            f"items of the {sizes.neighbours} most similar of the {sizes.sampled} newest sessions "
            "(Kersbergen et al., SIGMOD 2022)"
        )

    def scores(self, user: UserItems, at_ms: int) -> Scores:
        """Return the sums over the neighbours."""
        similarity: dict[Session, float] = {}
        newest_shared: dict[Session, int] = {}  # steps back
        recent = user.recent[: self.sizes.items]
        for back, row in enumerate(recent):
            for session in self.index.of(row):
                similarity[session] = similarity.get(session, 0.0) + (len(recent) - back) / len(recent)
                newest_shared.setdefault(session, back)
        if user.session is not None:
            similarity.pop(user.session, None)
        if not similarity:
            return NOTHING
        sampled = nlargest(self.sizes.sampled, similarity, key=lambda session: session.number)
        neighbours = nlargest(self.sizes.neighbours, sampled, key=lambda session: (similarity[session], session.number))
        weights = [similarity[session] * (1.0 - newest_shared[session] / 10) for session in neighbours]
        rows = np.concatenate([np.frombuffer(session.items, np.int64) for session in neighbours])
        summed = np.bincount(rows, np.repeat(weights, [len(session.items) for session in neighbours]))
        rows = np.flatnonzero(summed)
        return Scores(rows, summed[rows] * (log(self.index.total + 1) - np.log(self.index.counts.of(rows))))
