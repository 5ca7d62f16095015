"""Versions of a catalogue on disk: written whole or not at all, mapped when opened, verified to the byte.

::

    root/
        CURRENT                     as of an embedding table (``features/embeddings/files.py``)
        000007-9c3f5a01e2d4b678/
            header.json             sizes, currency, as-of time, positions in item-updates, checksums of the files
            keys.u64  prices.f64  categories.i32  groups.i32  created.i64       ``content/columns.py``
            paths.utf8              the categories' paths, as JSON
            group_keys.u64
            items.utf8  items.u64   the items, each as JSON, and where each ends

The positions are those up to which item-updates are in the items: both are written in one step, so that whoever is
killed reads on where its items end.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta

from rankstream.content.columns import ItemColumns
from rankstream.content.columns import Path as CategoryPath
from rankstream.features.decoding import UNREADABLE
from rankstream.features.embeddings import files
from rankstream.features.embeddings.files import KEPT_VERSIONS, BrokenTableError, Column

FORMAT = 1
KEYS, PRICES, CATEGORIES, GROUPS, CREATED = "keys.u64", "prices.f64", "categories.i32", "groups.i32", "created.i64"
PATHS, GROUP_KEYS, ITEMS, ENDS = "paths.utf8", "group_keys.u64", "items.utf8", "items.u64"
DTYPES = {"u64": "<u8", "f64": "<f8", "i32": "<i4", "i64": "<i8", "utf8": "u1"}  # by the end of a file's name
AGAIN = "publish the catalogue again with `rankstream catalogue import`"


class LastRead(msgspec.Struct, frozen=True):
    """What was read of a partition: a topic that lost the last record has another one there, or later ones before."""

    offset: int  # of the last record
    checksum: int
    epoch: int  # of the leader that wrote it; -1 where it did not say
    newest_ms: int  # the latest time of all that were read, from the next offset on
    newest_from: int


class CatalogueHeader(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The metadata of a version."""

    format: int = FORMAT
    count: Annotated[int, Meta(ge=0)]
    levels: Annotated[int, Meta(ge=0)]  # L, of the deepest category
    currency: str | None  # of all prices; None where no price says one
    as_of_ms: int  # UTC: what was known of the items until then
    positions: dict[str, int] = {}  # partition of item-updates -> offset to read on at
    last_read: dict[str, LastRead] = {}  # by partition, likewise; of versions of before not known
    source: str | None = None  # id of the topic whose positions these are, where the brokers tell one
    checksums: dict[str, str] = {}  # xxh3_128 of each file


def write_columns(root: Path, header: CatalogueHeader, columns: ItemColumns, keep: int = KEPT_VERSIONS) -> Path:
    """Write a version and make it the current one, within ``files.publishing``; return its folder.

    All but the newest ``keep`` versions are deleted. Raises ``ValueError`` for less than two.
    """
    arrays: dict[str, Column] = {
        KEYS: columns.keys,
        PRICES: columns.prices,
        CATEGORIES: columns.categories,
        GROUPS: columns.groups,
        CREATED: columns.created_ms,
        PATHS: np.frombuffer(msgspec.json.encode(columns.paths), np.uint8),
        GROUP_KEYS: columns.group_keys,
        ITEMS: columns.items,
        ENDS: columns.ends,
    }
    return files.write_version(root, header, arrays, keep)


def open_columns(folder: Path) -> tuple[CatalogueHeader, ItemColumns]:
    """Map one version and verify it to the byte. Raises ``BrokenTableError``."""
    header = files.sealed_header(folder, CatalogueHeader)
    if header.format != FORMAT:
        raise BrokenTableError(f"{folder / files.HEADER} is of format {header.format}, not {FORMAT}; {AGAIN}")
    try:
        mapped = {name: files.map_column(folder / name, DTYPES[name.rpartition(".")[2]]) for name in header.checksums}
        files.verify_columns(folder, mapped, header.checksums, AGAIN)
        return header, _columns_of(header, mapped)
    except BrokenTableError:
        raise
    except (OSError, KeyError, ValueError, *UNREADABLE) as exc:
        raise BrokenTableError(f"the catalogue {folder} can't be opened ({exc}); {AGAIN}") from exc


def _columns_of(header: CatalogueHeader, mapped: Mapping[str, Column]) -> ItemColumns:
    return ItemColumns(
        keys=mapped[KEYS],
        prices=mapped[PRICES],
        categories=mapped[CATEGORIES].reshape(header.count, header.levels),
        groups=mapped[GROUPS],
        created_ms=mapped[CREATED],
        paths=msgspec.json.decode(mapped[PATHS].tobytes(), type=tuple[CategoryPath, ...]),
        group_keys=mapped[GROUP_KEYS],
        items=mapped[ITEMS],
        ends=mapped[ENDS],
    )
