"""How kernels are compiled, and where their machine code is kept.

Each kernel is compiled for one signature when its module is imported, so none is ever compiled while records wait. The
machine code is kept in a folder named by a digest of all that it was made of: numba looks only at the file of a
function itself, not at those that it calls.
"""

import fcntl
import hashlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numba
from numba import types

log = logging.getLogger(__name__)

ERRORS = (
    "numpy"  # a division by zero gives what numpy's does; Python's way costs a test each, and no loop is vectorised
)
inlined = numba.njit(error_model=ERRORS)  # called by kernels only, and compiled with them


class CodeCache:
    """The machine code of one room: a folder of modules with kernels, and what these have baked in from elsewhere."""

    def __init__(self, room: Path, baked_in: tuple[object, ...]) -> None:
        self.room = room
        self.baked_in = baked_in
        self.folder = self.open_folder()

    def digest(self) -> str:
        """Return what names the machine code: the room's sources, what they have baked in, and numba's version."""
        made_of = hashlib.sha256(repr((self.baked_in, numba.__version__)).encode())
        for source in sorted(self.room.glob("*.py")):
            made_of.update(source.read_bytes())
        return made_of.hexdigest()[:16]

    def open_folder(self) -> Path | None:
        """Return the folder, below ``NUMBA_CACHE_DIR`` or the user's own cache; None where there can't be one."""
        cache = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
        folder = Path(os.environ.get("NUMBA_CACHE_DIR") or cache / "rankstream") / self.digest()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            log.warning(
                "compiled code can't be kept in %s (%s), so each start takes ten seconds longer: set NUMBA_CACHE_DIR "
                "to a folder that can be written to",
                folder,
                exc.strerror,
            )
            return None
        return folder

    def kernel(self, *signature: types.Type):  # numba's decorators have no types
        """Return the decorator that compiles a function for one signature, or takes it from the folder."""
        if self.folder is not None:
            numba.config.CACHE_DIR = str(self.folder)  # numba reads it when a function is decorated
        return numba.njit(signature, cache=self.folder is not None, error_model=ERRORS)

    @contextmanager
    def one_at_a_time(self) -> Iterator[None]:
        """Have one process compile, and the others, which were started with it, wait and take what it has compiled."""
        if self.folder is None:
            yield
            return
        with (self.folder / "lock").open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            yield
