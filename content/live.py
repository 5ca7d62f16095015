"""A catalogue that follows what is published, without a restart: as ``LiveTable`` follows a table of vectors."""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from rankstream.content.catalogue import Catalogue
from rankstream.features.embeddings.files import BrokenTableError
from rankstream.features.files import CURRENT

CHECK_EVERY_S = 1.0

log = logging.getLogger(__name__)


class LiveCatalogue:
    """The newest intact version in ``root``; an empty catalogue until there is one."""

    def __init__(
        self,
        root: Path,
        *,
        check_every_s: float = CHECK_EVERY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.root = root
        self._check_every_s = check_every_s
        self._clock = clock
        self._catalogue: Catalogue | None = None
        self._seen: str | None = None  # what CURRENT held when a version was opened or refused last
        self._next_check = clock() + check_every_s
        self._loading = threading.Lock()
        self.refresh()

    def snapshot(self) -> Catalogue | None:
        """Return the version that serves now, None while there is none; it stays what it is, whatever is published."""
        if self._clock() >= self._next_check:
            self._next_check = self._clock() + self._check_every_s
            if self._has_new_version() and not self._loading.locked():
                threading.Thread(target=self.refresh, name="rankstream-catalogue", daemon=True).start()
        return self._catalogue

    def refresh(self) -> None:
        """Open what has been published, in this thread; a broken version is logged once and not used."""
        with self._loading:
            if not self._has_new_version():
                return
            self._seen = self._current()
            try:
                self._catalogue = Catalogue.open(self.root)
            except BrokenTableError as exc:
                used = self._catalogue
                log.error("%s; %s", exc, f"version {used.version} serves" if used else "there is no catalogue")

    def _has_new_version(self) -> bool:
        current = self._current()
        return current is not None and current != self._seen  # None: out of reach; what is mapped stays

    def _current(self) -> str | None:
        try:
            return (self.root / CURRENT).read_text(errors="replace")
        except OSError:
            return None
