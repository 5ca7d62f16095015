"""Which item vectors serve, and what they are searched with: the bundle's own, or the newest version of their space.

The ranker that is served takes one version for the whole of it (``serving.py``): retrieval, the join and the record of
what was served see the same. A broken version, or one of another space, is refused once in the log.
"""

import logging
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from rankstream.bundles.item_tables import ITEMS
from rankstream.bundles.manifest import Manifest
from rankstream.features.attributes.table import ItemAttributes
from rankstream.features.described import DescribedItems
from rankstream.features.embeddings.base import WithRows
from rankstream.features.embeddings.files import BrokenTableError
from rankstream.features.embeddings.key_search import Rows
from rankstream.features.embeddings.table import EmbeddingTable
from rankstream.features.files import FollowedPointer
from rankstream.features.join import OfflineFeatures
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
    attributes: ItemAttributes | None = None  # the bundle's, with those of new items; None: the bundle's alone
    described: DescribedItems = field(default_factory=DescribedItems)  # nobody had acted on them by then

    @cached_property
    def described_rows(self) -> Rows:
        """Return the rows of the items that are known by what they are alone, ascending."""
        rows, found = self.table.rows(self.described.keys)
        return rows[found]

    def told(self, offline: OfflineFeatures) -> OfflineFeatures:
        """Return a join's tables with what this version says of new items.

        Of a described item nothing was counted. The ranker learned what counts mean from items that were acted on, and
        none of these is without any: it sees those of items like it.
        """
        described = self.described
        if self.attributes is not None:
            offline = replace(offline, attributes=self.attributes)
        if described.features.shape[1] == offline.item_features.dim and len(described.keys):
            counted = WithRows(offline.item_features, described.keys, described.features)
            offline = replace(offline, item_features=counted)
        return offline


def items_of(bundle: Bundle) -> ServedItems:
    """Return the vectors of a bundle's training."""
    root = bundle.folder / ITEMS
    return ServedItems(bundle.items, open_index(bundle.items, root), root)


def published_items(table: EmbeddingTable, root: Path, bundle: Bundle) -> ServedItems:
    """Return a version of the table in ``root``, for a bundle.

    Raises ``BrokenTableError`` for vectors of another space than its items, for none at all, which would leave nobody
    anything to be proposed, and for new items that are described by the labels of another training.
    """
    where = f"in {root} (version {table.version})"
    _check_space(table, bundle.manifest, where)
    if not len(table):
        raise BrokenTableError(f"the item vectors {where} are of no item; publish the bundle's, and new ones beside")
    try:
        described = DescribedItems.in_table(table)
        attributes = described.known_to(bundle.attributes) if described.columns else None
    except BrokenTableError as exc:
        raise BrokenTableError(f"the item vectors {where} are refused: {exc}") from exc
    return ServedItems(table, open_index(table, root), root, table.version, attributes, described)


def _check_space(table: EmbeddingTable, manifest: Manifest, where: str) -> None:
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
        self._bundle: Bundle | None = None  # that it was opened for
        self._pointer = FollowedPointer(root)

    def has_new_version(self) -> bool:
        """Return whether CURRENT names another version than the one opened or refused last."""
        return self._pointer.is_new()

    def of(self, bundle: Bundle) -> ServedItems | None:
        """Return the newest version for a bundle, mapped and verified; None: the bundle's own."""
        current = self._pointer.mark_seen()
        if current is not None and (self._opened is None or self._opened.version != current.strip()):
            try:
                self._opened, self._bundle = self._newest(bundle), bundle
            except BrokenTableError as exc:
                used = self._opened_for(bundle)
                log.error("%s; %s", exc, "the bundle's own serve" if used is None else f"version {used.version} serves")
        return self._opened_for(bundle)

    def _newest(self, bundle: Bundle) -> ServedItems:
        table = EmbeddingTable.open(self.root)
        table.verify()
        return published_items(table, self.root, bundle)

    def _opened_for(self, bundle: Bundle) -> ServedItems | None:
        """Return the version that is open, as this bundle reads it; None where it is not of its space."""
        if self._opened is not None and self._bundle is not bundle:
            try:
                opened = published_items(self._opened.table, self.root, bundle)
            except BrokenTableError:
                return None
            self._opened, self._bundle = replace(opened, index=self._opened.index), bundle
        return self._opened
