"""The files of an embedding table, and how a new version of it, or of item counts, is published atomically.

::

    root/
        CURRENT                     name of the version to read, replaced by a rename
        000007-9c3f5a01e2d4b678/    number, then the hash of header.json; never changed once it is there
            header.json             space, sizes, as-of time, checksums of the columns
            keys.u64                (n,) sorted
            vectors.f16             (n, d)
            texts.utf8  texts.u64   only if some ids are texts: the texts, and where each ends; "" for an integer

A killed publisher leaves an unfinished folder, which is never read; the next publisher deletes it.
"""

import fcntl
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt
import xxhash
from msgspec import Meta

from rankstream.features.decoding import UNREADABLE
from rankstream.features.files import CURRENT, PointerError, current_name, make_current, sync, write_synced

FORMAT = 1
HEADER = "header.json"
KEYS, VECTORS, TEXTS, TEXT_ENDS = "keys.u64", "vectors.f16", "texts.utf8", "texts.u64"
BUILDING = ".building"
LOCK = ".lock"
KEPT_VERSIONS = 2  # the current one, and the one that a reader may just be opening

Column = npt.NDArray[Any]
AnyHeader = TypeVar("AnyHeader", bound=msgspec.Struct)
V = TypeVar("V")


class BrokenTableError(ValueError):
    """A table on disk that can't be trusted; one sentence, which names the file and the remedy."""


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The metadata of a version."""

    format: int = FORMAT
    space: str  # name of the vector space; only vectors of one space may be compared
    count: Annotated[int, Meta(ge=0)]
    dim: Annotated[int, Meta(ge=0)]
    as_of_ms: int  # UTC: what happened until then is in the vectors
    meta: dict[str, Any]
    checksums: dict[str, str] = {}  # xxh3_128 of each column's file


def current_version(root: Path) -> str:
    """Return the name of the version to read. Raises ``BrokenTableError`` where nothing has been published."""
    try:
        return current_name(root)
    except OSError as exc:
        raise BrokenTableError(f"{root / CURRENT} can't be read, so there is no table; publish one there") from exc
    except PointerError as exc:
        raise BrokenTableError(f"{exc}; publish the table again") from exc


def opened_current(root: Path, open_version: Callable[[Path], V]) -> V:
    """Return the current version, opened; another one if it is pruned meanwhile. Raises ``BrokenTableError``."""
    version = current_version(root)
    try:
        return open_version(root / version)
    except BrokenTableError:
        if current_version(root) != version:  # pruned between two steps: a newer one is there
            return opened_current(root, open_version)
        raise


def verify_columns(folder: Path, columns: Mapping[str, Column], checksums: Mapping[str, str], again: str) -> None:
    """Read every byte and compare checksums, which also brings the columns into the page cache.

    Raises ``BrokenTableError``, which says by ``again`` what to do.
    """
    for name, wanted in checksums.items():
        if checksum(columns[name]) != wanted:
            raise BrokenTableError(f"{folder / name} was changed on disk (its checksum does not hold); {again}")


def read_header(folder: Path) -> Header:
    """Read a version's header and check it against the folder's name, and the columns' sizes against it."""
    header = sealed_header(folder, Header)
    if header.format != FORMAT:
        raise BrokenTableError(
            f"{folder / HEADER} is of format {header.format}, not {FORMAT}; publish with this version"
        )
    sizes = {KEYS: 8 * header.count, VECTORS: 2 * header.count * header.dim}
    if TEXT_ENDS in header.checksums:
        sizes[TEXT_ENDS] = 8 * header.count
    if not {KEYS, VECTORS} <= header.checksums.keys() or (TEXTS in header.checksums) != (TEXT_ENDS in header.checksums):
        raise BrokenTableError(f"{folder / HEADER} names the columns {', '.join(header.checksums)}; publish again")
    for name, size in sizes.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != size:
            raise BrokenTableError(f"{path} does not have the {size} bytes that its header names; publish again")
    return header


def sealed_header(folder: Path, kind: type[AnyHeader]) -> AnyHeader:
    """Read a version's header and check it against the folder's name. Raises ``BrokenTableError``."""
    path = folder / HEADER
    try:
        data = path.read_bytes()
        if folder.name.partition("-")[2] != xxhash.xxh3_64_hexdigest(data):
            raise BrokenTableError(f"{path} was changed (its hash is not in the folder's name); publish again")
        return msgspec.json.decode(data, type=kind)
    except FileNotFoundError as exc:
        raise BrokenTableError(f"{path} is not there; publish the table again") from exc
    except msgspec.ValidationError as exc:
        raise BrokenTableError(
            f"{path} is not what is wanted there, but of another kind of table, or of a later version of rankstream "
            f"({exc}); name another folder, or publish the table again"
        ) from exc
    except (OSError, *UNREADABLE) as exc:
        raise BrokenTableError(f"{path} can't be read ({exc}); publish the table again") from exc


def map_column(path: Path, dtype: str) -> Column:
    """Map a column's file into memory, read-only."""
    if not path.stat().st_size:
        return np.empty(0, dtype)
    return np.asarray(np.memmap(path, dtype, mode="r"))


def read_column(path: Path, dtype: str) -> Column:
    """Read a column's file into memory, where nothing that is done to the file reaches it."""
    return np.fromfile(path, dtype)


def checksum(column: Column) -> str:
    """Hash a column's bytes."""
    if not column.size:  # an empty array has no buffer to cast
        return xxhash.xxh3_128_hexdigest(b"")
    return xxhash.xxh3_128_hexdigest(np.ascontiguousarray(column).data.cast("B"))


@contextmanager
def publishing(root: Path) -> Iterator[None]:
    """Lock the root against other publishers; readers are not blocked."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _clear(root)
        yield


def write_version(
    root: Path,
    header: msgspec.Struct,
    columns: Mapping[str, Column],
    keep: int = KEPT_VERSIONS,
    prepare: Callable[[Path], object] | None = None,
) -> Path:
    """Write a version and make it the current one, within ``publishing``; return its folder.

    ``prepare`` is called with the folder before readers see it: for what they would have to make of it. The header's
    ``checksums`` are filled in. All but the newest ``keep`` versions are deleted. Raises ``ValueError`` for less than
    ``KEPT_VERSIONS``.
    """
    if keep < KEPT_VERSIONS:
        raise ValueError(f"{keep} versions are to be kept; at least {KEPT_VERSIONS} must be, as one may be opening now")
    building = root / BUILDING
    building.mkdir()
    sums = {name: checksum(column) for name, column in columns.items()}
    data = msgspec.json.encode(msgspec.structs.replace(header, checksums=sums))
    for name, column in columns.items():
        write_synced(building / name, np.ascontiguousarray(column).data.cast("B") if column.size else b"")
    write_synced(building / HEADER, data)
    sync(building)
    folder = root / f"{_next_number(root):06d}-{xxhash.xxh3_64_hexdigest(data)}"
    building.rename(folder)
    sync(root)
    if prepare is not None:
        prepare(folder)
    make_current(root, folder.name)
    _prune(root, keep)
    return folder


def versions(root: Path) -> list[Path]:
    """Return the version folders, oldest first."""
    return sorted(path for path in root.iterdir() if path.is_dir() and path.name.partition("-")[0].isdecimal())


def _clear(root: Path) -> None:
    """Delete what a killed publisher left unfinished; no other one writes while the lock is held."""
    shutil.rmtree(root / BUILDING, ignore_errors=True)
    for unfinished in root.glob(f".{CURRENT}.*"):
        unfinished.unlink()


def _next_number(root: Path) -> int:
    return max((int(path.name.partition("-")[0]) for path in versions(root)), default=0) + 1


def _prune(root: Path, keep: int) -> None:
    """Delete all but the newest versions; a reader that has mapped a deleted one can still read it."""
    for folder in versions(root)[:-keep]:
        shutil.rmtree(folder, ignore_errors=True)
