"""A table that follows what is published, without a restart.

A new version is looked for every second or so, when there are look-ups, in a thread of its own; it is opened and read
through there, and only then replaces the old one. A broken one is logged once, and the old one stays in use.
"""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from rankstream.features.background_look import BackgroundLook
from rankstream.features.embeddings.base import NoVectors, VectorTable
from rankstream.features.embeddings.files import BrokenTableError
from rankstream.features.embeddings.table import EmbeddingTable
from rankstream.features.files import FollowedPointer
from rankstream.features.ids import Keys
from rankstream.features.schema import Bools, Floats

CHECK_EVERY_S = 1.0

log = logging.getLogger(__name__)


class Version(Protocol):
    """What is published in versions, opened."""

    @property
    def version(self) -> str | None:
        """Return its name."""
        ...


V = TypeVar("V", bound=Version)


class FollowedVersions(Generic[V]):
    """The newest intact version in ``root``, opened in a thread of its own when it is noticed."""

    def __init__(
        self,
        root: Path,
        open_newest: Callable[[], V],
        *,
        thread: str,
        on_refusal: Callable[[V | None], str],
        check_every_s: float,
        clock: Callable[[], float],
    ) -> None:
        """``open_newest`` raises ``BrokenTableError``; ``on_refusal`` says in the log what is used instead."""
        self._open_newest = open_newest
        self._on_refusal = on_refusal
        self._pointer = FollowedPointer(root)
        self._look = BackgroundLook(self.refresh, every_s=check_every_s, clock=clock, thread=thread)
        self._loading = threading.Lock()
        self.opened: V | None = None
        self.refresh()

    def snapshot(self) -> V | None:
        """Return the version that is open now, None while there is none; it stays what it is."""
        self._look.if_due()
        return self.opened

    def refresh(self) -> None:
        """Open what has been published, in this thread; a broken version is logged once and not used."""
        with self._loading:
            if not self._pointer.is_new():
                return
            self._pointer.mark_seen()
            try:
                self.opened = self._open_newest()
            except BrokenTableError as exc:
                log.error("%s; %s", exc, self._on_refusal(self.opened))


class LiveTable:
    """The newest intact version of the table in ``root``; every look-up misses until there is one."""

    def __init__(
        self,
        root: Path,
        *,
        space: str,
        dim: int,
        check_every_s: float = CHECK_EVERY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.root = root
        self.space = space
        self.dim = dim
        self._none = NoVectors(dim)
        self._versions: FollowedVersions[EmbeddingTable] = FollowedVersions(
            root, self._load, thread="rankstream-table", on_refusal=_used_instead,
            check_every_s=check_every_s, clock=clock,
        )  # fmt: skip

    @property
    def table(self) -> EmbeddingTable | None:
        """The version that is looked up, None if there is none."""
        return self._versions.opened

    @property
    def version(self) -> str | None:
        """Name of the version that is looked up."""
        return self.table.version if self.table else None

    def look_up(self, keys: Keys) -> tuple[Floats, Bools]:
        """Return vectors as ``EmbeddingTable.look_up`` does, of the newest version that is loaded."""
        return self.snapshot().look_up(keys)

    def snapshot(self) -> EmbeddingTable | NoVectors:
        """Return the version that is looked up now; it stays what it is, whatever is published meanwhile."""
        table = self._versions.snapshot()
        return self._none if table is None else table  # one without keys is a version too

    def refresh(self) -> None:
        """Load what has been published, in this thread; a broken version is logged and not used."""
        self._versions.refresh()

    def _load(self) -> EmbeddingTable:
        table = EmbeddingTable.open(self.root)
        if (table.space, table.dim) != (self.space, self.dim):
            raise BrokenTableError(
                f"the table in {self.root} is of the space {table.space!r} and {table.dim} wide, the model wants "
                f"{self.space!r} and {self.dim}; publish vectors of the model that is served"
            )
        table.verify()
        return table


def _used_instead(table: EmbeddingTable | None) -> str:
    return "no key is known" if table is None else f"version {table.version} stays in use"


def snapshot(table: VectorTable) -> VectorTable:
    """Return the version that a live table serves now, to use for a whole request; any other table as it is."""
    return table.snapshot() if isinstance(table, LiveTable) else table


def made_after(table: VectorTable, at_ms: int) -> VectorTable:
    """Return a table of users' vectors if it is as of a time after ``at_ms``; else one without any.

    For a user who was erased then: what is not known to be newer may be made of what is to be forgotten.
    """
    now = snapshot(table)
    return now if isinstance(now, EmbeddingTable) and now.as_of_ms > at_ms else NoVectors(table.dim)


def table_version(table: VectorTable) -> str | None:
    """Return the name of the version of a table on disk, None for any other."""
    return table.version if isinstance(table, EmbeddingTable) else None
