"""Published versions of item counts: written whole or not at all, mapped when opened, and verified to the byte.

::

    root/
        CURRENT                          as of an embedding table (``features/embeddings/files.py``)
        000007-9c3f5a01e2d4b678/
            header.json                  item space, names of the features, widths, as-of time, checksums of the files
            items.u64  features.f16      (n,) keys, sorted, and (n, F) dense features
            followers.starts.i64  ...    the arrays of the match tables, a file each
        .counting                        locked by who publishes all the time, `rankstream count`
"""

import fcntl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
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
COUNTING = ".counting"


class FolderInUseError(ValueError):
    """A folder of item counts that another process publishes into all the time; one sentence."""


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
    with files.publishing(root):
        return files.write_version(root, _header_of(counts), _columns_of(counts), keep)


def publish_newer(root: Path, counts: ItemCounts, keep: int = KEPT_VERSIONS) -> Path | None:
    """Publish counts as ``publish_counts`` does, but not over others that are as new; None: those stay.

    Counts of other items, or other features of these, give way to what is as of the same time.
    """
    header = _header_of(counts)
    with files.publishing(root):
        current = _current_header(root)
        if current is not None and (
            current.as_of_ms > header.as_of_ms or (current.as_of_ms == header.as_of_ms and _are_alike(current, header))
        ):
            return None
        return files.write_version(root, header, _columns_of(counts), keep)


@contextmanager
def counting(root: Path) -> Iterator[None]:
    """Publish into the folder all the time, alone. Raises ``FolderInUseError``."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / COUNTING).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FolderInUseError(
                f"another process publishes item counts into {root}: one is enough, and two would count twice; end it, "
                "or name another folder"
            ) from None
        yield


def is_counting(root: Path) -> bool:
    """Return whether a process publishes into the folder all the time."""
    if not (root / COUNTING).exists():
        return False
    try:
        with counting(root):
            return False
    except FolderInUseError:
        return True


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


def _header_of(counts: ItemCounts) -> CountsHeader:
    return CountsHeader(
        item_space=counts.space,
        features=counts.item_features.dim,
        feature_names=counts.feature_names,
        match_features=counts.match_features,
        as_of_ms=counts.as_of_ms,
    )


def _current_header(root: Path) -> CountsHeader | None:
    """Return the header of the current version; None where there is none that can be trusted."""
    with suppress(BrokenTableError):
        return files.sealed_header(root / files.current_version(root), CountsHeader)
    return None


def _are_alike(one: CountsHeader, other: CountsHeader) -> bool:
    return (one.item_space, one.feature_names, one.match_features) == (
        other.item_space, other.feature_names, other.match_features
    )  # fmt: skip


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
