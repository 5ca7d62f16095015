"""VMIS-kNN: items of the sessions that are most like the user's."""

from heapq import nlargest
from math import log

import numpy as np

from rankstream.evaluation.baselines.base import NOTHING, Scores, Session, UserItems
from rankstream.evaluation.baselines.session_index import SessionIndex

SAMPLED = 500  # newest sessions that share an item with the user's, of which neighbours are chosen: m
NEIGHBOURS = 100  # k


class VMISKNN:
    """Vector-Multiplication-Indexed-Session kNN.

    A neighbour is as similar as the positions of the shared items are late in the user's session; it adds that, times
    a weight that falls by a tenth for each step back of the newest shared item, times the item's inverse frequency.
    Source: Kersbergen, Sprangers and Schelter, Serenade: Low-Latency Session-Based Recommendation in e-Commerce at
    Scale, SIGMOD 2022, algorithm 1; m = 500, k = 100. Sessions that are still open count too, the user's own does not.
    """

    name = "VMIS-kNN"
    about = f"items of the {NEIGHBOURS} most similar of the {SAMPLED} newest sessions (Kersbergen et al., SIGMOD 2022)"

    def __init__(self, index: SessionIndex) -> None:
        self.index = index

    def scores(self, user: UserItems, at_ms: int) -> Scores:
        """Return the sums over the neighbours."""
        similarity: dict[Session, float] = {}
        newest_shared: dict[Session, int] = {}  # steps back
        length = len(user.recent)
        for back, row in enumerate(user.recent):
            for session in self.index.of(row):
                similarity[session] = similarity.get(session, 0.0) + (length - back) / length
                newest_shared.setdefault(session, back)
        if user.session is not None:
            similarity.pop(user.session, None)
        if not similarity:
            return NOTHING
        sampled = nlargest(SAMPLED, similarity, key=lambda session: session.number)
        neighbours = nlargest(NEIGHBOURS, sampled, key=lambda session: (similarity[session], session.number))
        weights = [similarity[session] * (1.0 - newest_shared[session] / 10) for session in neighbours]
        rows = np.concatenate([np.frombuffer(session.items, np.int64) for session in neighbours])
        summed = np.bincount(rows, np.repeat(weights, [len(session.items) for session in neighbours]))
        rows = np.flatnonzero(summed)
        return Scores(rows, summed[rows] * (log(self.index.total + 1) - np.log(self.index.counts.of(rows))))
