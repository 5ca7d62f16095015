"""Data leakage: no model or table that replay ranks with may have seen what it is tested on; tables as of a time.

::

    --- what training saw, what vectors were made of ---|
                                                        |=== replayed points ===>    honest
                                   |=== replayed points ===>                         a leak: refused

A leak that was allowed marks every output: ``check_*`` return the sentences to print. They rely on the times that a
model and a table name, so a time that can't be true is refused like a leak: trained on seconds that were read as
milliseconds, a model ends its training in January 1970, and all that is replayed seems to come after it.
"""

from bisect import bisect_right
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from rankstream.bundles.item_counts import check_made_for
from rankstream.bundles.manifest import Manifest
from rankstream.content.catalogue import Catalogue
from rankstream.evaluation.time_text import parse_time_ms, time_text
from rankstream.events.action_event import MIN_TIME_MS
from rankstream.features.embeddings.files import BrokenTableError, versions
from rankstream.features.embeddings.table import EmbeddingTable
from rankstream.features.interests.table import InterestTable, open_interests_version
from rankstream.features.item_counts.counts import ItemCounts
from rankstream.features.item_counts.files import open_counts_version
from rankstream.graph.item_graph import ItemGraph
from rankstream.ranking.bundle import Bundle
from rankstream.ranking.followed_interests import check_found_among
from rankstream.ranking.served_items import ServedItems, published_items

TRAIN_AGAIN = "train again on a log whose times are right"
EMBED_AGAIN = "make them again of a log whose times are right"
DAY_MS = 86_400_000


class LeakError(ValueError):
    """A model or a table knows what happened after the time that it is tested at; one sentence."""


class AsOf(Protocol):
    """A version of a table, or of item counts."""

    @property
    def version(self) -> str | None:
        """Its name."""
        ...

    @property
    def as_of_ms(self) -> int:
        """What happened until then is in it, UTC."""
        ...


def check_bundle(manifest: Manifest, from_ms: int, allow: bool = False) -> list[str]:
    """Check that a model has seen nothing of what is replayed from ``from_ms`` on; return the marks of allowed leaks.

    Raises ``LeakError``, which names both times, or the one that can't be true.
    """
    wrong = impossible_model(manifest)
    if wrong:
        return refused_or_marked(wrong, TRAIN_AGAIN, allow)
    until_ms = manifest.trained_until_ms
    if until_ms <= from_ms:  # training sees what happened before it
        return []
    return refused_or_marked(
        f"the model {manifest.model_version} was trained on events until {time_text(until_ms)}, but the replay ranks "
        f"from {time_text(from_ms)} on: it would be tested on what it has seen",
        f"replay what came after with --from {_iso(until_ms)}, or train on events until {_iso(from_ms)}",
        allow,
    )


def check_table(
    table: AsOf, at_ms: int, allow: bool = False, name: str = "a table", what: str = "vectors"
) -> list[str]:
    """Check that ``what`` ranks from ``at_ms`` on was made of nothing later; return the marks of allowed leaks.

    Raises ``LeakError``, which names both times, or the one that can't be true.
    """
    wrong = impossible_table(table, name, what)
    if wrong:
        return refused_or_marked(wrong, EMBED_AGAIN, allow)
    if table.as_of_ms <= at_ms:
        return []
    return refused_or_marked(
        f"the {what} of {name} (version {table.version}) hold events until {time_text(table.as_of_ms)}, but rank "
        f"from {time_text(at_ms)} on",
        f"rank after that with --from {_iso(table.as_of_ms)}, or make {what} as of {_iso(at_ms)}",
        allow,
    )


def impossible_model(manifest: Manifest) -> str:
    """Return why a model's end of training can't be true, in words; "" where it can."""
    wrong = _impossible(manifest.trained_until_ms, _made_ms(manifest.created_at))
    model = f"the model {manifest.model_version} says that it was trained on events until {wrong}"
    return f"{model}, so it is not known what it has seen" if wrong else ""


def impossible_table(table: AsOf, name: str, what: str = "vectors") -> str:
    """Return why the time of a table's vectors can't be true, in words; "" where it can."""
    wrong = _impossible(table.as_of_ms)
    said = f"the {what} of {name} (version {table.version}) say that they hold events until {wrong}"
    return f"{said}, so it is not known what they were made of" if wrong else ""


def refused_or_marked(leak: str, remedy: str, allow: bool) -> list[str]:
    """Return the mark of a leak that is allowed. Raises ``LeakError`` for one that is not."""
    if not allow:
        raise LeakError(f"{leak}; {remedy}, or add --allow-leak, which marks every output")
    return [f"LEAK: {leak}"]


def _impossible(at_ms: int, made_ms: int | None = None) -> str:
    """Return a time with the reason why nothing can have been made of a log until then; "" where it can."""
    if at_ms < MIN_TIME_MS:
        return f"{time_text(max(at_ms, 0))} (its times may be seconds that were read as milliseconds)"
    if made_ms is not None and at_ms > made_ms + DAY_MS:
        after = f"{time_text(at_ms)}, after it was made itself, {time_text(made_ms)}"
        return f"{after} (its log may hold a row of a wrong time, or its times may be of a wrong unit)"
    return ""


def _made_ms(created_at: str) -> int | None:
    """Return when a bundle was written; None where its text is no time."""
    with suppress(ValueError):
        return parse_time_ms(created_at)
    return None


def _iso(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(-(-at_ms // 1000), UTC):%Y-%m-%dT%H:%M:%SZ}"  # whole seconds, rounded up


T = TypeVar("T")


class PublishedVersions(Generic[T]):
    """All versions that are published in a folder, opened, and the one that there was at a time."""

    def __init__(
        self, root: Path, open_version: Callable[[Path], T], as_of_ms: Callable[[T], int], missing: str
    ) -> None:
        """Open all: those a publisher prunes stay readable. Raises ``BrokenTableError``, also for none."""
        opened = [open_version(folder) for folder in versions(root)] if root.is_dir() else []
        if not opened:
            raise BrokenTableError(f"{root} holds no version of {missing}")
        self.root = root
        self.opened = sorted(opened, key=as_of_ms)  # of one time, the last published comes last
        self._as_of_ms = [as_of_ms(one) for one in self.opened]

    def as_of(self, at_ms: int) -> T | None:
        """Return the newest version that knows nothing later than ``at_ms``; None where each knows more."""
        count = bisect_right(self._as_of_ms, at_ms)
        return self.opened[count - 1] if count else None


class UserTables(PublishedVersions[EmbeddingTable]):
    """A table's versions on disk, and the one that there was at a time.

    ``publish(..., keep=N)`` keeps N of them; a daily table of two weeks needs 14.
    """

    def __init__(self, root: Path) -> None:
        """Map all versions: those a publisher prunes stay readable. Raises ``BrokenTableError``, also for none."""
        super().__init__(root, EmbeddingTable.open_version, _as_of_ms, "a table; publish one there")
        _refuse_several_spaces(root, self.opened)

    def check_made_with(self, manifest: Manifest) -> None:
        """Raise ``BrokenTableError`` if these are the vectors of another model."""
        table, sizes = self.opened[0], manifest.sizes
        if (table.space, table.dim) != (manifest.user_space, sizes.user_dim):
            raise BrokenTableError(
                f"the vectors in {self.root} are of the space {table.space!r} and {table.dim} wide, but model "
                f"{manifest.model_version} wants {manifest.user_space!r} and {sizes.user_dim}; "
                "name those that were made with this bundle"
            )


class ItemTables(PublishedVersions[ServedItems]):
    """The published versions of item vectors, and the one that there was at a time; before the first, the bundle's."""

    def __init__(self, root: Path, bundle: Bundle) -> None:
        """Map all versions, with the graphs beside them.

        Raises ``BrokenTableError``, also for none and for one of another training than the bundle's.
        """
        super().__init__(
            root,
            lambda folder: published_items(EmbeddingTable.open_version(folder), root, bundle),
            lambda one: one.table.as_of_ms,
            "item vectors; publish one with `rankstream embed`",
        )

    def check_times(self) -> None:
        """Raise ``LeakError`` for a version whose time can't be true."""
        for one in self.opened:
            wrong = impossible_table(one.table, f"the items in {self.root}")
            if wrong:
                raise LeakError(f"{wrong}; {EMBED_AGAIN}")


class CountsVersions(PublishedVersions[ItemCounts]):
    """Published versions of item counts, and the one that there was at a time."""

    def __init__(self, root: Path) -> None:
        """Map and verify all versions. Raises ``BrokenTableError``, also for none."""
        super().__init__(root, open_counts_version, _as_of_ms, "item counts; publish one with `rankstream embed`")

    def check_made_with(self, manifest: Manifest) -> None:
        """Raise ``NotCountableError`` if one of them is of another model."""
        for counts in self.opened:
            check_made_for(counts, manifest, f"in {self.root} (version {counts.version})")


class InterestsVersions(PublishedVersions[InterestTable]):
    """Published versions of users' interests, and the one that there was at a time."""

    def __init__(self, root: Path) -> None:
        """Map and verify all versions. Raises ``BrokenTableError``, also for none."""
        super().__init__(
            root, open_interests_version, _as_of_ms, "interests; publish one with `rankstream embed --interests-to`"
        )

    def check(self, manifest: Manifest, from_ms: int, allow: bool = False) -> list[str]:
        """Check that there was a version at ``from_ms``; return the marks of allowed leaks.

        Raises ``LeakError``, and ``BrokenTableError`` for interests among other items than the bundle's.
        """
        for one in self.opened:
            check_found_among(one, manifest, self.root)
        return check_table(self.opened[0], from_ms, allow, f"the users in {self.root}", "interests")


class GraphVersions(PublishedVersions[ItemGraph]):
    """Published versions of a graph, and the one that there was at a time."""

    def __init__(self, root: Path) -> None:
        """Map and verify all versions. Raises ``BrokenTableError``, also for none."""
        super().__init__(root, ItemGraph.open_version, _graph_as_of_ms, "a graph; publish one with `rankstream graph`")

    def check(self, from_ms: int, allow: bool = False) -> list[str]:
        """Check that there was a version at ``from_ms``; return the marks of allowed leaks. Raises ``LeakError``."""
        return check_table(self.opened[0], from_ms, allow, f"the graph in {self.root}", "boards")

    def as_of_or_oldest(self, at_ms: int) -> ItemGraph:
        """Return the version of a time; the oldest where that is a leak that was allowed."""
        return self.as_of(at_ms) or self.opened[0]


class CatalogueVersions(PublishedVersions[Catalogue]):
    """Published versions of a catalogue, and the one that there was at a time."""

    def __init__(self, root: Path) -> None:
        """Map and verify all versions. Raises ``BrokenTableError``, also for none."""
        super().__init__(
            root, Catalogue.open_version, _as_of_ms, "a catalogue; publish one with `rankstream catalogue`"
        )

    def check(self, from_ms: int, allow: bool = False) -> list[str]:
        """Check that there was a version at ``from_ms``; return the marks of allowed leaks. Raises ``LeakError``."""
        return check_table(self.opened[0], from_ms, allow, f"the catalogue in {self.root}", "items")

    def as_of_or_oldest(self, at_ms: int) -> Catalogue:
        """Return the version of a time; the oldest where that is a leak that was allowed."""
        return self.as_of(at_ms) or self.opened[0]


def _as_of_ms(one: AsOf) -> int:
    return one.as_of_ms


def _graph_as_of_ms(one: ItemGraph) -> int:
    return one.as_of_ms


def _refuse_several_spaces(root: Path, tables: list[EmbeddingTable]) -> None:
    spaces = sorted({f"{table.space!r} of {table.dim}" for table in tables})
    if len(spaces) > 1:
        raise BrokenTableError(
            f"the versions in {root} are of several spaces ({', '.join(spaces)}), which can't be compared; "
            "publish the vectors of another model in a folder of their own"
        )
