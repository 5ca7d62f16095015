"""The user's own history, newest first: what repeats itself needs no model."""

import numpy as np

from rankstream.evaluation.baselines.base import NOTHING, Scores, UserItems

OWN_HISTORY = "own history"


class OwnHistory:
    """The items that the user acted on, newest first; the very last one, which seldom comes twice, after the others.

    Source: the personal frequency and recency baselines of next-basket recommendation, as in Li, Jullien, Ariannezhad
    and de Rijke, A Next Basket Recommendation Reality Check, TOIS 2023.
    """

    name = OWN_HISTORY
    about = "what the user acted on, newest first, the very last item after the others (Li et al., TOIS 2023)"

    def scores(self, user: UserItems, at_ms: int) -> Scores:
        """Return the newer, the higher."""
        if not user.history:
            return NOTHING
        last, *older = user.history
        rows = np.array([*older, last], np.int64)
        return Scores(rows, np.arange(len(rows), 0, -1, dtype=np.float64))
