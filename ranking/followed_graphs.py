"""Which published graph of items and boards serves beside a bundle: the newest intact version, else none.

As with item counts (``followed_counts.py``), the ranker that is served takes one version for the whole of it. A broken
version is refused once in the log. A graph knows items by their keys, so any bundle can serve beside it.
"""

import logging
from pathlib import Path

from rankstream.features.embeddings.files import BrokenTableError
from rankstream.features.files import FollowedPointer
from rankstream.graph.item_graph import ItemGraph

log = logging.getLogger(__name__)


class FollowedGraphs:
    """The versions in ``root``, and the one that was opened last."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._opened: ItemGraph | None = None
        self._pointer = FollowedPointer(root)

    def has_new_version(self) -> bool:
        """Return whether CURRENT names another version than the one opened or refused last."""
        return self._pointer.is_new()

    def newest(self) -> ItemGraph | None:
        """Return the newest version, opened and verified; None where there is none."""
        if self.has_new_version():
            self._pointer.mark_seen()
            try:
                self._opened = ItemGraph.open(self.root)
            except BrokenTableError as exc:
                used = self._opened
                log.error("%s; %s", exc, "none serves" if used is None else f"version {used.version} serves")
        return self._opened
