"""Manifests of format 1, written before bundles were lists of parts: read, never written.

Format 1 named its two models itself: a ranker always, a session model where ``session`` is filled in, and PinnerFormer
where its graph lies in the bundle.
"""

from typing import Any

import msgspec

from rankstream.bundles.format_2 import SizesOfFormat2
from rankstream.bundles.item_tables import ITEM_FEATURES, ITEMS, table_part
from rankstream.bundles.parts import Part
from rankstream.bundles.ranker import ranker_part
from rankstream.bundles.sessions import SessionSizes, sessions_part
from rankstream.bundles.user_vectors import user_vectors_part
from rankstream.features.actions import Vocabulary

PINNERFORMER_GRAPH = "pinnerformer.onnx"


class ManifestOfFormat1(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The fields that ``Manifest`` had, in their order: the checksum is of exactly these bytes."""

    format: int
    model_version: str
    created_at: str
    vocabulary: Vocabulary
    heads: tuple[str, ...]
    utility: dict[str, float]
    sizes: SizesOfFormat2
    item_space: str
    user_space: str
    trained_until_ms: int
    metrics: dict[str, Any]
    session: SessionSizes | None = None
    opset: int
    versions: dict[str, str]
    files: dict[str, str]
    checksum: str = ""

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts that it stands for."""
        parts = [table_part(ITEMS, self.sizes.item_dim)]
        if self.sizes.item_features:
            parts.append(table_part(ITEM_FEATURES, self.sizes.item_features))
        parts.append(ranker_part(self.sizes.upgraded()))
        if self.session:
            parts.append(sessions_part(self.session))
        if PINNERFORMER_GRAPH in self.files:
            parts.append(user_vectors_part(PINNERFORMER_GRAPH))
        return tuple(parts)
