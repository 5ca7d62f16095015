"""How many of the requests that wait can be ranked in time; the others are answered by popularity at once.

A queue before a worker that is asked for more than it can rank grows for as long as that lasts, and soon everything
that leaves it is late. So, before each few requests are taken::

    would all that wait be answered within IN_TIME of the limit?     yes: the oldest are next
    no: the newest that KEPT of the limit is enough for are kept, and those before them are shed

What is kept is never more than can be done soon, so answers stay fresh however much comes in, and a queue that an
outage has left is gone at once. Few requests are always ranked, however old: there is nothing that they hold up.
"""

from dataclasses import dataclass

IN_TIME = 0.8  # share of the limit: the rest is the way to and from the brokers
KEPT = 0.4  # share of the limit
AT_ONCE = 0.1  # share of the limit, of the requests that are scored in one go: newer ones wait for them
MOST_AT_ONCE = 16  # so that a rebalance need not wait for more
WEIGHT = 0.2  # of the newest measurement in the average


@dataclass
class Load:
    """What ranking takes on a partition: as measured, waiting for other partitions included."""

    within_s: float  # the limit; 0 for none: everything is ranked, oldest first
    seconds_each: float | None = None  # of a request; not known before the first

    @property
    def at_once(self) -> int:
        """Return how many requests to rank in one go."""
        if not self.within_s or self.seconds_each is None:
            return MOST_AT_ONCE
        return max(1, min(MOST_AT_ONCE, int(AT_ONCE * self.within_s / self.seconds_each)))

    def num_shed(self, waiting: int, oldest_age_s: float) -> int:
        """Return how many of those that wait, the oldest of them, are not to be ranked."""
        if not self.within_s or self.seconds_each is None:
            return 0
        if oldest_age_s + waiting * self.seconds_each <= IN_TIME * self.within_s:
            return 0
        return max(0, waiting - max(self.at_once, int(KEPT * self.within_s / self.seconds_each)))

    def took(self, seconds: float, requests: int) -> None:
        """Note what some requests have taken."""
        each = seconds / requests
        self.seconds_each = (
            each if self.seconds_each is None else self.seconds_each + WEIGHT * (each - self.seconds_each)
        )
