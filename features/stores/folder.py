"""Whether a state folder can be worked in, found out before anything depends on it, and said in one sentence.

RocksDB would say most of it, but late, as errors of its own files, and with a wait for a lock that nobody holds.
"""

import errno
import fcntl
import os
import pwd
from contextlib import suppress
from pathlib import Path

from rankstream.features.stores.base import StoreRefusedError

PROBE_BYTES = 4096
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
NO_FOLDER = (errno.ENOTDIR, errno.EEXIST, errno.ELOOP)


def usable_folder(folder: Path) -> None:
    """Make the folder, and write, flush and lock a file in it. Raises ``StoreRefusedError``.

    A link to a folder will do; one to nothing is no folder, as what it should have led to is not mounted, mostly.
    """
    probe = folder / f".probe.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(probe, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, b"\0" * PROBE_BYTES)
            os.fsync(descriptor)
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(descriptor)
    except OSError as exc:
        raise unusable(folder, exc) from exc
    finally:
        with suppress(OSError):
            probe.unlink()


def unusable(folder: Path, exc: OSError) -> StoreRefusedError:
    """Return what is wrong with a state folder, and what to do."""
    return StoreRefusedError(f"the state folder {folder} can't be used ({exc.strerror or exc}): {_remedy(folder, exc)}")


def _remedy(folder: Path, exc: OSError) -> str:
    if exc.errno == errno.EROFS:
        return "mount its file system so that it can be written to, or name another with --state-dir"
    if exc.errno in (errno.EACCES, errno.EPERM):
        there = _nearest(folder)
        return (
            f"{there} belongs to {_name(_owner(there))} and this is {_name(os.geteuid())}: run as that user, or give "
            "this one the right to write there"
        )
    if exc.errno in NO_ROOM:
        return "make room on its disk"
    if exc.errno in NO_LOCKS:
        return "its file system has no locks, which keep two workers out of one folder: use a local disk"
    if exc.errno in NO_FOLDER:
        return f"{_in_the_way(folder)} stands in its way: mount what it should lead to, or name another folder"
    return "set that right and start again"


def _nearest(folder: Path) -> Path:
    """Return the folder itself, or the nearest one above it that is there."""
    for path in (folder, *folder.absolute().parents):
        with suppress(OSError):
            path.stat()
            return path
    return folder


def _in_the_way(folder: Path) -> Path:
    """Return what is no folder though it should be one."""
    above = reversed([folder, *folder.parents])
    return next((path for path in above if os.path.lexists(path) and not os.path.isdir(path)), folder)


def _owner(path: Path) -> int:
    try:
        return path.stat().st_uid
    except OSError:
        return 0


def _name(user: int) -> str:
    try:
        return f"user {pwd.getpwuid(user).pw_name}"
    except KeyError:  # of a container's own numbering
        return f"user {user}"
