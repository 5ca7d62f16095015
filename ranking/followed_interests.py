"""Which published interests serve beside a bundle: the newest intact version found among its items, else none.

As with item counts (``followed_counts.py``), the ranker that is served takes one version for the whole of it. A broken
version, or one of other items, is refused once in the log; the latter serves as soon as its bundle does.
"""

import logging
from pathlib import Path

from rankstream.bundles.manifest import Manifest
from rankstream.features.embeddings.files import BrokenTableError
from rankstream.features.files import FollowedPointer
from rankstream.features.interests.table import InterestTable, open_interests

log = logging.getLogger(__name__)


class FollowedInterests:
    """The versions in ``root``, and the one that was opened last."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._opened: dict[str, InterestTable] = {}  # newest intact version of each item space
        self._pointer = FollowedPointer(root)

    def has_new_version(self) -> bool:
        """Return whether CURRENT names another version than the one opened or refused last."""
        return self._pointer.is_new()

    def of(self, manifest: Manifest) -> InterestTable | None:
        """Return the newest version for a bundle, opened and verified; None where there is none."""
        if self.has_new_version():
            self._pointer.mark_seen()
            try:
                newest = open_interests(self.root)
                self._opened[newest.space] = newest
                check_found_among(newest, manifest, self.root)
            except BrokenTableError as exc:
                used = self._opened.get(manifest.item_space)
                log.error("%s; %s", exc, "none serve" if used is None else f"version {used.version} serves")
        return self._opened.get(manifest.item_space)


def check_found_among(interests: InterestTable, manifest: Manifest, root: Path) -> None:
    """Raise ``BrokenTableError`` if these were found among other items than the bundle's."""
    if interests.space != manifest.item_space:
        raise BrokenTableError(
            f"the interests in {root} (version {interests.version}) were found among the items {interests.space!r}, "
            f"but model {manifest.model_version} has {manifest.item_space!r}; publish those of the model that is served"
        )
