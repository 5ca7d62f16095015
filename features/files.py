"""Atomic writes of files and folders, the pointer to the current one of several versions, checksums, whole .npz files.

Whatever is killed, and whenever the power fails, a reader finds the old content or the new one: what is new is written
beside its path, flushed to disk (fsync), and renamed. A killed writer leaves a dot file or folder that is never read.

A folder of versions names the one to read in a file of its own::

    root/
        CURRENT     the name of a folder beside it, on one line
        one/  two/
"""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

CURRENT = "CURRENT"
HASHED_AT_ONCE = 1 << 20  # bytes that a checksum reads at a time


class PointerError(ValueError):
    """A file CURRENT that names nothing to read; the message shows what it holds."""


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a path to write to; what was written there is then flushed to disk and renamed to ``path``."""
    beside = _beside(path)
    try:
        yield beside
        sync(beside)
        beside.replace(path)
        sync(path.parent)  # the name, too
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder to fill; all in it is then flushed to disk and the folder renamed to ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = _beside(path)
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    try:
        yield beside
        for part in [*beside.rglob("*"), beside]:
            sync(part)
        beside.rename(path)
        sync(path.parent)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def write_synced(path: Path, data: bytes | memoryview) -> None:
    """Write a file and flush it to disk; it is whole only once this returns."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync(path: Path) -> None:
    """Flush a file's content, or the names in a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def current_name(root: Path) -> str:
    """Return the name that CURRENT holds. Raises ``OSError`` where there is none, ``PointerError`` for no such name."""
    pointer = root / CURRENT
    try:
        name = pointer.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError as exc:
        raise PointerError(f"{pointer} is not text") from exc
    if not is_pointer(name):
        raise PointerError(f"{pointer} names no folder beside it ({name!r})")
    return name


def is_pointer(name: str) -> bool:
    """Return whether CURRENT may hold this name: that of a folder beside it, not a path, nor a hidden one."""
    return bool(name) and "/" not in name and not name.startswith(".")


class FollowedPointer:
    """What CURRENT in ``root`` holds, for whoever opens what it names and wants to know of the next."""

    def __init__(self, root: Path) -> None:
        self._path = root / CURRENT
        self._seen: str | None = None  # what it held when that was last opened, or refused

    def is_new(self) -> bool:
        """Return whether it names another version than the one seen last."""
        current = self._read()
        return current is not None and current != self._seen  # None: out of reach; what is mapped stays

    def mark_seen(self) -> str | None:
        """Count what it holds as seen, and return that; None where there is none."""
        self._seen = self._read()
        return self._seen

    def _read(self) -> str | None:
        try:
            return self._path.read_text(errors="replace")
        except OSError:
            return None


def make_current(root: Path, name: str) -> None:
    """Point CURRENT at the folder ``root/name``; a reader sees the name before or this one."""
    with whole_file(root / CURRENT) as beside:
        beside.write_bytes(name.encode() + b"\n")


def sha256(path: Path) -> str:
    """Return the sha256 of a file, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(HASHED_AT_ONCE):
            digest.update(part)
    return digest.hexdigest()


def read_array(path: Path, mapped: bool = False) -> npt.NDArray[Any]:
    """Return the array of an .npy file, or map it.

    Raises ``OSError``, or ``ValueError`` for a file that is not whole.
    """
    try:
        array: npt.NDArray[Any] = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    except OSError:
        raise
    except Exception as exc:  # of numpy and of tokenize, with no common type
        raise ValueError(f"{path} is no whole .npy file: {exc}") from exc
    return array


def read_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of an .npz file by name. Raises ``OSError``, or ``ValueError`` for a file that is not whole."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except OSError:
        raise
    except Exception as exc:  # of numpy, zipfile and zlib, with no common type
        raise ValueError(f"it is no whole .npz file: {exc}") from exc


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.unfinished")
