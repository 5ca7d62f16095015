"""Point-in-time reconstruction: user states at an offset, rankers with the embedding versions they used.

::

    user-actions, in order    ->  PartitionStates.apply   ->  the users' states at any offset
    a served-features record  ->  RankersAsServed.ranker  ->  the ranker that served it: model, table version, policy

No clock runs here: a state is looked up by the offset of its last action, a ranker by the versions it had.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from msgspec import UnsetType

from rankstream.events.action_event import Record, Recorded
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

CHUNK = 1_000  # actions applied at once; states do not depend on it


class NotRetainedError(Exception):
    """A record or a table that is no longer there; the message names it, and is what such cases are counted by."""


@dataclass
class LiveRankerAsOf:
    """What a pipeline needs of ``ranking.serving.LiveRanker``, with a ranker that is set by hand."""

    vocabulary: Vocabulary
    current: Ranker


def as_served(request: Record, served: ServedFeatures) -> Record:
    """Return the record of a request with the time that the worker gave it, where it has none of its own."""
    if request.timestamp >= 0:
        return request
    return Recorded(request.topic, request.partition, request.offset, served.at_ms, request.key, request.value)


TablesAsOf = Callable[[int], VectorTable | None]  # the table of user vectors that there was at a time, UTC ms


class RankerAsOf:
    """One bundle's ranker, at each time with the user vectors that there were."""

    def __init__(self, bundle: Bundle, tables: TablesAsOf) -> None:
        self.bundle = bundle
        self._tables = tables
        self._no_vectors = NoVectors(bundle.manifest.sizes.user_dim)
        self._last: tuple[VectorTable | None, Ranker] = (None, ranker_of(bundle, self._no_vectors))

    def at(self, at_ms: int) -> Ranker:
        """Return the ranker as of a time."""
        table = self._tables(at_ms)
        if table is not self._last[0]:
            self._last = (table, ranker_of(self.bundle, table or self._no_vectors))
        return self._last[1]


class RankersAsServed:
    """Rankers of one bundle, with the user vectors that they looked up and the policy that ordered their feeds."""

    def __init__(self, bundle: Bundle, user_vectors: Path | None = None) -> None:
        self.bundle = bundle
        self.user_vectors = user_vectors
        self._rankers: dict[tuple[str | None, str | None], Ranker] = {}

    def serving(self) -> LiveRankerAsOf:
        """Return what a pipeline needs, without user vectors to start with: states do not depend on them."""
        return LiveRankerAsOf(self.bundle.manifest.vocabulary, self._ranker(None, None))

    def ranker(self, served: ServedFeatures) -> Ranker:
        """Return the ranker that served an answer. Raises ``NotRetainedError``."""
        ours = self.bundle.manifest.model_version
        if served.model_version != ours:
            raise NotRetainedError(f"served by model {served.model_version}, but the bundle holds {ours}")
        return self._ranker(served.user_vectors, None if isinstance(served.policy, UnsetType) else served.policy)

    def _ranker(self, user_vectors: str | None, policy: str | None) -> Ranker:
        if (user_vectors, policy) not in self._rankers:
            try:
                exploration = exploration_named(policy)
            except ValueError as exc:
                raise NotRetainedError(str(exc)) from exc
            ranker = ranker_of(self.bundle, self._table(user_vectors), exploration)
            self._rankers[user_vectors, policy] = ranker
        return self._rankers[user_vectors, policy]

    def _table(self, version: str | None) -> VectorTable:
        if version is None:
            return NoVectors(self.bundle.manifest.sizes.user_dim)
        if self.user_vectors is None:
            raise NotRetainedError(f"served with user vectors {version}; name their folder with --user-vectors")
        found = [folder for folder in versions(self.user_vectors) if folder.name == version]
        if not found:
            raise NotRetainedError(f"version {version} of the user vectors is not in {self.user_vectors} any more")
        return EmbeddingTable.open_version(found[0])


class PartitionStates:
    """The states of one partition's users, as of one offset after the other; only users of ``keys`` are kept."""

    def __init__(self, serving: LiveRankerAsOf, keys: Collection[bytes], history_limit: int) -> None:
        users = UserCache(MemoryStore(), history_limit)
        self.serving = serving
        # No deadline has passed at 0, and no record without a time is younger than when it was served.
        self.pipeline = Pipeline(users, serving, clock=lambda: 0, log_served=True, record_clock=None)
        self._keys = keys
        self._waiting: list[Record] = []

    def apply(self, record: Record) -> None:
        """Apply the next record of user-actions."""
        if record.key in self._keys:
            self._waiting.append(record)
            if len(self._waiting) >= CHUNK:
                self._flush()

    def state(self, key: bytes) -> UserState:
        """Return a user's state after all records so far."""
        self._flush()
        return self.pipeline.users.get(key)

    def _flush(self) -> None:
        if self._waiting:
            self.pipeline.on_actions(self._waiting)
            self._waiting = []
