"""Which published item counts serve beside a bundle: the newest intact version of its items, else the bundle's own.

The ranker that is served takes one version for the whole of it (``serving.py``): retrieval, the join and the record of
what was served see the same. A broken version, or one of other items, is refused once in the log.
"""

import logging
from pathlib import Path

from rankstream.bundles.item_counts import NotCountableError, check_made_for
from rankstream.bundles.manifest import Manifest
from rankstream.features.embeddings.files import BrokenTableError
from rankstream.features.files import FollowedPointer
from rankstream.features.item_counts.counts import ItemCounts
from rankstream.features.item_counts.files import open_counts

log = logging.getLogger(__name__)


class FollowedCounts:
    """The versions in ``root``, and the one that was opened last."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._opened: ItemCounts | None = None  # newest that served; kept where what came after it is refused
        self._pointer = FollowedPointer(root)

    def has_new_version(self) -> bool:
        """Return whether CURRENT names another version than the one opened or refused last."""
        return self._pointer.is_new()

    def of(self, manifest: Manifest) -> ItemCounts | None:
        """Return the newest version for a bundle, opened and verified; None: the bundle's own."""
        if self._pointer.mark_seen() is not None:
            try:
                newest = open_counts(self.root)
                check_made_for(newest, manifest, f"in {self.root} (version {newest.version})")
                self._opened = newest
            except (BrokenTableError, NotCountableError) as exc:
                used = self._opened_for(manifest)
                log.error("%s; %s", exc, "the bundle's own serve" if used is None else f"version {used.version} serves")
        return self._opened_for(manifest)

    def _opened_for(self, manifest: Manifest) -> ItemCounts | None:
        """Return the version that is open if it is of this bundle's items."""
        if self._opened is None:
            return None
        try:
            check_made_for(self._opened, manifest, f"in {self.root}")
        except NotCountableError:
            return None
        return self._opened
