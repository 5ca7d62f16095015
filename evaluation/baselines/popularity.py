"""Popularity: the order by each item's positives, all of them alike or the newer ones more."""

from rankstream.evaluation.baselines.base import Scores, Step, Totals, UserItems

POPULARITY = "popularity"
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
HALF_LIFE_DAYS = 7
MAX_DOUBLINGS = 500.0  # a float holds twice as many


class Popularity:
    """How many positives each item has had until the last full hour."""

    name = POPULARITY
    about = "each item's positives until the last full hour"

    def __init__(self) -> None:
        self._totals, self._hour = Totals(), 0
        self._of_hour: list[tuple[int, int]] = []  # item and hour of the positives that do not count yet
        self._scores: Scores | None = None

    def learn(self, step: Step) -> None:
        """Count a positive."""
        if step.is_positive:
            hour = step.at_ms // HOUR_MS
            self._advance(hour)
            self._of_hour.append((step.row, hour))

    def scores(self, user: UserItems, at_ms: int) -> Scores:
        """Return the totals, the same for all users."""
        self._advance(at_ms // HOUR_MS)
        if self._scores is None:
            self._scores = self._totals.scores()
        return self._scores

    def _advance(self, hour: int) -> None:
        if hour <= self._hour:
            return
        for row, of in self._of_hour:
            self._totals.add(row, self._weight(of))
        if self._of_hour:
            self._of_hour, self._scores = [], None
        self._hour = hour

    def _weight(self, hour: int) -> float:
        return 1.0


class RecentPopularity(Popularity):
    """The same, a positive counting half as much every ``HALF_LIFE_DAYS``.

    Source: Ji, Sun, Zhang and Li, A Re-visit of the Popularity Baseline in Recommender Systems, SIGIR 2020 (DecayPop).
    """

    name = "recent popularity"
    about = f"the same, a positive counting half as much every {HALF_LIFE_DAYS} days (DecayPop, Ji et al., SIGIR 2020)"

    def __init__(self) -> None:
        super().__init__()
        self._since: int | None = None  # the hour whose positives weigh 1; later ones weigh more

    def _weight(self, hour: int) -> float:
        if self._since is None:
            self._since = hour
        doublings = (hour - self._since) / (24 * HALF_LIFE_DAYS)
        if doublings > MAX_DOUBLINGS:
            self._totals.scale(0.5**doublings)
            self._since, doublings = hour, 0.0
        return float(2.0**doublings)
