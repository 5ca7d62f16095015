"""From trained torch modules to the bundle that serving opens: the only road there.

A bundle (``bundles/manifest.py`` draws it) is written beside its place, proved, and renamed into it: a folder of that
name is whole or absent. How graphs are made and proved is in ``export_ranker.py`` and ``export_encoders.py``; the
largest errors found, against torch in float32 and in float64, stand in the manifest's metrics.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import torch
from xxhash import xxh3_64_hexdigest

from rankstream.bundles.golden import Golden, RankerCase, golden_inputs, write_golden
from rankstream.bundles.manifest import GOLDEN, ITEM_FEATURES, ITEMS, Manifest, SessionSizes, write_manifest
from rankstream.features.actions import Vocabulary
from rankstream.features.embeddings.table import publish
from rankstream.features.ids import Id
from rankstream.features.schema import Floats
from rankstream.models.onnx_graph import OPSET, ExportError
from rankstream.models.ranker.export import export_ranker, verify_ranker
from rankstream.models.ranker.hybrid import HybridRanker
from rankstream.models.recipes.run_folder import TrainedModels
from rankstream.models.sessions.hiertcn import HierTCN
from rankstream.models.sessions.hiertcn_export import export_sessions
from rankstream.models.training.checkpoints import fingerprint, weights_tag
from rankstream.models.users.pinnerformer import PinnerFormer
from rankstream.models.users.pinnerformer_export import export_pinnerformer
from rankstream.models.users.refresh import user_space


@dataclass(frozen=True)
class Vectors:
    """A table to be put into the bundle: one row an item."""

    ids: Sequence[Id]
    vectors: Floats  # (n, width)
    space: str  # names what the vectors mean; vectors of one space can be compared


@dataclass(frozen=True)
class Purpose:
    """What a bundle is for and where it comes from: all of the manifest that weights don't tell."""

    model_version: str
    vocabulary: Vocabulary
    utility: Mapping[str, float]  # weight of each head in the final score
    user_space: str  # `space` that tables of user vectors must have
    trained_until_ms: int  # nothing later was seen in training, UTC
    metrics: Mapping[str, Any] = field(default_factory=dict)  # measured where, on what


def export_bundle(
    folder: Path,
    ranker: HybridRanker,
    items: Vectors,
    item_features: Vectors,
    purpose: Purpose,
    *,
    hiertcn: HierTCN | None = None,
    pinnerformer: PinnerFormer | None = None,
) -> Manifest:
    """Write and prove a bundle; give its manifest. Raises ``ExportError`` and leaves nothing behind if it can't be."""
    _check(folder, ranker, items, item_features, purpose, hiertcn, pinnerformer)
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    try:
        manifest = _write(unfinished, ranker, items, item_features, purpose, hiertcn, pinnerformer)
        _sync(unfinished)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return manifest


def _check(
    folder: Path,
    ranker: HybridRanker,
    items: Vectors,
    item_features: Vectors,
    purpose: Purpose,
    hiertcn: HierTCN | None,
    pinnerformer: PinnerFormer | None,
) -> None:
    """Raise ``ExportError`` for parts that don't fit each other."""
    sizes = ranker.config.sizes
    widths = {
        "item vectors are": (items.vectors.shape[1], sizes.item_dim),
        "item features are": (item_features.vectors.shape[1], sizes.item_features),
        "action types of the vocabulary are": (len(purpose.vocabulary.actions), ranker.config.transact.num_types),
    }
    if hiertcn:
        widths["item vectors of HierTCN are"] = (hiertcn.config.item_dim, sizes.item_dim)
        widths["session vectors of HierTCN are"] = (hiertcn.config.session_dim, sizes.session_dim)
    if pinnerformer:
        widths["item vectors of PinnerFormer are"] = (pinnerformer.config.item_dim, sizes.item_dim)
        widths["user vectors of PinnerFormer are"] = (pinnerformer.config.user_dim, sizes.user_dim)
    for what, (given, wanted) in widths.items():
        if given != wanted:
            raise ExportError(f"the {what} {given}, the ranker was made for {wanted}; train it again or give others")
    if set(purpose.utility) != set(ranker.config.heads):
        raise ExportError(
            f"utility weighs {sorted(purpose.utility)}; wanted a weight for each head of the ranker: "
            f"{sorted(ranker.config.heads)}"
        )
    for model in (ranker, hiertcn, pinnerformer):
        for name, weight in model.named_parameters() if model else ():
            if not weight.isfinite().all():
                raise ExportError(f"weights {name} of {type(model).__name__} are not finite; train it again, slower")
    if folder.exists():
        raise ExportError(f"{folder} is there already; a bundle never changes: export to a new folder")


def _write(
    folder: Path,
    ranker: HybridRanker,
    items: Vectors,
    item_features: Vectors,
    purpose: Purpose,
    hiertcn: HierTCN | None,
    pinnerformer: PinnerFormer | None,
) -> Manifest:
    graphs = export_ranker(ranker, folder)
    metrics = {**purpose.metrics, "export": verify_ranker(ranker, graphs)}
    fold_cases, encode_cases = export_sessions(hiertcn, folder) if hiertcn else ([], [])
    if pinnerformer:
        export_pinnerformer(pinnerformer, folder)
    inputs = golden_inputs(ranker.config.sizes, ranker.config.transact.num_types)
    ranked = [RankerCase(one, graphs.probabilities(one)) for one in inputs]
    write_golden(folder / GOLDEN, Golden(ranked, fold_cases, encode_cases))
    tables = {ITEMS: items} | ({ITEM_FEATURES: item_features} if ranker.config.sizes.item_features else {})
    for name, table in tables.items():
        publish(folder / name, table.ids, table.vectors, space=table.space, as_of_ms=purpose.trained_until_ms, meta={})
    return write_manifest(
        folder,
        Manifest(
            model_version=purpose.model_version,
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            vocabulary=purpose.vocabulary,
            heads=ranker.config.heads,
            utility=dict(purpose.utility),
            sizes=ranker.config.sizes,
            item_space=items.space,
            user_space=purpose.user_space,
            trained_until_ms=purpose.trained_until_ms,
            metrics=metrics,
            session=_session_model(hiertcn) if hiertcn else None,
            opset=OPSET,
            versions={module.__name__: str(module.__version__) for module in (torch, onnx, onnxruntime)},
            files={},
        ),
    )


def _session_model(hiertcn: HierTCN) -> SessionSizes:
    config = hiertcn.config
    return SessionSizes(tag=weights_tag(hiertcn), state_size=config.state_size, dim=config.session_dim)


def _sync(folder: Path) -> None:
    """Make sure that all under ``folder`` is on the disk before its name says that it is whole."""
    for path in [*folder.rglob("*"), folder]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def export_models(models: TrainedModels, bundle: Path, utility: Mapping[str, float] | None = None) -> Manifest:
    """Write and prove a bundle of these models, with another utility if one is given. Raises ``ExportError``."""
    about = models.about
    weights = about.utility if utility is None else utility
    purpose = Purpose(
        model_version=version_of(models.ranker, models.item_space, weights),
        vocabulary=about.vocabulary,
        utility=weights,
        user_space=user_space(models.pinnerformer),
        trained_until_ms=about.until_ms,
        metrics={"trained_on_actions": about.actions, **about.metrics, "features": about.feature_names},
    )
    ids = models.item_table.ids.tolist()
    return export_bundle(
        bundle,
        models.ranker,
        Vectors(ids, models.item_table.vectors, models.item_space),
        Vectors(ids, models.features, "item-features"),
        purpose,
        hiertcn=models.hiertcn,
        pinnerformer=models.pinnerformer,
    )


def version_of(ranker: HybridRanker, space: str, utility: Mapping[str, float]) -> str:
    """Name what is served: other weights, items or utility, another name."""
    return "hybrid-" + xxh3_64_hexdigest(f"{fingerprint(ranker):x} {space} {sorted(utility.items())}".encode())
