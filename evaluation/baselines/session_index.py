"""Which sessions hold an item: what both nearest-neighbour baselines look up, in bounded memory."""

from collections import deque
from collections.abc import Collection

from rankstream.evaluation.baselines.base import Session, Step, Totals

MAX_SESSIONS = 500  # newest sessions of an item that are kept


class SessionIndex:
    """The newest sessions of each item, and how many there have been.

    A session that no item keeps any more is forgotten: memory grows with the items, not with the log.
    """

    def __init__(self) -> None:
        self.total = 0  # sessions so far
        self.counts = Totals()  # sessions of each item so far
        self._of_item: dict[int, deque[Session]] = {}

    def learn(self, step: Step) -> None:
        """Add the session to the item's, unless it is there."""
        if step.is_first:
            self._of_item.setdefault(step.row, deque(maxlen=MAX_SESSIONS)).append(step.session)
            self.counts.add(step.row)
            self.total += len(step.session.items) == 1

    def of(self, row: int) -> Collection[Session]:
        """Return an item's newest sessions, in the order that they came to it."""
        return self._of_item.get(row, ())
