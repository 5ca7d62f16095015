"""From trained torch modules to the bundle that serving opens: the recipe's list of parts.

Each model's own ``*_export.py`` makes its part and verifies it; ``bundles/writer.py`` writes them, whole or not at all.
The ranker's largest errors against torch, in float32 and in float64, are among the manifest's metrics.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import torch
from xxhash import xxh3_64_hexdigest

from rankstream.bundles.attributes import export_attributes
from rankstream.bundles.item_counts import CountsRecipe, feature_facts, match_facts
from rankstream.bundles.item_tables import ITEM_FEATURES, ITEMS, Vectors, export_table
from rankstream.bundles.manifest import Manifest
from rankstream.bundles.matches import export_matches
from rankstream.bundles.parts import BundlePart
from rankstream.bundles.profiles import export_profiles
from rankstream.bundles.writer import write_bundle
from rankstream.features.actions import Vocabulary
from rankstream.features.attributes.table import ItemAttributes, attributes_tag
from rankstream.features.matches.tables import MatchTables, matches_tag, no_matches
from rankstream.features.profiles import UserProfiles, profiles_tag
from rankstream.models.onnx_graph import OPSET
from rankstream.models.ranker import export as ranker_export
from rankstream.models.ranker.hybrid import HybridRanker
from rankstream.models.recipes.run_folder import TrainedModels
from rankstream.models.sessions import hiertcn_export
from rankstream.models.training.checkpoints import fingerprint
from rankstream.models.users import pinnerformer_export
from rankstream.models.users.refresh import user_space


@dataclass(frozen=True)
class Purpose:
    """What a bundle is for and where it comes from: all of the manifest that no part knows."""

    model_version: str
    vocabulary: Vocabulary
    utility: Mapping[str, float]  # weight of each head in the final score
    user_space: str  # `space` that tables of user vectors must have
    trained_until_ms: int  # nothing later was seen in training, UTC
    metrics: Mapping[str, Any] = field(default_factory=dict)  # measured where, on what
    calibrated: Sequence[str] | None = None  # heads whose numbers are probabilities; None: it is not known


def export_bundle(
    folder: Path,
    ranker: HybridRanker,
    items: Vectors,
    item_features: Vectors,
    purpose: Purpose,
    encoders: Sequence[BundlePart] = (),
    matches: MatchTables | None = None,
    counts: CountsRecipe | None = None,
    attributes: ItemAttributes | None = None,
    profiles: UserProfiles | None = None,
) -> Manifest:
    """Write and verify a bundle of a ranker, its tables, and the encoders whose vectors it reads.

    ``counts`` says how item features and matches were made; None: they can't be made anew.
    Returns its manifest. Raises ``ExportError`` and leaves nothing behind if the parts can't make a bundle.
    """
    sizes, until_ms = ranker.config.sizes, purpose.trained_until_ms
    tables = [export_table(ITEMS, items, until_ms)]
    if sizes.item_features or item_features.vectors.shape[1]:
        tables.append(export_table(ITEM_FEATURES, item_features, until_ms, feature_facts(counts)))
    if sizes.match_features:
        tables.append(
            export_matches(no_matches() if matches is None else matches, sizes.match_features, match_facts(counts))
        )
    if attributes is not None and len(attributes):
        tables.append(export_attributes(attributes))
    if profiles is not None and profiles.width:
        tables.append(export_profiles(profiles))
    manifest = Manifest(
        model_version=purpose.model_version,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        vocabulary=purpose.vocabulary,
        heads=ranker.config.heads,
        utility=dict(purpose.utility),
        sizes=sizes,
        item_space=items.space,
        user_space=purpose.user_space,
        trained_until_ms=until_ms,
        metrics=dict(purpose.metrics),
        opset=OPSET,
        versions={module.__name__: str(module.__version__) for module in (torch, onnx, onnxruntime)},
        files={},
    )
    parts = [*tables, ranker_export.bundle_part(ranker, purpose.vocabulary, purpose.calibrated), *encoders]
    return write_bundle(folder, parts, manifest)


def export_models(models: TrainedModels, bundle: Path, utility: Mapping[str, float] | None = None) -> Manifest:
    """Write and verify a bundle of these models, with another utility if one is given. Raises ``ExportError``."""
    about = models.about
    weights = about.utility if utility is None else utility
    purpose = Purpose(
        model_version=model_version_of(
            models.ranker, models.item_space, weights, models.matches, models.attributes, models.profiles
        ),
        vocabulary=about.vocabulary,
        utility=weights,
        user_space=user_space(models.pinnerformer),
        trained_until_ms=about.until_ms,
        metrics={"trained_on_actions": about.actions, **about.metrics, "features": about.feature_names},
        calibrated=about.calibrated,
    )
    ids = models.item_table.ids.tolist()
    return export_bundle(
        bundle,
        models.ranker,
        Vectors(ids, models.item_table.vectors, models.item_space),
        Vectors(ids, models.features, "item-features"),
        purpose,
        [hiertcn_export.bundle_part(models.hiertcn), pinnerformer_export.bundle_part(models.pinnerformer)],
        models.matches,
        models.counts_recipe,
        models.attributes,
        models.profiles,
    )


def model_version_of(
    ranker: HybridRanker,
    space: str,
    utility: Mapping[str, float],
    matches: MatchTables | None = None,
    attributes: ItemAttributes | None = None,
    profiles: UserProfiles | None = None,
) -> str:
    """Name what is served: other weights, items, matches, attributes, profiles, utility or counts, another name."""
    tables = f" {matches_tag(matches):x}" if matches is not None and len(matches) else ""
    if attributes is not None and len(attributes):
        tables += f" {attributes_tag(attributes):x}"
    if profiles is not None and profiles.width:
        tables += f" users {profiles_tag(profiles):x}"
    if ranker.config.strangers is not None:
        tables += f" strangers {sorted(asdict(ranker.config.strangers).items())}"
    return "hybrid-" + xxh3_64_hexdigest(f"{fingerprint(ranker):x} {space} {sorted(utility.items())}{tables}".encode())
