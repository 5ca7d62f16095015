"""What is asked of a ranker and what it answers; wire formats are in ``streams/codec.py``."""

from dataclasses import dataclass, field

from rankstream.features.ids import Id
from rankstream.features.schema import ModelInputs


@dataclass(frozen=True, slots=True)
class RankRequest:
    """Rank these candidates for this user, or the best ``limit`` that retrieval finds."""

    request_id: Id
    user_id: Id
    candidates: tuple[Id, ...] | None = None  # 1 to 5,000, ids as they came
    limit: int | None = None  # how many retrieval shall propose, where there are no candidates
    groups: tuple[Id, ...] | None = None  # of each candidate (an author, a shop), for max_per_group
    max_per_group: int | None = None
    top_k: int | None = None  # how many to answer with; all if None
    timestamp_ms: int | None = None  # the moment to rank at, UTC; the worker's clock if None
    deadline_ms: int | None = None  # UTC; an answer later than this is of no use


@dataclass(frozen=True, slots=True)
class RankedItem:
    """One place of a feed."""

    item_id: Id
    score: float  # utility
    probabilities: tuple[float, ...]  # one a head
    propensity: float | None = None  # of this item at this place, given those before it; None without exploration


@dataclass(frozen=True, slots=True)
class Ranking:
    """The answer, best first."""

    items: tuple[RankedItem, ...]
    heads: tuple[str, ...]
    model_version: str
    actions_used: int  # newest actions that the encoder saw
    newest_action_age_ms: int | None  # None for a user without actions
    user_vector_found: bool
    unknown_items: int  # candidates that are not in the item table: ranked by a zero vector
    timings_ms: dict[str, float] = field(default_factory=dict)  # join, score, blend, total
    user_vectors: str | None = None  # version of the table of user vectors; None without one
    inputs: ModelInputs | None = field(default=None, compare=False, repr=False)  # exactly what was scored
    policy: str | None = None  # what had a hand in the order besides the scores; None without exploration
    num_candidates: int = 0  # that were ranked, each item counted once; more than items where limits left some out


class RankingRefusedError(ValueError):
    """A request that can't be answered; ``reason`` is a short constant, the message says the rest."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
