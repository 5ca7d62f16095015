"""Which item vectors serve, and what they are searched with: the bundle's own, or the newest version of their space.

The ranker that is served takes one version for the whole of it (``serving.py``): retrieval, the join and the record of
what was served see the same. A broken version, or one of another space, is refused once in the log.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

from rankstream.bundles.item_tables import ITEMS
from rankstream.bundles.manifest import Manifest
from rankstream.features.embeddings.files import BrokenTableError
from rankstream.features.embeddings.table import EmbeddingTable
from rankstream.features.files import FollowedPointer
from rankstream.ranking.bundle import Bundle
from rankstream.retrieval.index.base import VectorIndex
from rankstream.retrieval.index.choice import open_index

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServedItems:
    """One version of the item vectors."""

    table: EmbeddingTable
    index: VectorIndex  # over the same version
    root: Path  # of the table, where its graph lies or will lie
    version: str | None = None  # None for the bundle's own


def items_of(bundle: Bundle) -> ServedItems:
    """Return the vectors of a bundle's training."""
    root = bundle.folder / ITEMS
    return ServedItems(bundle.items, open_index(bundle.items, root), root)


def published_items(table: EmbeddingTable, root: Path) -> ServedItems:
    """Return a version of the table in ``root``."""
    return ServedItems(table, open_index(table, root), root, table.version)


def check_space(table: EmbeddingTable, manifest: Manifest, where: str) -> None:
    """Raise ``BrokenTableError`` for vectors of another space than the bundle's items; ``where`` they lie."""
    wanted = manifest.item_space, manifest.sizes.item_dim
    if (table.space, table.dim) != wanted:
        raise BrokenTableError(
            f"the item vectors {where} are of the space {table.space!r} and {table.dim} wide, but model "
            f"{manifest.model_version} wants {wanted[0]!r} and {wanted[1]}; publish those of the model that is served"
        )


class FollowedItems:
    """The versions in ``root``, and the one that was opened last."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._opened: ServedItems | None = None  # newest that served; kept where what came after it is refused
        self._pointer = FollowedPointer(root)

    def has_new_version(self) -> bool:
        """Return whether CURRENT names another version than the one opened or refused last."""
        return self._pointer.is_new()

    def of(self, manifest: Manifest) -> ServedItems | None:
        """Return the newest version for a bundle, mapped and verified; None: the bundle's own."""
        current = self._pointer.mark_seen()
        if current is not None and (self._opened is None or self._opened.version != current.strip()):
            try:
                self._opened = self._newest(manifest)
            except BrokenTableError as exc:
                used = self._opened_for(manifest)
                log.error("%s; %s", exc, "the bundle's own serve" if used is None else f"version {used.version} serves")
        return self._opened_for(manifest)

    def _newest(self, manifest: Manifest) -> ServedItems:
        table = EmbeddingTable.open(self.root)
        check_space(table, manifest, f"in {self.root} (version {table.version})")
        table.verify()
        return published_items(table, self.root)

    def _opened_for(self, manifest: Manifest) -> ServedItems | None:
        """Return the version that is open if it is of this bundle's space."""
        fits = (manifest.item_space, manifest.sizes.item_dim)
        opened = self._opened
        return opened if opened is not None and (opened.table.space, opened.table.dim) == fits else None
