"""Tables of vectors that a batch job publishes and serving looks up: item vectors, user vectors.

A table is a folder of versions (``files.py``). ``publish`` adds one, whole or not at all; ``EmbeddingTable``
maps one into memory, which takes milliseconds whatever its size; ``LiveTable`` (``live.py``) follows what is
published. Vectors are kept in float16 and returned in float32.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from rankstream.features.embeddings.files import (
    KEPT_VERSIONS,
    KEYS,
    TEXT_ENDS,
    TEXTS,
    VECTORS,
    BrokenTableError,
    Column,
    Header,
    checksum,
    map_column,
    opened_current,
    publishing,
    read_column,
    read_header,
    write_version,
)
from rankstream.features.embeddings.float16 import Float16s, widen
from rankstream.features.embeddings.key_search import KeySearch, Rows
from rankstream.features.ids import HASHED, Id, Keys, id_keys
from rankstream.features.schema import Bools, Floats

DTYPES = {".u64": "<u8", ".i64": "<i8", ".i32": "<i4", ".f32": "<f4", ".f16": "<f2", ".utf8": "u1"}  # by file suffix


class EmbeddingTable:
    """One version of a table, mapped into memory; safe to read from many threads."""

    def __init__(self, version: str, header: Header, columns: Mapping[str, Column]) -> None:
        self.version = version
        self.header = header
        self.columns = columns
        self.keys: Keys = columns[KEYS]  # (n,) sorted
        self.vectors: Float16s = columns[VECTORS].reshape(header.count, header.dim)
        self.search = KeySearch(self.keys)  # finds rows of keys
        self.halves = self.vectors.view(np.uint16)  # the bits of the vectors, for kernels

    @classmethod
    def open(cls, root: Path, in_memory: bool = False) -> Self:
        """Map the current version. Raises ``BrokenTableError``; only ``verify`` reads the bytes of the columns.

        ``in_memory`` reads it instead: for files that somebody may write over, where a map would end the process
        (SIGBUS) as soon as one is cut. A version that ``publish`` wrote is never changed.
        """
        return opened_current(root, partial(cls.open_version, in_memory=in_memory))

    @classmethod
    def open_version(cls, folder: Path, in_memory: bool = False) -> Self:
        """Map one version, the current one or an older one that is still there. Raises ``BrokenTableError``."""
        open_column = read_column if in_memory else map_column
        try:
            header = read_header(folder)
            columns = {name: open_column(folder / name, DTYPES[Path(name).suffix]) for name in header.checksums}
            return cls(folder.name, header, columns)
        except BrokenTableError:
            raise
        except (OSError, KeyError, ValueError) as exc:
            raise BrokenTableError(f"{folder} can't be opened ({exc}); publish the table again") from exc

    def __len__(self) -> int:
        return self.header.count

    @property
    def dim(self) -> int:
        """Width of a vector."""
        return self.header.dim

    @property
    def space(self) -> str:
        """Name of the vector space."""
        return self.header.space

    @property
    def as_of_ms(self) -> int:
        """As-of time of the vectors, UTC."""
        return self.header.as_of_ms

    def look_up(self, keys: Keys) -> tuple[Floats, Bools]:
        """Return ``(n, dim)`` vectors, zeros where the key is unknown, and ``(n,)`` whether it is known."""
        rows, found = self.rows(keys)
        if not len(self):
            return np.zeros((len(keys), self.dim), np.float32), found
        narrow = np.empty((len(keys), self.dim), np.float16)
        np.take(self.vectors, rows, axis=0, out=narrow, mode="clip")
        vectors = widen(narrow)
        if not found.all():
            vectors[~found] = 0.0
        return vectors, found

    def rows(self, keys: Keys) -> tuple[Rows, Bools]:
        """Return the row of each key and whether it is known; the row of an unknown key is meaningless."""
        return self.search.find(keys)

    def ids(self, rows: Sequence[int] | Rows) -> list[Id]:
        """Return the ids of these rows as they were published, integers or texts."""
        positions = np.asarray(rows, np.intp)
        keys: list[Id] = self.keys.take(positions).tolist()
        if TEXTS not in self.columns:
            return keys
        ends = self.columns[TEXT_ENDS]
        starts = np.where(positions > 0, ends.take(positions - 1, mode="clip"), 0).tolist()
        text = self.columns[TEXTS].data
        spans = zip(keys, starts, ends.take(positions).tolist(), strict=True)
        return [str(text[start:end], "utf-8") if end > start else key for key, start, end in spans]

    def verify(self) -> None:
        """Read every byte and compare checksums, which also brings the table into the page cache."""
        for name, wanted in self.header.checksums.items():
            if checksum(self.columns[name]) != wanted:
                raise BrokenTableError(f"{name} of version {self.version} was changed on disk; publish the table again")

    def prefault(self) -> None:
        """Touch every page: a cold row costs 55 us, a warm one 0.1."""
        for column in self.columns.values():
            column.view(np.uint8).reshape(-1)[::4096].max(initial=0)

    def texts(self) -> list[str]:
        """Return each row's text id, "" for an integer."""
        return [identifier if isinstance(identifier, str) else "" for identifier in self.ids(np.arange(len(self)))]


def table_of(
    ids: Sequence[Id],
    vectors: npt.NDArray[Any],
    *,
    space: str,
    as_of_ms: int,
    meta: Mapping[str, Any] | None = None,
    beside: Mapping[str, Column] | None = None,
) -> EmbeddingTable:
    """Return ``(n, d)`` vectors as the table that ``publish`` would write of them, in memory. Raises as it does."""
    header, columns = _columns(*_rows(ids, vectors), space, as_of_ms, meta or {})
    return EmbeddingTable("", header, columns | dict(beside or {}))


def table_of_keys(keys: Keys, vectors: npt.NDArray[Any], *, space: str, as_of_ms: int) -> EmbeddingTable:
    """Return a table in memory of what is known by its keys alone, each once; it has no ids to tell."""
    header, columns = _columns(keys, (), vectors.astype(np.float16), space, as_of_ms, {})
    return EmbeddingTable("", header, columns)


def publish(
    root: Path,
    ids: Sequence[Id],
    vectors: npt.NDArray[Any],
    *,
    space: str,
    as_of_ms: int,
    meta: Mapping[str, Any] | None = None,
    keep: int = KEPT_VERSIONS,
    prepare: Callable[[Path], object] | None = None,
    beside: Mapping[str, Column] | None = None,
) -> Path:
    """Publish ``(n, d)`` vectors as the table's new version, whole or not at all; return the version's folder.

    All but the newest ``keep`` versions are deleted; this one counts. Replay can use a version only while it is kept.
    ``prepare`` is called with the folder before readers see it. ``beside`` are further columns, of whatever length, by
    file name: no look-up reads them, and they are checked as the vectors are.
    Raises ``ValueError`` for ids that are repeated, or collide as keys, and for vectors that float16 can't hold.
    """
    keys, texts, narrow = _rows(ids, vectors)
    with publishing(root):
        return _write(root, keys, texts, narrow, space, as_of_ms, meta or {}, keep, prepare, beside or {})


def publish_merged(
    root: Path,
    ids: Sequence[Id],
    vectors: npt.NDArray[Any],
    *,
    as_of_ms: int,
    meta: Mapping[str, Any] | None = None,
    keep: int = KEPT_VERSIONS,
    without: Sequence[Id] = (),
) -> Path:
    """Publish the current version with these rows added or replaced; the space stays what it is.

    The old rows ``without`` names are left out.
    """
    keys, texts, narrow = _rows(ids, vectors)
    with publishing(root):
        old = EmbeddingTable.open(root)
        if narrow.shape[1] != old.dim:
            raise ValueError(f"vectors of {narrow.shape[1]} given, but the table in {root} has vectors of {old.dim}")
        _refuse_collisions(old, keys, texts)
        kept = np.flatnonzero(~np.isin(old.keys, np.concatenate([keys, id_keys(without)])))
        old_texts = old.texts()
        return _write(
            root,
            np.concatenate([old.keys[kept], keys]),
            [old_texts[row] for row in kept] + texts,
            np.concatenate([old.vectors[kept], narrow]),
            old.space,
            as_of_ms,
            old.header.meta | dict(meta or {}),
            keep,
        )


def _rows(ids: Sequence[Id], vectors: npt.NDArray[Any]) -> tuple[Keys, list[str], Float16s]:
    """Check what is to be published; return keys, texts ("" for an integer) and float16 vectors, in the order given."""
    if vectors.ndim != 2 or len(vectors) != len(ids):
        raise ValueError(f"{len(ids)} ids with vectors {vectors.shape}; wanted one row of vectors an id")
    keys = id_keys(ids)
    texts = [identifier if isinstance(identifier, str) else "" for identifier in ids]
    nameless = [n for n, text in enumerate(texts) if not text and int(keys[n]) >= HASHED]
    if nameless:
        raise ValueError(f"{ids[nameless[0]]!r} is no id; wanted a text, or an integer from 0 to 2**63 - 1")
    order = np.argsort(keys, kind="stable")
    for at in np.flatnonzero(keys[order][1:] == keys[order][:-1]).tolist():
        raise ValueError(_same_key(ids[int(order[at])], ids[int(order[at + 1])]))
    with np.errstate(over="ignore"):
        narrow = vectors.astype(np.float16)
    for row in np.flatnonzero(~np.isfinite(narrow).all(axis=1)).tolist():
        raise ValueError(f"the vector of {ids[row]!r} holds a NaN, or a number beyond 65,504, which float16 can't hold")
    return keys, texts, narrow


def _same_key(one: Id, other: Id) -> str:
    if str(one) == str(other):
        return f"the ids {one!r} and {other!r} name the same thing; give each once"
    return f"the ids {one!r} and {other!r} have the same 64-bit key, so a table can't hold both; rename one of them"


def _refuse_collisions(old: EmbeddingTable, keys: Keys, texts: Sequence[str]) -> None:
    """Raise ``ValueError`` if a new id has the key, but not the name, of an old one."""
    rows, found = old.rows(keys)
    for n in np.flatnonzero(found & (keys >= np.uint64(HASHED))).tolist():
        if old.ids(rows[n : n + 1]) != [texts[n]]:
            raise ValueError(_same_key(old.ids(rows[n : n + 1])[0], texts[n]))


def _write(
    root: Path,
    keys: Keys,
    texts: Sequence[str],
    narrow: Float16s,
    space: str,
    as_of_ms: int,
    meta: Mapping[str, Any],
    keep: int,
    prepare: Callable[[Path], object] | None = None,
    beside: Mapping[str, Column] | None = None,
) -> Path:
    header, columns = _columns(keys, texts, narrow, space, as_of_ms, meta)
    return write_version(root, header, columns | dict(beside or {}), keep, prepare)


def _columns(
    keys: Keys, texts: Sequence[str], narrow: Float16s, space: str, as_of_ms: int, meta: Mapping[str, Any]
) -> tuple[Header, dict[str, Column]]:
    """Return what a version consists of, its rows sorted by key."""
    order = np.argsort(keys)
    columns: dict[str, Column] = {KEYS: keys[order], VECTORS: narrow[order]}
    if any(texts):
        encoded = [texts[row].encode() for row in order]
        columns[TEXTS] = np.frombuffer(b"".join(encoded), np.uint8)
        columns[TEXT_ENDS] = np.cumsum([len(text) for text in encoded], dtype=np.uint64)
    count, dim = narrow.shape
    return Header(space=space, count=count, dim=dim, as_of_ms=as_of_ms, meta=dict(meta)), columns
