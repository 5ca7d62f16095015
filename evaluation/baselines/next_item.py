"""The last item's neighbours: what followed the last item in sessions."""

from collections import deque

import numpy as np

from rankstream.evaluation.baselines.base import NOTHING, Scores, Step, UserItems

MAX_FOLLOWERS = 1_000  # newest followers of an item that are counted


class NextItem:
    """How often each item came just after the user's last one, in sessions of all users.

    Source: the Markov chains ("MC") of Ludewig and Jannach, Evaluation of Session-based Recommendation Algorithms,
    UMUAI 2018.
    """

    name = "next after the last item"
    about = (
        f"how often each item came just after the user's last one in sessions, of the newest {MAX_FOLLOWERS:,} times "
        "(MC of Ludewig and Jannach, UMUAI 2018)"
    )

    def __init__(self) -> None:
        self._followers: dict[int, deque[int]] = {}

    def learn(self, step: Step) -> None:
        """Count the item as a follower of the one before it."""
        if step.before is not None and step.before != step.row:
            self._followers.setdefault(step.before, deque(maxlen=MAX_FOLLOWERS)).append(step.row)

    def scores(self, user: UserItems, at_ms: int) -> Scores:
        """Return the counts of the last item's followers."""
        followers = self._followers.get(user.history[0]) if user.history else None
        if not followers:
            return NOTHING
        rows, counts = np.unique(np.fromiter(followers, np.int64, len(followers)), return_counts=True)
        return Scores(rows, counts.astype(np.float64))
