"""A catalogue that follows what is published, without a restart: as ``LiveTable`` follows a table of vectors."""

import time
from collections.abc import Callable
from pathlib import Path

from rankstream.content.catalogue import Catalogue
from rankstream.features.embeddings.live import CHECK_EVERY_S, FollowedVersions


class LiveCatalogue:
    """The newest intact version in ``root``; no catalogue until there is one."""

    def __init__(
        self,
        root: Path,
        *,
        check_every_s: float = CHECK_EVERY_S,
        clock: Callable[[], float] = time.monotonic,
        prepare: Callable[[Catalogue], object] = Catalogue.prepare,
    ) -> None:
        """``prepare`` is called with each version before it serves, in the thread that opened it."""
        self.root = root
        self._prepare = prepare
        self._versions: FollowedVersions[Catalogue] = FollowedVersions(
            root, self._opened, thread="rankstream-catalogue", on_refusal=_used_instead,
            check_every_s=check_every_s, clock=clock,
        )  # fmt: skip

    def snapshot(self) -> Catalogue | None:
        """Return the version that serves now, None while there is none; it stays what it is, whatever is published."""
        return self._versions.snapshot()

    def refresh(self) -> None:
        """Open what has been published, in this thread; a broken version is logged once and not used."""
        self._versions.refresh()

    def _opened(self) -> Catalogue:
        catalogue = Catalogue.open(self.root)
        self._prepare(catalogue)
        return catalogue


def _used_instead(catalogue: Catalogue | None) -> str:
    return "there is no catalogue" if catalogue is None else f"version {catalogue.version} serves"
