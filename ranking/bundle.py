"""A model bundle as serving trusts it: every checksum and every golden output holds, or it is refused.

A worker is given a place: a bundle's folder, or a folder of bundles whose file ``CURRENT`` names one of them
(``make_current`` writes it, once the bundle is there whole). Refusals are one sentence that names the file and the
remedy.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rankstream.bundles import manifest as names
from rankstream.bundles.golden import Golden, read_golden
from rankstream.bundles.manifest import Manifest, ManifestError, read_manifest, wrong_files
from rankstream.features.embeddings.base import NoVectors, VectorTable
from rankstream.features.embeddings.files import BrokenTableError
from rankstream.features.embeddings.table import EmbeddingTable
from rankstream.features.join import OfflineFeatures
from rankstream.features.schema import Floats, check_inputs
from rankstream.features.sessions import NoSessions, SessionEncoder
from rankstream.ranking.backends.base import Backend
from rankstream.ranking.backends.onnx import CPU, OnnxBackend
from rankstream.ranking.backends.onnx_sessions import OnnxSessionEncoder

CURRENT = "CURRENT"
TOLERANCE = 1e-4  # of golden outputs: float32 on another processor differs by 1e-6, a wrong graph by far more
EXPORT_AGAIN = "export the bundle again"


class BundleRefusedError(ValueError):
    """A bundle that must not serve; one sentence, which names the file and the remedy."""


@dataclass(frozen=True)
class Bundle:
    """A model and its tables, proved."""

    folder: Path
    manifest: Manifest
    items: EmbeddingTable
    item_features: VectorTable
    backend: Backend
    sessions: SessionEncoder

    def offline_features(self, users: VectorTable) -> OfflineFeatures:
        """Return the offline side of the join, with a table of user vectors, which are refreshed apart."""
        return OfflineFeatures(self.manifest.sizes, self.items, self.item_features, users, self.sessions)


def bundle_folder(place: Path) -> Path:
    """Return the bundle's folder: ``place`` itself, or the one that its CURRENT names."""
    pointer = place / CURRENT
    if not pointer.is_file():
        return place
    name = pointer.read_text(errors="replace").strip()
    if not name or "/" in name or name.startswith("."):
        raise BundleRefusedError(f"{pointer} names no folder beside it ({name!r}); write the name of a bundle there")
    return place / name


def make_current(place: Path, name: str) -> None:
    """Make the bundle ``place/name`` the one to serve; workers change over between two requests."""
    if not (place / name / names.MANIFEST).is_file():
        raise BundleRefusedError(f"{place / name} has no {names.MANIFEST}, so it is no bundle; export one there")
    new = place / f"{CURRENT}.new"
    with new.open("w") as file:
        file.write(f"{name}\n")
        file.flush()
        os.fsync(file.fileno())
    new.replace(place / CURRENT)


def open_bundle(place: Path, providers: Sequence[str] = CPU) -> Bundle:
    """Open and prove a bundle. Raises ``BundleRefusedError`` if anything in it is not what was exported."""
    folder = bundle_folder(place)
    manifest = _trusted_manifest(folder)
    items, item_features = _tables(folder, manifest)
    try:
        backend = OnnxBackend(folder / names.USER_GRAPH, folder / names.CANDIDATE_GRAPH, providers)
        sessions = _sessions(folder, manifest, providers)
    except Exception as exc:  # ONNX Runtime's errors have no common type
        raise BundleRefusedError(f"a graph in {folder} can't be loaded ({exc}); {EXPORT_AGAIN}") from exc
    bundle = Bundle(folder, manifest, items, item_features, backend, sessions)
    _prove(bundle)
    return bundle


def _trusted_manifest(folder: Path) -> Manifest:
    path = folder / names.MANIFEST
    try:
        manifest = read_manifest(folder)
        wrong = wrong_files(folder, manifest.files)
    except OSError as exc:
        raise BundleRefusedError(
            f"{exc.filename or path} can't be read ({exc.strerror}); export a bundle there"
        ) from exc
    except ManifestError as exc:
        raise BundleRefusedError(f"{path} is refused: {exc}; {EXPORT_AGAIN}") from exc
    for name in _needed(manifest):
        if name not in manifest.files:
            raise BundleRefusedError(f"{path} does not name {name}, which serving needs; {EXPORT_AGAIN}")
    if wrong:
        raise BundleRefusedError(f"{folder}/{wrong[0]}; copy the bundle again, or {EXPORT_AGAIN}")
    return manifest


def _needed(manifest: Manifest) -> list[str]:
    needed = [names.USER_GRAPH, names.CANDIDATE_GRAPH, names.GOLDEN, f"{names.ITEMS}/CURRENT"]
    if manifest.sizes.item_features:
        needed.append(f"{names.ITEM_FEATURES}/CURRENT")
    if manifest.session:
        needed += [names.SESSION_FOLD_GRAPH, names.SESSION_ENCODE_GRAPH]
    return needed


def _tables(folder: Path, manifest: Manifest) -> tuple[EmbeddingTable, VectorTable]:
    """Open the item tables; their checksums have been compared with the manifest's by now."""
    sizes = manifest.sizes
    try:
        items = EmbeddingTable.open(folder / names.ITEMS)
        features = EmbeddingTable.open(folder / names.ITEM_FEATURES) if sizes.item_features else None
    except BrokenTableError as exc:
        raise BundleRefusedError(str(exc)) from exc
    if (items.space, items.dim) != (manifest.item_space, sizes.item_dim):
        raise BundleRefusedError(
            f"{folder / names.ITEMS} is of the space {items.space!r} and {items.dim} wide, the model wants "
            f"{manifest.item_space!r} and {sizes.item_dim}; {EXPORT_AGAIN}"
        )
    if features and features.dim != sizes.item_features:
        raise BundleRefusedError(
            f"{folder / names.ITEM_FEATURES} is {features.dim} wide, the model wants {sizes.item_features}; "
            f"{EXPORT_AGAIN}"
        )
    return items, features or NoVectors(0)


def _sessions(folder: Path, manifest: Manifest, providers: Sequence[str]) -> SessionEncoder:
    if not manifest.session:
        return NoSessions(manifest.sizes.session_dim)
    graphs = folder / names.SESSION_FOLD_GRAPH, folder / names.SESSION_ENCODE_GRAPH
    return OnnxSessionEncoder(*graphs, manifest.session, providers)


def _prove(bundle: Bundle) -> None:
    """Run every golden case and compare."""
    path = bundle.folder / names.GOLDEN
    try:
        golden = read_golden(path)
    except (ValueError, KeyError, OSError) as exc:
        raise BundleRefusedError(f"{path} can't be read ({exc}); {EXPORT_AGAIN}") from exc
    if not golden.ranker or (bundle.manifest.session and not (golden.fold and golden.encode)):
        raise BundleRefusedError(f"{path} has no cases of the ranker or of the session model; {EXPORT_AGAIN}")
    try:
        worst = _largest_difference(bundle, golden)
    except Exception as exc:  # of a wrong shape, or from within ONNX Runtime
        raise BundleRefusedError(f"{path} can't be run through the graphs ({exc}); {EXPORT_AGAIN}") from exc
    if not worst <= TOLERANCE:
        raise BundleRefusedError(
            f"{path}: the graphs' outputs are up to {worst:.2g} off the golden ones, wanted {TOLERANCE}; {EXPORT_AGAIN}"
        )


def _largest_difference(bundle: Bundle, golden: Golden) -> float:
    sessions, heads = bundle.sessions, len(bundle.manifest.heads)
    differences = []
    for ranked in golden.ranker:
        check_inputs(ranked.inputs, bundle.manifest.sizes)
        probabilities = bundle.backend.score(ranked.inputs)
        if probabilities.shape[1] != heads:
            raise ValueError(f"{probabilities.shape[1]} probabilities a candidate for {heads} heads")
        differences.append(_difference(probabilities, ranked.probabilities))
    for folded in golden.fold:
        differences.append(_difference(sessions.fold(folded.states, folded.pooled), folded.new_states))
    for encoded in golden.encode:
        vector = sessions.encode(encoded.state, encoded.closed, encoded.opened)
        if vector.shape != (sessions.dim,):
            raise ValueError(f"a session vector {vector.shape}, wanted ({sessions.dim},)")
        differences.append(_difference(vector, encoded.session_vector))
    return float(np.max(differences))


def _difference(given: Floats, wanted: Floats) -> float:
    """Return the largest difference, relative to what is larger than 1; NaN if there is one."""
    if given.shape != wanted.shape:
        raise ValueError(f"{given.shape} given, {wanted.shape} wanted")
    return float(np.max(np.abs(given - wanted) / np.maximum(1, np.abs(wanted)), initial=0.0))
