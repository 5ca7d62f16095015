"""Two models side by side: each user is ranked by one of them, always the same one.

::

    hash of salt and user id  < share  -> treatment        the feed names the variant; `rankstream monitor` compares
                             >= share  -> control

No assignment is kept anywhere: every worker comes to the same one, and another salt assigns anew. A user's sessions are
folded by the session encoder of their own variant. States hold codes of actions, so both models must know the same
names; while they don't, the treatment has no users, and feeds say so: its share is 0.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

import xxhash

from rankstream.features.actions import Vocabulary
from rankstream.features.sessions import SessionEncoder
from rankstream.ranking.bundle import Bundle, BundleRefusedError
from rankstream.ranking.ranker import Ranker
from rankstream.ranking.request import Variant
from rankstream.ranking.served_versions import ServedVersion
from rankstream.ranking.serving import LiveRanker

CONTROL, TREATMENT = "control", "treatment"
HASHES = 1 << 64

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Assignment:
    """Which users the treatment has."""

    share: float  # of all users, 0 to 1
    salt: str = ""

    def variant_of(self, key: bytes) -> str:
        """Return the variant of a user, by the bytes of their id."""
        hashed = xxhash.xxh3_64_intdigest(self.salt.encode() + b"\0" + key)
        return TREATMENT if hashed < self.share * HASHES else CONTROL


@dataclass(frozen=True, slots=True)
class Pair:
    """The two rankers of a time, as they were served there and as they rank here: they say their variant."""

    served: tuple[Ranker, Ranker]  # control and treatment, without a variant
    control: Ranker
    treatment: Ranker  # the control's where its own can't serve


@dataclass
class Experiment:
    """Serves two models; safe to use from many threads, as each of them is."""

    control: LiveRanker
    treatment: LiveRanker
    assignment: Assignment
    _pair: Pair | None = None  # of the newest rankers
    _told: str | None = None  # why the treatment does not serve

    def __post_init__(self) -> None:
        """Raise ``BundleRefusedError`` where the two can't share users' states."""
        why = unlike(self.control, self.treatment)
        if why is not None:
            raise BundleRefusedError(f"the variant's bundle can't serve beside the other one: {why}")

    @property
    def current(self) -> Ranker:
        """The control's ranker."""
        return self.control.current

    @property
    def vocabulary(self) -> Vocabulary:
        """The control's names of actions and surfaces."""
        return self.control.vocabulary

    @property
    def sessions(self) -> SessionEncoder:
        """The control's session encoder."""
        return self.control.sessions

    @property
    def bundle(self) -> Bundle | None:
        """The control's bundle."""
        return self.control.bundle

    def keep_up(self) -> None:
        """Begin to look for what was published since, for both."""
        self.control.keep_up()
        self.treatment.keep_up()

    def for_user(self, key: bytes) -> Ranker:
        """Return the ranker of a user's variant; the control's where a swap has made the two unlike."""
        control, treatment, pair = self.control.current, self.treatment.current, self._pair
        if pair is None or pair.served[0] is not control or pair.served[1] is not treatment:
            pair = self._pair = self._paired(control, treatment)
        return pair.treatment if self.assignment.variant_of(key) == TREATMENT else pair.control

    def versions(self) -> dict[str, ServedVersion]:
        """Return what serves now, by kind; the treatment's model beside the control's."""
        return self.control.versions() | {"treatment_model": self.treatment.versions()["model"]}

    @property
    def refused_swaps(self) -> int:
        """How many bundles did not come to serve, of both."""
        return self.control.refused_swaps + self.treatment.refused_swaps

    def admit_by(self, admit: Callable[[Vocabulary], None]) -> None:
        """Have the control's bundles admitted: actions are decoded by their names, the treatment's must be these."""
        self.control.admit_by(admit)

    def reload(self) -> bool:
        """Swap to the bundles that are there, and return whether one of them serves anew."""
        return any([self.control.reload(), self.treatment.reload()])

    def _paired(self, control: Ranker, treatment: Ranker) -> Pair:
        """Return two rankers with their variants: both the control where they don't fit together."""
        served, salt = (control, treatment), self.assignment.salt
        if not self._are_alike():
            alone = replace(control, variant=Variant(CONTROL, 0.0, salt))
            return Pair(served, alone, alone)
        named = (
            replace(ranker, variant=Variant(name, self.assignment.share, salt))
            for name, ranker in ((CONTROL, control), (TREATMENT, treatment))
        )
        return Pair(served, *named)

    def _are_alike(self) -> bool:
        """Return whether the treatment may serve; say so once where it may not."""
        why = unlike(self.control, self.treatment)
        if why != self._told:
            self._told = why
            if why is None:
                log.info("the variant serves its users again")
            else:
                log.error("the variant does not serve, and its users are ranked by the control: %s", why)
        return why is None


def unlike(control: LiveRanker, treatment: LiveRanker) -> str | None:
    """Return why two models can't serve beside each other; None where they can."""
    if treatment.sessions.state_size and not control.sessions.state_size:
        return "it has a model of sessions and the other has none; change the two places"
    was, other = control.vocabulary, treatment.vocabulary
    for what, names, others in (("actions", was.actions, other.actions), ("surfaces", was.surfaces, other.surfaces)):
        if names[: len(others)] != others:
            return f"its {what} are {', '.join(others)}, and the other's {', '.join(names)}; wanted the same names"
    return None
