"""Item-kNN: items that share sessions with those of the user's session, by cosine."""

from math import sqrt

import numpy as np

from rankstream.evaluation.baselines.base import NOTHING, Scores, UserItems, items_of
from rankstream.evaluation.baselines.session_index import SessionIndex
from rankstream.metrics.arrays import Floats, Ints

REGULARISATION = 20.0  # sessions added to each item's: a few shared sessions are chance


class ItemKNN:
    """The cosine of each item's sessions with those of the session's items, the n-th item back weighing 1 / n.

    Item-to-item cosine as in Sarwar, Karypis, Konstan and Riedl, WWW 2001, over sessions and regularised as the
    baseline of Hidasi, Karatzoglou, Baltrunas and Tikk, ICLR 2016 (lambda 20, alpha 0.5 in their code); the weights are
    the default ("div") of the session-kNN code of Ludewig and Jannach, UMUAI 2018. It recommends other items: those of
    the open session rank last.
    """

    name = "item-kNN"
    about = (
        "cosine of sessions with the session's last 10 items, the n-th back weighing 1/n; the open session's items "
        "rank last (Sarwar et al., WWW 2001; regularised as by Hidasi et al., ICLR 2016)"
    )

    def __init__(self, index: SessionIndex) -> None:
        self.index = index

    def scores(self, user: UserItems, at_ms: int) -> Scores:
        """Return the weighted cosines; -1 for the items of the open session."""
        found = [self._shared(row, 1.0 / back, user) for back, row in enumerate(user.recent, start=1)]
        if not found:
            return NOTHING
        summed = np.bincount(np.concatenate([rows for rows, _ in found]), np.concatenate([one for _, one in found]))
        used = np.array(user.of_session if user.is_open else (), np.int64)
        summed[used[used < len(summed)]] = 0.0
        rows = np.flatnonzero(summed)
        cosines = summed[rows] / np.sqrt(self.index.counts.of(rows) + REGULARISATION)
        return Scores(np.append(rows, used), np.append(cosines, np.full(len(used), -1.0)))

    def _shared(self, row: int, weight: float, user: UserItems) -> tuple[Ints, Floats]:
        """Return the items of an item's other sessions, as often as they occur, and what each occurrence weighs."""
        sessions = self.index.of(row)
        rows = items_of(session for session in sessions if session is not user.session)
        rows = rows[rows != row]
        count = float(self.index.counts.of(np.array([row]))[0])
        times = count / max(1, len(sessions))  # each kept session stands for as many
        return rows, np.full(len(rows), weight * times / sqrt(count + REGULARISATION))
