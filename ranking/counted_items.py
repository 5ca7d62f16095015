"""Which items a bundle's counts are of, and how they are made: the manifest and the ids, no graph and no golden case.

Who only counts needs nothing else of a bundle, and follows the folder's CURRENT as workers do.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rankstream.bundles.item_counts import CountsRecipe, NotCountableError, counts_recipe_of
from rankstream.bundles.item_tables import ITEMS
from rankstream.bundles.manifest import MANIFEST, ManifestError, read_manifest
from rankstream.events.ids import plain_ids
from rankstream.features.actions import Vocabulary
from rankstream.features.embeddings.files import BrokenTableError, current_version
from rankstream.features.embeddings.memory import ItemTable
from rankstream.features.embeddings.table import EmbeddingTable
from rankstream.features.files import CURRENT
from rankstream.ranking.bundle import BundleRefusedError, bundle_folder

Stamp = tuple[Path, int, int, str | None]  # the folder, its manifest's time and size, the version of the item vectors


@dataclass(frozen=True)
class CountedItems:
    """What is counted for a bundle."""

    model_version: str
    vocabulary: Vocabulary
    recipe: CountsRecipe
    items: ItemTable  # without their vectors


def open_counted(bundle_dir: Path, item_vectors: Path | None = None) -> CountedItems:
    """Read what is counted for the bundle in a folder, or the one that its CURRENT names.

    With ``item_vectors`` also those newer items are counted that have a vector there. Raises ``NotCountableError``,
    ``BrokenTableError``.
    """
    folder = _folder_of(bundle_dir)
    try:
        manifest = read_manifest(folder)
    except OSError as exc:
        raise NotCountableError(
            f"{folder / MANIFEST} can't be read ({exc.strerror}), so there is no bundle; name its folder with --bundle"
        ) from exc
    except ManifestError as exc:
        raise NotCountableError(f"{folder / MANIFEST} can't be trusted: {exc}; export the bundle again") from exc
    recipe = counts_recipe_of(manifest)
    table = EmbeddingTable.open(folder / ITEMS)
    if item_vectors is not None and (item_vectors / CURRENT).exists():
        newer = EmbeddingTable.open(item_vectors)
        table = newer if newer.space == manifest.item_space else table
    ids = plain_ids(table.ids(np.arange(len(table))))
    items = ItemTable(ids, np.zeros((len(ids), 0), np.float32))
    return CountedItems(manifest.model_version, manifest.vocabulary, recipe, items)


def stamp_of(bundle_dir: Path, item_vectors: Path | None = None) -> Stamp | None:
    """Return what changes when another bundle, or other item vectors, are to be counted for; None: out of reach."""
    try:
        folder = _folder_of(bundle_dir)
        found = (folder / MANIFEST).stat()
        version = (
            None if item_vectors is None or not (item_vectors / CURRENT).exists() else current_version(item_vectors)
        )
    except (OSError, NotCountableError, BrokenTableError):
        return None
    return folder, found.st_mtime_ns, found.st_size, version


def _folder_of(bundle_dir: Path) -> Path:
    try:
        return bundle_folder(bundle_dir)
    except BundleRefusedError as exc:
        raise NotCountableError(str(exc)) from exc
