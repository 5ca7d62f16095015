"""The currently served ranker, and hot-swapping to a new bundle, or new tables beside it, without a restart.

What is new is looked for every second or so, opened and verified in a thread of its own while the old one serves, and
swapped in between two requests: whoever holds a ``Ranker`` keeps it to the end of the request. A bad one is refused
once in the log, and the old one goes on. No request waits for a file, not even for the look whether there is a new one.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from rankstream.bundles.graphs import CPU
from rankstream.bundles.manifest import MANIFEST
from rankstream.bundles.ranker import calibrated_heads
from rankstream.content.catalogue import Catalogue
from rankstream.content.live import LiveCatalogue
from rankstream.features.actions import Vocabulary, VocabularyRefusedError
from rankstream.features.background_look import BackgroundLook
from rankstream.features.embeddings.base import NoVectors, VectorTable
from rankstream.features.embeddings.live import LiveTable, snapshot
from rankstream.features.interests.table import InterestTable
from rankstream.features.item_counts.counts import ItemCounts
from rankstream.features.join import Join, OfflineFeatures, join
from rankstream.features.matches.tables import MatchTables
from rankstream.features.schema import FeatureSizes
from rankstream.features.sessions import NoSessions, SessionEncoder
from rankstream.graph.item_graph import ItemGraph
from rankstream.ranking.backends.constant import ConstantBackend
from rankstream.ranking.backends.scorers import ONNXRUNTIME
from rankstream.ranking.bundle import Bundle, BundleRefusedError, bundle_folder, open_bundle
from rankstream.ranking.exploration import NO_EXPLORATION, Exploration
from rankstream.ranking.followed_counts import FollowedCounts
from rankstream.ranking.followed_graphs import FollowedGraphs
from rankstream.ranking.followed_interests import FollowedInterests
from rankstream.ranking.popularity import Popularity, recent_column
from rankstream.ranking.ranker import Ranker
from rankstream.ranking.retrieval_mix import BY_CATEGORY, DEFAULT_MIX, CurrentCatalogue, RetrievalMix, Shelf
from rankstream.ranking.served_items import FollowedItems, ServedItems, items_of
from rankstream.ranking.served_versions import ServedVersion
from rankstream.ranking.table_folders import TableFolders
from rankstream.ranking.utility import head_weights
from rankstream.ranking.warm_up import warm_up
from rankstream.retrieval.index.choice import GRAPHS, build_beside, wants_graph
from rankstream.retrieval.index.without import WithoutRows
from rankstream.retrieval.mix import FusedSource, Quota
from rankstream.retrieval.source import CandidateSource
from rankstream.retrieval.sources.described import DescribedNeighbours
from rankstream.retrieval.sources.interests import InterestNeighbours
from rankstream.retrieval.sources.matches import MatchingItems
from rankstream.retrieval.sources.popular import PopularItems
from rankstream.retrieval.sources.random_walk import BOARDS, RandomWalk
from rankstream.retrieval.sources.recent_likes import RecentLikes, polarity_of

CHECK_EVERY_S = 1.0
MATCHING_SHARE = 3.0  # weight of the ranks of what matches, where 1 is that of what is only similar to what is liked
WALK_SHARE = 1.0  # of what random walks find, likewise
BOARD_SHARE = 1.0  # of what walks on a published graph find, likewise, where there is one
INTEREST_SHARE = 1.0  # of what interests find, likewise, where there is a table of them
LOG_POPULARITY = "log_popularity"  # the item feature
NO_MODEL = "none"  # model_version of a worker without a bundle

log = logging.getLogger(__name__)

Stamp = tuple[Path, frozenset[tuple[str, int, int]]]  # folder, and each file's name, time of change and size


@dataclass(frozen=True)
class LoadedModel:
    """What belongs together: a ranker, the vocabulary whose codes it reads, and the bundle that both are of."""

    ranker: Ranker
    vocabulary: Vocabulary
    bundle: Bundle | None = None
    counts: ItemCounts | None = None  # None: the bundle's own
    items: ServedItems | None = None  # None without a bundle
    interests: InterestTable | None = None  # None: users' interests propose nothing
    graph: ItemGraph | None = None  # None: walks go on sessions alone


class LiveRanker:
    """Holds what is served; safe to use from many threads."""

    def __init__(self, loaded: LoadedModel, watcher: "BundleWatcher | None" = None) -> None:
        self._loaded = loaded
        self._codes = loaded.vocabulary  # the longest one so far: what users' states may hold
        self._watcher = watcher
        self._look = None if watcher is None else watcher.background_look(self._catch_up)
        self._loading = threading.Lock()
        self._indexing = threading.Lock()
        self._admit: Callable[[Vocabulary], None] = lambda vocabulary: None
        self.refused_swaps = 0  # bundles, or changes of one, that did not come to serve

    @classmethod
    def open(
        cls,
        bundle_dir: Path,
        user_vectors: Path | None = None,
        item_counts: Path | None = None,
        item_vectors: Path | None = None,
        *,
        providers: Sequence[str] = CPU,
        check_every_s: float = CHECK_EVERY_S,
        clock: Callable[[], float] = time.monotonic,
        exploration: Exploration = NO_EXPLORATION,
        catalogue: Path | None = None,
        mix: RetrievalMix = DEFAULT_MIX,
        trusted_keys: Path | None = None,
        interests: Path | None = None,
        graph: Path | None = None,
        join: Join = join,
        scorer: str = ONNXRUNTIME,
    ) -> Self:
        """Open the bundle in ``bundle_dir``, or the one that its CURRENT names. Raises ``BundleRefusedError``.

        With ``trusted_keys`` it, and each that follows it, must be signed by one of these. Its graphs are run by
        ``scorer`` (``backends/scorers.py``).
        """
        folders = TableFolders(user_vectors, item_counts, item_vectors, interests, graph, catalogue)
        watcher = BundleWatcher(
            bundle_dir,
            folders,
            providers=providers,
            check_every_s=check_every_s,
            clock=clock,
            exploration=exploration,
            mix=mix,
            trusted_keys=trusted_keys,
            join=join,
            scorer=scorer,
        )
        serving = cls(watcher.load(), watcher)
        serving._start_indexing()
        return serving

    @classmethod
    def without_bundle(cls, vocabulary: Vocabulary) -> Self:
        """Serve no model: keep users' states, and answer requests in the order of their candidates."""
        sizes = FeatureSizes(item_dim=0, user_dim=0, session_dim=0, item_features=0)
        offline = OfflineFeatures(sizes, NoVectors(0), NoVectors(0), NoVectors(0), NoSessions(0))
        return cls(LoadedModel(Ranker(NO_MODEL, (), (), ConstantBackend(()), offline), vocabulary))

    @property
    def current(self) -> Ranker:
        """The ranker served now; get it once a request, and keep it for the whole of that."""
        if self._look is not None:
            self._look.if_due()
        return self._loaded.ranker

    def keep_up(self) -> None:
        """Begin to look for what was published since, where that is due; to be called also while nobody asks."""
        ranker = self.current
        snapshot(ranker.offline.users)
        if ranker.shelf is not None:
            ranker.shelf.catalogues.snapshot()

    def for_user(self, key: bytes) -> Ranker:
        """Return the ranker of a user, who is part of no experiment."""
        return self.current

    @property
    def vocabulary(self) -> Vocabulary:
        """Names and codes of actions; another bundle may have more or fewer names, never change a code."""
        return self._loaded.vocabulary

    @property
    def bundle(self) -> Bundle | None:
        """The bundle that is served now; None where no model is."""
        return self._loaded.bundle

    @property
    def sessions(self) -> SessionEncoder:
        """The session encoder served now; by its ``tag`` states of other weights are recognised."""
        return self._loaded.ranker.offline.sessions

    def versions(self) -> dict[str, ServedVersion]:
        """Return what serves now: the model, and the tables beside it that have a version of their own."""
        loaded = self._loaded
        ranker, shelf = loaded.ranker, loaded.ranker.shelf
        trained = None if loaded.bundle is None else loaded.bundle.manifest.trained_until_ms
        followed = {
            "user_vectors": snapshot(ranker.offline.users),
            "item_vectors": None if loaded.items is None or loaded.items.version is None else loaded.items.table,
            "item_counts": loaded.counts,
            "interests": loaded.interests,
            "graph": loaded.graph,
            "catalogue": None if shelf is None else shelf.catalogues.snapshot(),
        }
        tables = {kind: _version_of(table) for kind, table in followed.items()}
        found = {kind: version for kind, version in tables.items() if version.version is not None}
        return {"model": ServedVersion(ranker.model_version, trained)} | found

    def admit_by(self, admit: Callable[[Vocabulary], None]) -> None:
        """Have ``admit`` raise ``VocabularyRefusedError`` for the names of a bundle that must not be swapped in.

        Who keeps states knows of names that served before this process did. It is called in the thread that opens.
        """
        self._admit = admit

    def reload(self) -> bool:
        """Swap to the bundle that is there, in this thread, and return whether it is served."""
        if self._watcher is None:
            return False
        with self._loading:
            swapped = self._swap(self._watcher)
        self._start_indexing()
        return swapped

    def _catch_up(self) -> None:
        with self._loading:
            if self._watcher and self._watcher.has_new_version():
                self._swap(self._watcher)
            elif self._watcher and self._watcher.has_new_tables():
                self._loaded = self._watcher.with_new_tables(self._loaded)
        self._start_indexing()

    def _swap(self, watcher: "BundleWatcher") -> bool:
        try:
            loaded = watcher.load()
            codes = longer_vocabulary(self._codes, loaded.vocabulary)
            self._admit(loaded.vocabulary)
        except (BundleRefusedError, VocabularyRefusedError) as exc:
            self.refused_swaps += 1
            log.error("%s; model %s goes on", exc, self._loaded.ranker.model_version)
            return False
        self._codes = codes
        self._loaded = loaded
        log.info("model %s serves from now on", loaded.ranker.model_version)
        return True

    def _start_indexing(self) -> None:
        """Build the graph of many items that have none, in a thread of its own: until then all are compared."""
        items = self._loaded.items
        if items is not None and wants_graph(items.table, items.index) and not self._indexing.locked():
            threading.Thread(target=self._index, name="rankstream-index", daemon=True).start()

    def _index(self) -> None:
        with self._indexing:
            while (items := self._loaded.items) is not None and wants_graph(items.table, items.index):
                log.info("building the index of %s items: until it is there, all are compared", f"{len(items.table):,}")
                indexed = replace(items, index=build_beside(items.table, items.root))
                with self._loading:
                    if self._watcher and self._loaded.items is items:  # else a newer version came meanwhile
                        self._loaded = self._watcher.with_items(self._loaded, indexed)
        self._start_indexing()  # what came after the last look


def _version_of(table: object) -> ServedVersion:
    """Return the version of a table that was published; one of the bundle's own has none."""
    return ServedVersion(getattr(table, "version", None), getattr(table, "as_of_ms", None))


class BundleWatcher:
    """Where bundles and the tables beside them come from, and which of them was opened last."""

    def __init__(
        self,
        bundle_dir: Path,
        folders: TableFolders,
        *,
        providers: Sequence[str],
        check_every_s: float,
        clock: Callable[[], float],
        exploration: Exploration,
        mix: RetrievalMix,
        trusted_keys: Path | None,
        join: Join,
        scorer: str,
    ) -> None:
        self.bundle_dir = bundle_dir
        self.user_vectors = folders.user_vectors
        self.counts = None if folders.item_counts is None else FollowedCounts(folders.item_counts)
        self.items = None if folders.item_vectors is None else FollowedItems(folders.item_vectors)
        self.interests = None if folders.interests is None else FollowedInterests(folders.interests)
        self.graphs = None if folders.graph is None else FollowedGraphs(folders.graph)
        self._shelf: Shelf | None = None  # of the ranker that was put together last
        self.catalogues = None
        if folders.catalogue is not None:
            self.catalogues = LiveCatalogue(folders.catalogue, clock=clock, prepare=self._prepare_catalogue)
        self.providers = providers
        self.check_every_s = check_every_s
        self.clock = clock
        self.exploration = exploration
        self.mix = mix
        self.trusted_keys = trusted_keys
        self.join = join
        self.scorer = scorer
        self._last_opened: Stamp | None = None
        self._last_seen: Stamp | None = None
        self._refused = False
        self._users: LiveTable | None = None

    def background_look(self, look: Callable[[], object]) -> BackgroundLook:
        """Return what looks for a new bundle and new tables as often as is wanted."""
        return BackgroundLook(look, every_s=self.check_every_s, clock=self.clock, thread="rankstream-bundle")

    def has_new_version(self) -> bool:
        """Return whether another bundle is there, or a file of this one was written.

        One that was refused may still be on its way: it is new again when it has changed since, and stopped changing.
        """
        stamp = self._stamp()
        settled, self._last_seen = stamp == self._last_seen, stamp
        return stamp is not None and stamp != self._last_opened and (settled or not self._refused)

    def load(self) -> LoadedModel:
        """Open what is there now; refused or not, it counts as new no more. Raises ``BundleRefusedError``."""
        self._last_opened, self._refused = self._stamp(), True
        bundle = open_bundle(self.bundle_dir, self.providers, trusted_keys=self.trusted_keys, scorer=self.scorer)
        self._refused = False
        tables = self._counts_of(bundle), self._items_of(bundle), self._interests_of(bundle)
        return self._loaded(bundle, *tables, self._graph())

    def has_new_tables(self) -> bool:
        """Return whether another version of item counts, item vectors, interests or the graph is there."""
        followed = (self.counts, self.items, self.interests, self.graphs)
        return any(tables is not None and tables.has_new_version() for tables in followed)

    def with_new_tables(self, loaded: LoadedModel) -> LoadedModel:
        """Return what is served with the newest tables beside the bundle; as it was where these are refused."""
        if loaded.bundle is None or loaded.items is None:
            return loaded
        counts, items, interests = loaded.counts, loaded.items, loaded.interests
        if self.counts is not None and self.counts.has_new_version():
            counts = self._counts_of(loaded.bundle)
        if self.items is not None and self.items.has_new_version():
            items = self.items.of(loaded.bundle) or items
        if self.interests is not None and self.interests.has_new_version():
            interests = self._interests_of(loaded.bundle)
        new, old = (
            (counts, items, interests, self._graph()),
            (loaded.counts, loaded.items, loaded.interests, loaded.graph),
        )
        if all(one is other for one, other in zip(new, old, strict=True)):
            return loaded
        return self._loaded(loaded.bundle, *new)

    def with_items(self, loaded: LoadedModel, items: ServedItems) -> LoadedModel:
        """Return what is served with these item vectors."""
        if loaded.bundle is None:
            return loaded
        return self._loaded(loaded.bundle, loaded.counts, items, loaded.interests, loaded.graph)

    def _counts_of(self, bundle: Bundle) -> ItemCounts | None:
        return None if self.counts is None else self.counts.of(bundle.manifest)

    def _items_of(self, bundle: Bundle) -> ServedItems:
        """Return the newest item vectors for a bundle, else its own."""
        followed = None if self.items is None else self.items.of(bundle)
        return items_of(bundle) if followed is None else followed

    def _interests_of(self, bundle: Bundle) -> InterestTable | None:
        return None if self.interests is None else self.interests.of(bundle.manifest)

    def _graph(self) -> ItemGraph | None:
        return None if self.graphs is None else self.graphs.newest()

    def _loaded(
        self,
        bundle: Bundle,
        counts: ItemCounts | None,
        items: ServedItems,
        interests: InterestTable | None,
        graph: ItemGraph | None,
    ) -> LoadedModel:
        users, versions = self._users_of(bundle), self.catalogues
        beside = counts, versions, self.mix, items, interests, graph
        ranker = ranker_of(bundle, users, self.exploration, *beside, self.join)
        self._shelf = ranker.shelf
        warm_up(ranker, bundle)
        return LoadedModel(ranker, bundle.manifest.vocabulary, bundle, counts, items, interests, graph)

    def _prepare_catalogue(self, catalogue: Catalogue) -> None:
        """Find out what requests need of a version, in the thread that opened it."""
        catalogue.prepare()
        if self._shelf is not None:
            self._shelf.prepare(catalogue)

    def _stamp(self) -> Stamp | None:
        """Return what changes when a bundle does; None where none is there."""
        try:
            folder = bundle_folder(self.bundle_dir)
            (folder / MANIFEST).stat()
            files = {path: path.stat() for path in folder.rglob("*") if path.is_file() and GRAPHS not in path.parts}
        except (OSError, BundleRefusedError):
            return None
        return folder, frozenset((str(path), one.st_mtime_ns, one.st_size) for path, one in files.items())

    def _users_of(self, bundle: Bundle) -> VectorTable:
        """Return the table of user vectors: the one in use, if it is of the same space."""
        space, dim = bundle.manifest.user_space, bundle.manifest.sizes.user_dim
        if self.user_vectors is None:
            return NoVectors(dim)
        if self._users is None or (self._users.space, self._users.dim) != (space, dim):
            self._users = LiveTable(self.user_vectors, space=space, dim=dim, clock=self.clock)
        return self._users


def ranker_of(
    bundle: Bundle,
    users: VectorTable,
    exploration: Exploration = NO_EXPLORATION,
    counts: ItemCounts | None = None,
    catalogues: CurrentCatalogue | None = None,
    mix: RetrievalMix = DEFAULT_MIX,
    items: ServedItems | None = None,
    interests: InterestTable | None = None,
    graph: ItemGraph | None = None,
    join: Join = join,
) -> Ranker:
    """Put a ranker together from a bundle, the tables beside it (None: the bundle's own) and a catalogue."""
    items = items or items_of(bundle)
    manifest, offline = bundle.manifest, bundle.offline_features(users, counts, items.table)
    names = manifest.metrics.get("features", ()) if counts is None else counts.feature_names
    recent = recent_column(names, offline.item_features.dim, mix.popular_window)
    popularity = Popularity(items.table, offline.item_features, recent)
    return Ranker(
        model_version=manifest.model_version,
        heads=manifest.heads,
        weights=head_weights(manifest.heads, manifest.utility),
        backend=bundle.backend,
        offline=items.told(offline),
        num_types=len(manifest.vocabulary.actions),
        surface_codes=manifest.vocabulary.surface_codes,
        source=source_of(bundle, offline.matches, items, interests, graph),
        exploration=exploration,
        calibrated=calibrated_heads(manifest.parts),
        item_counts=None if counts is None else counts.version,
        item_vectors=items.version,
        item_index=items.index.name,
        interests=None if interests is None else interests.version,
        graph=None if graph is None else graph.version,
        scorer=None if bundle.scorer == ONNXRUNTIME else bundle.scorer,
        popularity=popularity,
        mix=mix,
        described=described_in(bundle, items, names),
        shelf=None if catalogues is None else Shelf(catalogues, items.table, popular_of(bundle, popularity, mix)),
        join=join,
    )


def source_of(
    bundle: Bundle,
    matches: MatchTables,
    items: ServedItems,
    interests: InterestTable | None = None,
    graph: ItemGraph | None = None,
) -> CandidateSource:
    """Put together what proposes candidates; further sources join these in the ``FusedSource``."""
    polarity, index = polarity_of(bundle.manifest.vocabulary, bundle.manifest.utility), items.index
    if len(items.described_rows):
        index = WithoutRows(index, items.described_rows)
    quotas = []
    if len(matches):
        quotas.append(Quota(MatchingItems(items.table), MATCHING_SHARE))
        quotas.append(Quota(RandomWalk(items.table, ItemGraph.of_sessions(matches), polarity), WALK_SHARE))
    if graph is not None:
        quotas.append(Quota(RandomWalk(items.table, graph, polarity, name=BOARDS), BOARD_SHARE))
    if interests is not None:
        quotas.append(Quota(InterestNeighbours(items.table, index, interests, polarity), INTEREST_SHARE))
    likes = RecentLikes(items.table, index, polarity)
    return FusedSource(*quotas, Quota(likes, 1.0)) if quotas else likes


def popular_of(bundle: Bundle, popularity: Popularity, mix: RetrievalMix) -> PopularItems:
    """Return what proposes popular items, as a mix wants them."""
    polarity = (
        polarity_of(bundle.manifest.vocabulary, bundle.manifest.utility) if mix.popular_by == BY_CATEGORY else None
    )
    return PopularItems(popularity.items, popularity, polarity)


def described_in(bundle: Bundle, items: ServedItems, names: Sequence[str]) -> CandidateSource | None:
    """Return what proposes items that are known by what they are alone; None where there are none.

    ``names`` are those of the item features.
    """
    rows = items.described_rows
    if not len(rows):
        return None
    polarity = polarity_of(bundle.manifest.vocabulary, bundle.manifest.utility)
    likes = RecentLikes(items.table, items.index, polarity)
    return DescribedNeighbours(items.table, rows, likes, items.described.feature(LOG_POPULARITY, names))


def longer_vocabulary(old: Vocabulary, new: Vocabulary) -> Vocabulary:
    """Return the longer of two; ``BundleRefusedError`` if a code would change its meaning: users' states hold codes."""
    for what, was, becomes in (("actions", old.actions, new.actions), ("surfaces", old.surfaces, new.surfaces)):
        if any(before != after for before, after in zip(was, becomes, strict=False)):
            raise BundleRefusedError(
                f"{MANIFEST} of the new bundle has the {what} {', '.join(becomes)}, but users' states were written "
                f"with {', '.join(was)}; train with these names in this order, new ones behind them"
            )
    return Vocabulary(max(old.actions, new.actions, key=len), max(old.surfaces, new.surfaces, key=len))
