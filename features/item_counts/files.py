"""Published versions of item counts: written whole or not at all, mapped when opened, and verified to the byte.

::

    root/
        CURRENT                          as of an embedding table (``features/embeddings/files.py``)
        000007-9c3f5a01e2d4b678/
            header.json                  item space, names of the features, widths, as-of time, checksums of the files
            items.u64  features.f16      (n,) keys, sorted, and (n, F) dense features
            followers.starts.i64  ...    the arrays of the match tables, a file each
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta

from rankstream.features.embeddings import files
from rankstream.features.embeddings.files import KEPT_VERSIONS, BrokenTableError, Column
from rankstream.features.embeddings.table import EmbeddingTable
from rankstream.features.item_counts.counts import ItemCounts
from rankstream.features.matches.tables import match_arrays, tables_of

FORMAT = 1
ITEMS, FEATURES = "items.u64", "features.f16"
DTYPES = {"u64": "<u8", "i64": "<i8", "i32": "<i4", "f32": "<f4", "f16": "<f2"}  # by the end of a file's name
AGAIN = "publish item counts again with `rankstream embed`"


class CountsHeader(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The metadata of a version."""

    format: int = FORMAT
    item_space: str  # of the item vectors of the bundle that it belongs to
    features: Annotated[int, Meta(ge=0)]  # F
    feature_names: tuple[str, ...]
    match_features: Annotated[int, Meta(ge=0)]
    as_of_ms: int  # UTC: what happened until then is counted
    checksums: dict[str, str] = {}  # xxh3_128 of each file


def publish_counts(root: Path, counts: ItemCounts, keep: int = KEPT_VERSIONS) -> Path:
    """Publish counts as the newest version, whole or not at all; return the version's folder.

    All but the newest ``keep`` versions are deleted; this one counts. Raises ``ValueError`` for less than two.
    """
    header = CountsHeader(
        item_space=counts.space,
        features=counts.item_features.dim,
        feature_names=counts.feature_names,
        match_features=counts.match_features,
        as_of_ms=counts.as_of_ms,
    )
    with files.publishing(root):
        return files.write_version(root, header, _columns_of(counts), keep)


def open_counts(root: Path) -> ItemCounts:
    """Map the current version and verify it. Raises ``BrokenTableError``."""
    return files.opened_current(root, open_counts_version)


def open_counts_version(folder: Path) -> ItemCounts:
    """Map one version, the current one or an older one that is still there, and verify it to the byte.

    Raises ``BrokenTableError``.
    """
    header = files.sealed_header(folder, CountsHeader)
    if header.format != FORMAT:
        raise BrokenTableError(f"{folder / files.HEADER} is of format {header.format}, not {FORMAT}; {AGAIN}")
    try:
        columns = {name: files.map_column(folder / name, DTYPES[name.rpartition(".")[2]]) for name in header.checksums}
        files.verify_columns(folder, columns, header.checksums, AGAIN)
        return _counts_of(folder.name, header, columns)
    except (OSError, KeyError, ValueError) as exc:
        if isinstance(exc, BrokenTableError):
            raise
        raise BrokenTableError(f"the item counts {folder} can't be opened ({exc}); {AGAIN}") from exc


def _columns_of(counts: ItemCounts) -> dict[str, Column]:
    """Return the arrays by the name of their file."""
    arrays = match_arrays(counts.matches)
    matches = {f"{name}.{array.dtype.kind}{8 * array.dtype.itemsize}": array for name, array in arrays.items()}
    return {ITEMS: counts.item_features.keys, FEATURES: counts.item_features.vectors, **matches}


def _counts_of(version: str, header: CountsHeader, columns: Mapping[str, Column]) -> ItemCounts:
    keys, features = columns[ITEMS], columns[FEATURES]
    table = files.Header(
        space=header.item_space, count=len(keys), dim=header.features, as_of_ms=header.as_of_ms, meta={}
    )
    matches = {name.rpartition(".")[0]: column for name, column in columns.items() if name not in (ITEMS, FEATURES)}
    return ItemCounts(
        item_features=EmbeddingTable(version, table, {files.KEYS: keys, files.VECTORS: np.asarray(features)}),
        feature_names=header.feature_names,
        matches=tables_of(matches),
        match_features=header.match_features,
        version=version,
    )
