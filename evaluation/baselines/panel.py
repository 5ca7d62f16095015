"""The baselines that stand beside every variant: they read what the variants read, without a delay, and go on learning.

::

    arrivals -> Steps -> each baseline                   user, time -> Asked: the scores of each, as of then
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from rankstream.evaluation.baselines.base import NOTHING, Baseline, ItemRows, Learner, Scores, Step, UserItems
from rankstream.evaluation.baselines.item_knn import ItemKNN
from rankstream.evaluation.baselines.next_item import NextItem
from rankstream.evaluation.baselines.own_history import OWN_HISTORY, OwnHistory
from rankstream.evaluation.baselines.popularity import POPULARITY, Popularity, RecentPopularity
from rankstream.evaluation.baselines.ranks import noise_of, ranks_at
from rankstream.evaluation.baselines.session_index import SessionIndex
from rankstream.evaluation.baselines.steps import Counted, Steps
from rankstream.evaluation.baselines.vmis_knn import VMISKNN
from rankstream.events.arrivals import Arrivals
from rankstream.events.log_kind import REPEATED_OFTEN
from rankstream.features.ids import Keys
from rankstream.features.sessions import SESSION_GAP_MS
from rankstream.metrics.arrays import Ints

RANDOM = "random order"
RANDOM_ABOUT = "computed exactly, not sampled"
ALL_ACTIONS = (1 << 64) - 1  # a mask
MakeBaseline = Callable[[SessionIndex], Baseline]
MakeOfLists = Callable[[ItemRows], Baseline]


@dataclass(frozen=True)
class Asked:
    """The scores of each baseline for one query."""

    scores: Mapping[str, Scores] = field(default_factory=dict)


NOT_ASKED = Asked()


class Baselines:
    """All baselines, fed with one log."""

    def __init__(
        self,
        counted: Counted,
        gap_ms: int = SESSION_GAP_MS,
        further: Sequence[MakeBaseline] = (),
        of_lists: Sequence[MakeOfLists] = (),
    ) -> None:
        """``further`` are made of the sessions, ``of_lists`` of what the log says was shown."""
        self.items = ItemRows()
        self.steps = Steps(counted, self.items, gap_ms)
        index, popularity, recent, next_item = SessionIndex(), Popularity(), RecentPopularity(), NextItem()
        self.each: tuple[Baseline, ...] = (
            popularity, recent, next_item, ItemKNN(index), VMISKNN(index), OwnHistory(),
            *(make(index) for make in further), *(one(self.items) for one in of_lists),
        )  # fmt: skip
        self._learners: tuple[Learner, ...] = (popularity, recent, next_item, index)

    def feed(self, arrivals: Arrivals) -> None:
        """Take the next arrivals of the log."""
        for step in self.steps.arrive(arrivals):
            self._learn(step)

    def ask(self, user_key: bytes, at_ms: int, arrived_ms: int) -> Asked:
        """Return all scores for a user of the log, by what arrived before ``arrived_ms``."""
        for step in self.steps.before(arrived_ms):
            self._learn(step)
        return self.ask_about(self.steps.user(user_key, at_ms), at_ms)

    def ask_about(self, user: UserItems, at_ms: int) -> Asked:
        """Return all scores for a user of whom this is known, by what has been learned."""
        return Asked({one.name: one.scores(user, at_ms) for one in self.each})

    def left_out(self) -> list[str]:
        """Return the baselines that mean nothing on this log."""
        return [OWN_HISTORY] if self.steps.repeated < REPEATED_OFTEN * self.steps.taken else []

    def about(self) -> dict[str, str]:
        """Return in words what each ranks by."""
        return {one.name: one.about for one in self.each} | {RANDOM: RANDOM_ABOUT}

    def ranks(self, asked: Asked, keys: Keys, relevant: Ints, *names: object) -> dict[str, Ints]:
        """Return each baseline's ranks ``(N,)`` of the candidates ``keys``, from 1; 0 for those not in ``relevant``.

        ``relevant`` are rows of the candidates: sorting all of them for the ranks of one would take most of the time.
        Equal scores rank by popularity, then at random, by the names of the query.
        """
        rows, noise = self.items.rows_of(keys), noise_of(keys, *names)
        popular = asked.scores.get(POPULARITY, NOTHING).of(rows)
        return {name: ranks_at(relevant, noise, one.of(rows), popular) for name, one in asked.scores.items()}

    def _learn(self, step: Step) -> None:
        for one in self._learners:
            one.learn(step)
