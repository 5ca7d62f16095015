"""A table that follows what is published, without a restart.

Look-ups notice a new version within a second or so; it is opened and read through in a thread of its own, and only
then replaces the old one. A broken one is logged once, and the old one stays in use.
"""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from rankstream.features.embeddings.base import NoVectors, VectorTable
from rankstream.features.embeddings.files import BrokenTableError
from rankstream.features.embeddings.table import EmbeddingTable
from rankstream.features.files import CURRENT
from rankstream.features.ids import Keys
from rankstream.features.schema import Bools, Floats

CHECK_EVERY_S = 1.0

log = logging.getLogger(__name__)


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
        self._check_every_s = check_every_s
        self._clock = clock
        self._table: EmbeddingTable | NoVectors = NoVectors(dim)
        self._seen: str | None = None  # what CURRENT held when a version was loaded or refused last
        self._next_check = clock() + check_every_s
        self._loading = threading.Lock()
        self.refresh()

    @property
    def table(self) -> EmbeddingTable | None:
        """The version that is looked up, None if there is none."""
        return self._table if isinstance(self._table, EmbeddingTable) else None

    @property
    def version(self) -> str | None:
        """Name of the version that is looked up."""
        return self.table.version if self.table else None

    def look_up(self, keys: Keys) -> tuple[Floats, Bools]:
        """Return vectors as ``EmbeddingTable.look_up`` does, of the newest version that is loaded."""
        return self.snapshot().look_up(keys)

    def snapshot(self) -> EmbeddingTable | NoVectors:
        """Return the version that is looked up now; it stays what it is, whatever is published meanwhile."""
        if self._clock() >= self._next_check:
            self._next_check = self._clock() + self._check_every_s
            if self._has_new_version() and not self._loading.locked():
                threading.Thread(target=self.refresh, name="rankstream-table", daemon=True).start()
        return self._table

    def refresh(self) -> None:
        """Load what has been published, in this thread; a broken version is logged and not used."""
        with self._loading:
            if not self._has_new_version():
                return
            self._seen = self._current()
            try:
                self._table = self._load()
            except BrokenTableError as exc:
                log.error("%s; %s", exc, f"version {self.version} stays in use" if self.table else "no key is known")

    def _has_new_version(self) -> bool:
        current = self._current()
        return current is not None and current != self._seen  # None: out of reach; what is mapped stays

    def _current(self) -> str | None:
        try:
            return (self.root / CURRENT).read_text(errors="replace")
        except OSError:
            return None

    def _load(self) -> EmbeddingTable:
        table = EmbeddingTable.open(self.root)
        if (table.space, table.dim) != (self.space, self.dim):
            raise BrokenTableError(
                f"the table in {self.root} is of the space {table.space!r} and {table.dim} wide, the model wants "
                f"{self.space!r} and {self.dim}; publish vectors of the model that is served"
            )
        table.verify()
        return table


def snapshot(table: VectorTable) -> VectorTable:
    """Return the version that a live table serves now, to use for a whole request; any other table as it is."""
    return table.snapshot() if isinstance(table, LiveTable) else table


def table_version(table: VectorTable) -> str | None:
    """Return the name of the version of a table on disk, None for any other."""
    return table.version if isinstance(table, EmbeddingTable) else None
