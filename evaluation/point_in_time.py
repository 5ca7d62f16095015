"""The past as it was: users' states from the log by the pipeline that served them, rankers with the tables of then.

::

    user-actions, in order  ->  PastPartition.take  ->  the users' states at any offset
    what an answer tells    ->  RankersOfThen.ranker ->  the ranker that gave it: model, table version, policy

Time does not pass here: a state is asked for by the offset of its last action, a ranker by the versions it had.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from msgspec import UnsetType

from rankstream.events.action_event import Record
from rankstream.features.actions import Vocabulary
from rankstream.features.embeddings.base import NoVectors, VectorTable
from rankstream.features.embeddings.files import versions
from rankstream.features.embeddings.table import EmbeddingTable
from rankstream.features.stores.cache import UserCache
from rankstream.features.stores.memory import MemoryStore
from rankstream.features.user_state import UserState
from rankstream.ranking.bundle import Bundle
from rankstream.ranking.exploration import exploration_named
from rankstream.ranking.ranker import Ranker
from rankstream.ranking.serving import ranker_of
from rankstream.streams.codec import ServedFeatures
from rankstream.streams.pipeline import Pipeline

CHUNK = 1_000  # actions handed to the pipeline at once; how a log is cut never shows


class GoneError(Exception):
    """Something of the past is not there any more; the message says what, to be counted by."""


@dataclass
class LiveRankerAsOf:
    """What a pipeline needs of ``ranking.serving.LiveRanker``, with a ranker that is set by hand."""

    vocabulary: Vocabulary
    current: Ranker


TablesAsOf = Callable[[int], VectorTable | None]  # the table of user vectors that was there at a moment, UTC ms


class RankerAsOf:
    """One bundle's ranker, at each moment with the user vectors that were there."""

    def __init__(self, bundle: Bundle, tables: TablesAsOf) -> None:
        self.bundle = bundle
        self._tables = tables
        self._no_vectors = NoVectors(bundle.manifest.sizes.user_dim)
        self._last: tuple[VectorTable | None, Ranker] = (None, ranker_of(bundle, self._no_vectors))

    def at(self, at_ms: int) -> Ranker:
        """Return the ranker of a moment."""
        table = self._tables(at_ms)
        if table is not self._last[0]:
            self._last = (table, ranker_of(self.bundle, table or self._no_vectors))
        return self._last[1]


class RankersOfThen:
    """Rankers of one bundle, with the user vectors that they looked up and the policy of their order."""

    def __init__(self, bundle: Bundle, user_vectors: Path | None = None) -> None:
        self.bundle = bundle
        self.user_vectors = user_vectors
        self._rankers: dict[tuple[str | None, str | None], Ranker] = {}

    def serving(self) -> LiveRankerAsOf:
        """Return a serving without user vectors to start with: states do not depend on them."""
        return LiveRankerAsOf(self.bundle.manifest.vocabulary, self._ranker(None, None))

    def ranker(self, told: ServedFeatures) -> Ranker:
        """Return the ranker of an answer. Raises ``GoneError``."""
        ours = self.bundle.manifest.model_version
        if told.model_version != ours:
            raise GoneError(f"served by model {told.model_version}, but the bundle holds {ours}")
        return self._ranker(told.user_vectors, None if isinstance(told.policy, UnsetType) else told.policy)

    def _ranker(self, user_vectors: str | None, policy: str | None) -> Ranker:
        if (user_vectors, policy) not in self._rankers:
            try:
                exploration = exploration_named(policy)
            except ValueError as exc:
                raise GoneError(str(exc)) from exc
            ranker = ranker_of(self.bundle, self._table(user_vectors), exploration)
            self._rankers[user_vectors, policy] = ranker
        return self._rankers[user_vectors, policy]

    def _table(self, version: str | None) -> VectorTable:
        if version is None:
            return NoVectors(self.bundle.manifest.sizes.user_dim)
        if self.user_vectors is None:
            raise GoneError(f"served with user vectors {version}; name their folder with --user-vectors")
        found = [folder for folder in versions(self.user_vectors) if folder.name == version]
        if not found:
            raise GoneError(f"version {version} of the user vectors is not in {self.user_vectors} any more")
        return EmbeddingTable.open_version(found[0])


class PastPartition:
    """The users of one partition, as of one offset after the other; others than those of ``keys`` are passed over."""

    def __init__(self, serving: LiveRankerAsOf, keys: Collection[bytes], history_limit: int) -> None:
        users = UserCache(MemoryStore(), history_limit)
        self.serving = serving
        self.pipeline = Pipeline(users, serving, clock=lambda: 0, log_served=True)  # no deadline has passed at 0
        self._keys = keys
        self._waiting: list[Record] = []

    def take(self, record: Record) -> None:
        """Take the next record of user-actions."""
        if record.key in self._keys:
            self._waiting.append(record)
            if len(self._waiting) >= CHUNK:
                self._apply()

    def state(self, key: bytes) -> UserState:
        """Return a user's state after all records taken so far."""
        self._apply()
        return self.pipeline.users.get(key)

    def _apply(self) -> None:
        if self._waiting:
            self.pipeline.on_actions(self._waiting)
            self._waiting = []
