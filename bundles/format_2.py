"""Manifests of format 2, written before rankers had match features, surfaces and counters: read, never written."""

from dataclasses import asdict, dataclass
from typing import Any

import msgspec

from rankstream.bundles.parts import Part
from rankstream.features.actions import Vocabulary
from rankstream.features.schema import FeatureSizes


@dataclass(frozen=True)
class SizesOfFormat2:
    """The fields that ``FeatureSizes`` had."""

    num_actions: int
    item_dim: int
    user_dim: int
    session_dim: int
    item_features: int

    def upgraded(self) -> FeatureSizes:
        """Return what they stand for."""
        return FeatureSizes(**asdict(self), match_features=0, surfaces=0, counted_types=0)


class ManifestOfFormat2(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
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
    parts: tuple[Part, ...] = ()
    opset: int
    versions: dict[str, str]
    files: dict[str, str]
    checksum: str = ""
