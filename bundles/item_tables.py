"""The parts that are tables of items: their vectors, and their dense features."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rankstream.bundles.parts import BundlePart, Part, Written
from rankstream.features.embeddings.table import publish
from rankstream.features.files import CURRENT
from rankstream.features.ids import Id
from rankstream.features.schema import Floats

ITEMS = "items"
ITEM_FEATURES = "item_features"
WIDTHS = {ITEMS: "item_dim", ITEM_FEATURES: "item_features"}  # which of the shared sizes a table's width is


@dataclass(frozen=True)
class Vectors:
    """A table to be put into the bundle: one row an item."""

    ids: Sequence[Id]
    vectors: Floats  # (n, width)
    space: str  # names what the vectors mean; vectors of one space can be compared


def table_part(kind: str, dim: int, facts: Mapping[str, Any] | None = None) -> Part:
    """Return what the manifest lists of a table, which lies in a folder named as its kind."""
    return Part(kind=kind, files=(f"{kind}/{CURRENT}",), sizes={WIDTHS[kind]: dim}, facts=dict(facts or {}))


def export_table(kind: str, table: Vectors, as_of_ms: int, facts: Mapping[str, Any] | None = None) -> BundlePart:
    """Return the part that publishes a table into the bundle."""

    def write(folder: Path) -> Written:
        publish(folder / kind, table.ids, table.vectors, space=table.space, as_of_ms=as_of_ms, meta={})
        return Written()

    return BundlePart(table_part(kind, table.vectors.shape[1], facts), write)
