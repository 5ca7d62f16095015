"""Point-in-time reconstruction: user states at an offset, rankers with the embedding versions they used.

::

    user-actions, in order    ->  PartitionStates.apply   ->  the users' states at any offset
    a served-features record  ->  RankersAsServed.ranker  ->  the ranker that served it: model, versions, policy

No clock runs here: a state is looked up by the offset of its last action, a ranker by the versions it had.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from msgspec import UnsetType

from rankstream.content.catalogue import Catalogue
from rankstream.events.action_event import Record, Recorded
from rankstream.features.actions import Vocabulary
from rankstream.features.embeddings.base import NoVectors, VectorTable
from rankstream.features.embeddings.files import versions
from rankstream.features.embeddings.table import EmbeddingTable
from rankstream.features.ids import id_bytes
from rankstream.features.interests.table import InterestTable, open_interests_version
from rankstream.features.item_counts.counts import ItemCounts
from rankstream.features.item_counts.files import open_counts_version
from rankstream.features.stores.cache import UserCache
from rankstream.features.stores.memory import MemoryStore
from rankstream.features.user_state import NEVER, UserState
from rankstream.graph.item_graph import ItemGraph
from rankstream.ranking.backends.scorers import ONNXRUNTIME
from rankstream.ranking.bundle import Bundle, BundleRefusedError, with_scorer
from rankstream.ranking.experiment import Assignment
from rankstream.ranking.exploration import exploration_named
from rankstream.ranking.ranker import Ranker
from rankstream.ranking.request import Variant
from rankstream.ranking.retrieval_mix import mix_named
from rankstream.ranking.served_items import ServedItems, items_of, published_items
from rankstream.ranking.serving import ranker_of
from rankstream.retrieval.index.exact import ExactIndex
from rankstream.streams.codec import ServedFeatures, variant_of
from rankstream.streams.pipeline import Pipeline

CHUNK = 1_000  # actions applied at once; states do not depend on it


class NotRetainedError(Exception):
    """A record or a table that is no longer there; the message names it, and is what such cases are counted by."""


@dataclass
class LiveRankerAsOf:
    """What a pipeline needs of ``ranking.serving.LiveRanker``, with a ranker that is set by hand."""

    vocabulary: Vocabulary
    current: Ranker

    def for_user(self, key: bytes) -> Ranker:
        """Return the ranker that was set, for all users."""
        return self.current


def as_served(request: Record, served: ServedFeatures) -> Record:
    """Return the record of a request with the time that the worker gave it, where it has none of its own."""
    if request.timestamp >= 0:
        return request
    return Recorded(request.topic, request.partition, request.offset, served.at_ms, request.key, request.value)


TablesAsOf = Callable[[int], VectorTable | None]  # the table of user vectors that there was at a time, UTC ms
CountsAsOf = Callable[[int], ItemCounts | None]  # the item counts that there were; None: the bundle's own
CatalogueAsOf = Callable[[int], Catalogue | None]  # the version of the catalogue that there was
ItemsAsOf = Callable[[int], ServedItems | None]  # the item vectors, likewise
InterestsAsOf = Callable[[int], InterestTable | None]  # the users' interests that there were
GraphsAsOf = Callable[[int], ItemGraph | None]  # the published graph that there was


def no_table(at_ms: int) -> VectorTable | None:
    """Return None: no user vectors, at all times."""
    return None


def bundles_own(at_ms: int) -> ItemCounts | None:
    """Return None: the item counts of the bundle, at all times."""
    return None


def no_catalogue(at_ms: int) -> Catalogue | None:
    """Return None: no catalogue, at all times."""
    return None


def bundles_items(at_ms: int) -> ServedItems | None:
    """Return None: the item vectors of the bundle, at all times."""
    return None


def no_interests(at_ms: int) -> InterestTable | None:
    """Return None: no interests, at all times."""
    return None


def no_graph(at_ms: int) -> ItemGraph | None:
    """Return None: no published graph, at all times."""
    return None


class RankerAsOf:
    """One bundle's ranker, at each time with the tables and the catalogue that there were."""

    def __init__(
        self,
        bundle: Bundle,
        tables: TablesAsOf,
        counts: CountsAsOf = bundles_own,
        catalogues: CatalogueAsOf = no_catalogue,
        items: ItemsAsOf = bundles_items,
        interests: InterestsAsOf = no_interests,
        graphs: GraphsAsOf = no_graph,
    ) -> None:
        self.bundle = bundle
        self._as_of = tables, counts, catalogues, items, interests, graphs
        self._no_vectors = NoVectors(bundle.manifest.sizes.user_dim)
        self._own_items = items_of(bundle)
        self._used: tuple[object, ...] = (None, None, None, self._own_items, None, None)  # by the last ranker
        self._ranker = ranker_of(bundle, self._no_vectors, items=self._own_items)

    def at(self, at_ms: int) -> Ranker:
        """Return the ranker as of a time."""
        tables, counts, catalogues, items, interests, graphs = self._as_of
        users, counted, catalogue = tables(at_ms), counts(at_ms), catalogues(at_ms)
        served, found, graph = items(at_ms) or self._own_items, interests(at_ms), graphs(at_ms)
        used = users, counted, catalogue, served, found, graph
        if any(one is not other for one, other in zip(used, self._used, strict=True)):
            self._used = used
            self._ranker = ranker_of(
                self.bundle, users or self._no_vectors, counts=counted, catalogues=catalogue, items=served,
                interests=found, graph=graph,
            )  # fmt: skip
        return self._ranker


@dataclass(frozen=True)
class Used:
    """What a ranker is made of besides its bundle: versions of tables, and policies as records name them."""

    user_vectors: str | None = None
    item_counts: str | None = None
    policy: str | None = None
    catalogue: str | None = None
    mix: str | None = None
    item_vectors: str | None = None
    item_index: str | None = None
    interests: str | None = None
    graph: str | None = None
    scorer: str | None = None
    variant: Variant | None = None


class RankersAsServed:
    """Rankers of one bundle, with the versions that they used and the policy that ordered their feeds."""

    def __init__(
        self,
        bundle: Bundle,
        user_vectors: Path | None = None,
        item_counts: Path | None = None,
        catalogue: Path | None = None,
        item_vectors: Path | None = None,
        interests: Path | None = None,
        graph: Path | None = None,
        vocabulary: Vocabulary | None = None,
    ) -> None:
        self.bundle = bundle
        self.vocabulary = vocabulary or bundle.manifest.vocabulary  # another bundle's, where that served beside it
        self.user_vectors = user_vectors
        self.item_counts = item_counts
        self.catalogue = catalogue
        self.item_vectors = item_vectors
        self.interests = interests
        self.graph = graph
        self._catalogues: dict[str, Catalogue] = {}  # opened, by version: there may be one a second
        self._items: dict[tuple[str | None, str | None], ServedItems] = {}  # by version and index
        self._bundles: dict[str, Bundle] = {}  # by the scorer of its ranker
        self._rankers: dict[Used, Ranker] = {}

    def serving(self) -> LiveRankerAsOf:
        """Return what a pipeline needs, without user vectors to start with: states do not depend on them."""
        return LiveRankerAsOf(self.vocabulary, self._ranker(Used()))

    def ranker(self, served: ServedFeatures) -> Ranker:
        """Return the ranker that served an answer. Raises ``NotRetainedError``."""
        ours = self.bundle.manifest.model_version
        if served.model_version != ours:
            other = "" if variant_of(served) is None else "; name an experiment's other bundle with --variant"
            raise NotRetainedError(f"served by model {served.model_version}, but the bundle holds {ours}{other}")
        policy, catalogue, mix, interests, graph, scorer = (
            None if isinstance(one, UnsetType) else one
            for one in (
                served.policy, served.catalogue, served.retrieval, served.interests, served.graph, served.scorer
            )
        )  # fmt: skip
        items = _items_named(served)
        versions = served.user_vectors, served.item_counts, policy, catalogue, mix, *items, interests, graph, scorer
        return self._ranker(Used(*versions, _assigned(served)))

    def items(self, served: ServedFeatures) -> ServedItems:
        """Return the item vectors that an answer used. Raises ``NotRetainedError``."""
        return self._served_items(*_items_named(served))

    def _ranker(self, used: Used) -> Ranker:
        if used not in self._rankers:
            try:
                exploration, mix = exploration_named(used.policy), mix_named(used.mix)
            except ValueError as exc:
                raise NotRetainedError(str(exc)) from exc
            counts, catalogue = self._counts(used.item_counts), self._catalogue(used.catalogue)
            table, items = self._table(used.user_vectors), self._served_items(used.item_vectors, used.item_index)
            found = self._interests(used.interests), self._graph(used.graph)
            bundle = self._scored_by(used.scorer or ONNXRUNTIME)
            ranker = ranker_of(bundle, table, exploration, counts, catalogue, mix, items, *found)
            self._rankers[used] = replace(ranker, variant=used.variant)
        return self._rankers[used]

    def _scored_by(self, scorer: str) -> Bundle:
        """Return the bundle with the scorer that an answer names. Raises ``NotRetainedError`` for one not to be had."""
        if scorer not in self._bundles:
            try:
                self._bundles[scorer] = with_scorer(self.bundle, scorer)
            except BundleRefusedError as exc:
                raise NotRetainedError(f"scored by {scorer}, which can't be used here: {exc}") from exc
        return self._bundles[scorer]

    def _table(self, version: str | None) -> VectorTable:
        if version is None:
            return NoVectors(self.bundle.manifest.sizes.user_dim)
        return EmbeddingTable.open_version(_kept(version, self.user_vectors, "user vectors", "--user-vectors"))

    def _counts(self, version: str | None) -> ItemCounts | None:
        if version is None:
            return None
        return open_counts_version(_kept(version, self.item_counts, "item counts", "--item-counts"))

    def _interests(self, version: str | None) -> InterestTable | None:
        if version is None:
            return None
        return open_interests_version(_kept(version, self.interests, "interests", "--interests"))

    def _graph(self, version: str | None) -> ItemGraph | None:
        if version is None:
            return None
        return ItemGraph.open_version(_kept(version, self.graph, "graph", "--graph"))

    def _catalogue(self, version: str | None) -> Catalogue | None:
        if version is None:
            return None
        if version not in self._catalogues:
            folder = _kept(version, self.catalogue, "catalogue", "--catalogue")
            self._catalogues[version] = Catalogue.open_version(folder)
        return self._catalogues[version]

    def _served_items(self, version: str | None, index: str | None) -> ServedItems:
        """Return a version of the item vectors, searched as it was; None is the bundle's own, and the exact search."""
        if (version, index) not in self._items:
            self._items[version, index] = self._opened_items(version, index)
        return self._items[version, index]

    def _opened_items(self, version: str | None, index: str | None) -> ServedItems:
        if version is None:
            items = items_of(self.bundle)
        else:
            folder = _kept(version, self.item_vectors, "item vectors", "--item-vectors")
            items = published_items(EmbeddingTable.open_version(folder), folder.parent, self.bundle)
        if index is None:
            return replace(items, index=ExactIndex(items.table.vectors))
        if items.index.name != index:
            raise NotRetainedError(
                f"its candidates were found in the index {index}, which is not beside "
                f"{items.root / items.table.version} any more; `rankstream index build` builds it again where the "
                "version of faiss is the same"
            )
        return items


def _assigned(served: ServedFeatures) -> Variant | None:
    """Return the side that the share and the salt of an answer put its user on; None outside an experiment."""
    named = variant_of(served)
    if named is None:
        return None
    name = Assignment(named.share, named.salt).variant_of(id_bytes(served.user_id))
    return replace(named, name=name)


def _items_named(served: ServedFeatures) -> tuple[str | None, str | None]:
    """Return the version of the item vectors and the index that an answer names; None where it names none."""
    items, index = served.item_vectors, served.item_index
    return None if isinstance(items, UnsetType) else items, None if isinstance(index, UnsetType) else index


def _kept(version: str, root: Path | None, what: str, flag: str) -> Path:
    """Return the folder of a version. Raises ``NotRetainedError``."""
    if root is None:
        raise NotRetainedError(f"served with {what} {version}; name their folder with {flag}")
    found = [folder for folder in (versions(root) if root.is_dir() else ()) if folder.name == version]
    if not found:
        raise NotRetainedError(f"version {version} of the {what} is not in {root} any more")
    return found[0]


def rankers_of_model(several: Sequence[RankersAsServed], model_version: str) -> RankersAsServed:
    """Return the rankers of the bundle that holds a model; the first ones where none does."""
    return next((one for one in several if one.bundle.manifest.model_version == model_version), several[0])


class PartitionStates:
    """The states of one partition's users, as of one offset after the other; only users of ``keys`` are kept."""

    def __init__(
        self, serving: LiveRankerAsOf, keys: Collection[bytes], history_limit: int, forget_after_ms: int = NEVER
    ) -> None:
        users = UserCache(MemoryStore(), history_limit, forget_after_ms=forget_after_ms)
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
