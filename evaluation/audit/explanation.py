"""An explanation as plain values, the same for the terminal and for ``--json``."""

from dataclasses import dataclass

from rankstream.evaluation.audit.occlusion import Effect
from rankstream.features.ids import Id


@dataclass(frozen=True)
class KnownAction:
    """An action of the history that had happened when the request was ranked."""

    number: int  # from the newest, 0
    item_id: Id
    action: str
    surface: str | None
    value: float | None  # as the state keeps it, within 2.2 %
    occurred_at_ms: int
    age_ms: int  # 0 where its time is after the request's: clocks differ
    session: int  # 0: the open one, or the newest if none is open; 1: the one before; ...
    in_item_table: bool
    read_by_encoder: bool  # it sees the newest ``num_actions`` of types that it was trained with
    offset: int  # in user-actions
    arrival_delay_ms: int  # from when it happened to when it was in Kafka


@dataclass(frozen=True)
class MissedAction:
    """An action that had happened, but whose record was not applied yet."""

    item_id: Id
    action: str
    occurred_at_ms: int
    offset: int
    arrival_delay_ms: int  # from when it happened to when it was in Kafka


@dataclass(frozen=True)
class Sessions:
    """The user's sessions as HierTCN reads them."""

    open_items: int  # 0: none is open
    closed_in_history: int
    folded: bool  # are there older ones in the recurrent state?


@dataclass(frozen=True)
class UserVector:
    """The offline side of the user."""

    version: str | None  # None: no table was served
    as_of_ms: int | None
    age_ms: int | None
    found: bool


@dataclass(frozen=True)
class CountsOfItems:
    """The item counts that were served."""

    version: str | None  # None: the bundle's own
    as_of_ms: int
    age_ms: int


@dataclass(frozen=True)
class VectorsOfItems:
    """The item vectors that were served."""

    version: str | None  # None: the bundle's own
    as_of_ms: int
    age_ms: int


@dataclass(frozen=True)
class Term:
    """One head's part of a score."""

    head: str
    probability: float  # a score where ``Explanation.calibrated`` does not name the head
    weight: float
    term: float  # weight x probability; all of them add up to the item's score


@dataclass(frozen=True)
class ExplainedItem:
    """Why one item had its rank."""

    item_id: Id
    rank: int  # as in the feed; by score alone if a policy explored
    served_rank: int | None  # None: beyond the feed's end
    propensity: float | None  # with exploration: of this item at its served rank
    score: float
    in_item_table: bool
    terms: tuple[Term, ...]
    effects: tuple[Effect, ...]  # of all actions, each of the tables, and each action, newest first
    source: str | None = None  # what proposed it; None: the request named it, or there is one source alone
    because_of: Id | None = None  # the item that its source asked with, where that is one: an interest's


@dataclass(frozen=True)
class Explanation:
    """All of it; plain values throughout."""

    request_id: Id
    user_id: Id
    at_ms: int
    model_version: str
    calibrated: tuple[str, ...] | None  # heads whose numbers are probabilities; None: the bundle does not say
    policy: str | None  # with exploration: what ordered the feed by the scores
    partition: int
    request_offset: int
    state_offset: int
    state_actions: int
    identical: bool  # is what was computed now what was served, to the bit?
    differs: str  # how, if not
    history: tuple[KnownAction, ...]  # newest first
    missed: tuple[MissedAction, ...]
    sessions: Sessions
    user_vector: UserVector
    item_counts: CountsOfItems
    item_vectors: VectorsOfItems
    candidates: int
    unknown_items: tuple[Id, ...]  # candidates that are not in the item table
    items: tuple[ExplainedItem, ...]
