"""How many of the requests that wait can be ranked in time; the others are answered by popularity at once.

A queue before a worker that is asked for more than it can rank grows for as long as that lasts, and soon everything
that leaves it is late. So, before each few requests are taken::

    would all that wait be answered within IN_TIME of the limit?     yes: the oldest are next
    no: the newest that KEPT of the limit is enough for are kept, and those before them are shed

What is kept is never more than can be done soon, so answers stay fresh however much comes in, and a queue that an
outage has left is gone at once. Few requests are always ranked, however old: there is nothing that they hold up.

While requests are shed, what they cost is taken from those that are ranked. So it is kept low: fewer fetches, each of
more records (``Overload``), and many requests shed in one go.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic

from rankstream.events.action_event import Record

IN_TIME = 0.8  # share of the limit: the rest is the way to and from the brokers
KEPT = 0.4  # share of the limit
AT_ONCE = 0.1  # share of the limit, of the requests that are scored in one go: newer ones wait for them
MOST_AT_ONCE = 16  # so that a rebalance need not wait for more
WEIGHT = 0.2  # of the newest measurement in the average
SHED_AT_ONCE = 64  # requests, on the event loop: some milliseconds
SHED_BYTES = 256 << 10  # of these, in values: the largest request alone takes longer than that
LASTS_S = 1.0  # after the last request that was shed
FETCH_SHARE = 0.05  # of the limit, from one fetch to the next while it lasts
SLOWEST_FETCHES_S = 0.025  # the longest of that: actions come with the same fetches

Clock = Callable[[], float]


class Overload:
    """Whether a worker is asked for more than it can rank, on any of its partitions; read by the thread that fetches.

    A fetch costs about as much as ten shed requests, however few records it brings.
    """

    def __init__(self, within_s: float = 0.0, clock: Clock = monotonic) -> None:
        self.within_s = within_s  # the limit
        self._clock = clock
        self._shed_at_s = -LASTS_S

    def shed(self) -> None:
        """Note that requests are shed now."""
        self._shed_at_s = self._clock()

    def fetch_pace_s(self, calm_s: float) -> float:
        """Return the least time from one fetch to the next, ``calm_s`` where the worker keeps up."""
        lasts = self._clock() - self._shed_at_s < LASTS_S
        return max(calm_s, min(FETCH_SHARE * self.within_s, SLOWEST_FETCHES_S)) if lasts else calm_s


@dataclass
class Load:
    """What ranking takes on a partition: as measured, waiting for other partitions included."""

    within_s: float  # the limit; 0 for none: everything is ranked, oldest first
    seconds_each: float | None = None  # of a request; not known before the first
    overload: Overload = field(default_factory=Overload)  # of the worker

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

    def to_shed(self, waiting: Sequence[Record], behind: int, oldest_age_s: float) -> int:
        """Return how many of ``waiting``, the oldest of all that wait, to shed in one go; ``behind`` are newer."""
        shed = min(self.num_shed(len(waiting) + behind, oldest_age_s), len(waiting), SHED_AT_ONCE)
        if not shed:
            return 0
        self.overload.shed()
        room = SHED_BYTES
        for count, record in enumerate(waiting[:shed]):
            room -= len(record.value or b"")
            if room < 0:
                return max(1, count)
        return shed

    def took(self, seconds: float, requests: int) -> None:
        """Note what some requests have taken."""
        each = seconds / requests
        self.seconds_each = (
            each if self.seconds_each is None else self.seconds_each + WEIGHT * (each - self.seconds_each)
        )
