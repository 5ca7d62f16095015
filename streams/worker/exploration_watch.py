"""Whether exploration leaves the model a say: a worker whose feeds are nearly random warns, once.

What is watched is ``Ranking.entropy``: the entropy of the first position's distribution over that of the uniform one,
exact for each answer, averaged over the newest answers that had something to choose.
"""

import logging
from collections import deque
from threading import Lock

from rankstream.ranking.request import Ranking
from rankstream.streams.settings import Settings

ANSWERS = 100  # that the average is of
NEARLY_RANDOM = 0.9  # of 50 candidates, as many as 34 are then as likely to be first

log = logging.getLogger(__name__)


class ExplorationWatch:
    """Sees each answer of a worker, from any thread."""

    def __init__(self, settings: Settings) -> None:
        self._remedy = {
            "plackett-luce": f"lower --exploration-temperature ({settings.exploration_temperature:g} now, 0.1 explores "
            "a little); if it is low, the bundle scores most candidates of a request alike",
            "epsilon-greedy": f"lower --exploration-epsilon ({settings.exploration_epsilon:g} now)",
        }.get(settings.exploration, "")
        self._entropies: deque[float] = deque(maxlen=ANSWERS)
        self._lock = Lock()
        self._warned = False

    def __call__(self, ranking: Ranking) -> None:
        """Take one answer into account, and warn if that makes the average too high."""
        if ranking.entropy is None or self._warned:
            return
        with self._lock:
            self._entropies.append(ranking.entropy)
            if self._warned or len(self._entropies) < ANSWERS:
                return
            mean = sum(self._entropies) / ANSWERS
            self._warned = mean > NEARLY_RANDOM
        if self._warned:
            log.warning(
                "feeds are nearly random: over the last %d answers the entropy of the first position is %.0f %% of "
                "that of a random order; %s",
                ANSWERS,
                100 * mean,
                self._remedy,
            )
