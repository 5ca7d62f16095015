"""Builders of the small true things that tests are made of."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rankstream.features.actions import Action, Vocabulary, pack_erasure
from rankstream.features.history import History
from rankstream.features.ids import Id, Keys, id_bytes, id_key
from rankstream.features.join import OfflineFeatures
from rankstream.features.schema import Bools, FeatureSizes, Floats
from rankstream.features.sessions import NoSessions, SessionEncoder
from rankstream.features.stores.cache import UserCache
from rankstream.features.stores.memory import MemoryStore
from rankstream.features.user_state import UserState
from rankstream.ranking.request import Ranking, RankingRequest, Variant
from rankstream.streams.pipeline import Pipeline

MORNING_MS = 1_700_000_000_000
MINUTE_MS = 60_000
VOCABULARY = Vocabulary(("view", "click", "save", "hide"), ("home", "search"))
NO_SESSIONS = NoSessions(2)
SIZES = FeatureSizes(num_actions=100, item_dim=4, user_dim=3, session_dim=2, item_features=2)


def an_action(item: Id = "a", at: int = 0, kind: str = "view") -> bytes:
    """A packed action ``at`` seconds after the morning began."""
    return Action(id_key(item), VOCABULARY.action_codes[kind], MORNING_MS + 1000 * at).pack()


def an_erasure(at: int = 0) -> bytes:
    """A packed erasure of all up to ``at`` seconds after the morning began."""
    return pack_erasure(MORNING_MS + 1000 * at)


def a_history(*actions: bytes, limit: int = 100) -> History:
    return History(b"", limit).append(actions).history


def a_state(*actions: bytes, limit: int = 100) -> UserState:
    return UserState(History(b"", limit)).apply(actions, len(actions) - 1).state


@dataclass
class ARecord:
    """A Kafka record as the pipeline sees it."""

    value: bytes | None
    key: bytes | None = b"u1"
    offset: int = 0
    topic: str = "user-actions"
    partition: int = 0
    timestamp: int = MORNING_MS


def an_event(
    user: Id = "u1", item: Id = "a", at: int = 0, offset: int = 0, action: str = "view", **more: Any
) -> ARecord:
    """A record of topic user-actions."""
    event = {"user_id": user, "item_id": item, "action": action, "timestamp_ms": MORNING_MS + 1000 * at, **more}
    return ARecord(json.dumps(event).encode(), id_bytes(user), offset, timestamp=MORNING_MS + 1000 * at)


def a_forget(user: Id = "u1", at: int = 0, offset: int = 0) -> ARecord:
    """A record of topic user-actions that erases a user."""
    event = {"user_id": user, "action": "forget", "timestamp_ms": MORNING_MS + 1000 * at}
    return ARecord(json.dumps(event).encode(), id_bytes(user), offset, timestamp=MORNING_MS + 1000 * at)


def a_request(user: Id = "u1", offset: int = 0, at: int = 0, **more: Any) -> ARecord:
    """A record of topic ranking-requests."""
    fields = (
        {"request_id": "r1", "user_id": user} | ({} if {"candidates", "limit"} & more.keys() else {"limit": 3}) | more
    )
    stamp = MORNING_MS + 1000 * at
    return ARecord(json.dumps(fields).encode(), id_bytes(user), offset, "ranking-requests", timestamp=stamp)


@dataclass(frozen=True)
class SomeVectors:
    """A table that derives each vector from its key: knows every key but those of ``missing``."""

    dim: int
    missing: frozenset[int] = frozenset()

    def look_up(self, keys: Keys) -> tuple[Floats, Bools]:
        found = np.array([int(key) not in self.missing for key in keys], np.bool_)
        phases = np.add.outer(keys.astype(np.float64) % 1009, np.arange(self.dim))
        return np.where(found[:, None], np.sin(phases), 0).astype(np.float32), found


@dataclass(frozen=True)
class MixingSessions:
    """A session encoder small enough to follow by hand, and sensitive to the order of sessions."""

    tag: int = 7
    state_size: int = 4
    dim: int = 2

    def fold(self, states: Floats, pooled: Floats) -> Floats:
        return np.tanh(0.5 * states + pooled)

    def encode(self, state: Floats, closed: Floats, opened: Floats) -> Floats:
        for pooled in closed:
            state = self.fold(state[None], pooled[None])[0].astype(np.float16).astype(np.float32)
        last = opened[-1] if len(opened) else np.zeros(self.state_size, np.float32)
        return (state + last)[: self.dim]


@dataclass
class EchoRanker:
    """Answers with the candidates as they came, so that a test sees what reached the ranker."""

    offline: OfflineFeatures
    requests: list[tuple[RankingRequest, UserState, int]] = field(default_factory=list)
    variant: Variant | None = None

    def rank(self, request: RankingRequest, state: UserState, now_ms: int) -> Ranking:
        self.requests.append((request, state, now_ms))
        return Ranking((), ("save",), "echo", len(state.history), None, False, 0, {})

    def rank_by_popularity(self, request: RankingRequest) -> Ranking:
        return Ranking((), ("save",), "echo", 0, None, False, 0, {}, fallback="popularity")


@dataclass
class SomeLiveRanker:
    """What stands behind a pipeline where ranking is not the matter."""

    sessions: SessionEncoder = NO_SESSIONS
    vocabulary: Vocabulary = VOCABULARY
    missing: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        tables = [SomeVectors(SIZES.item_dim, self.missing), SomeVectors(2), SomeVectors(3)]
        self.current = EchoRanker(OfflineFeatures(SIZES, *tables, self.sessions))

    def for_user(self, key: bytes) -> "EchoRanker":
        return self.current


def a_pipeline(serving: Any = None, limit: int = 100, records: Mapping[bytes, bytes] | None = None) -> Pipeline:
    store = MemoryStore()
    if records:
        store.write(records, 0)
    morning = lambda: MORNING_MS  # noqa: E731
    return Pipeline(UserCache(store, limit), serving or SomeLiveRanker(), clock=morning, record_clock=morning)


def records_of(pipeline: Pipeline) -> dict[bytes, bytes]:
    """Checkpoint, and return every user's record."""
    pipeline.users.commit(pipeline.users.take_changes(0))
    return dict(pipeline.users.store.items())


def decoded(outgoing: Sequence[Any]) -> list[dict[str, Any]]:
    return [json.loads(one.value) for one in outgoing]
