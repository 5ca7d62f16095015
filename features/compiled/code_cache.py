"""How kernels are compiled, and where their machine code is kept.

Each kernel is compiled for one signature when its module is imported, so none is ever compiled while records wait. The
machine code is kept in a folder named by a digest of all that it was made of, and found there by what it is: numba by
itself looks at the path of a function's file, so that each checkout and each virtual environment compiled anew, and at
the content of that file alone, not at the functions that it calls. Code of another processor is no hit: numba keeps
what it was compiled for beside it.
"""

import fcntl
import hashlib
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FunctionType
from typing import TextIO

import llvmlite
import numba
from numba import types

log = logging.getLogger(__name__)

ERRORS = (
    "numpy"  # a division by zero gives what numpy's does; Python's way costs a test each, and no loop is vectorised
)
OF_KERNELS = {"error_model": ERRORS, "no_cfunc_wrapper": True}  # Python calls them, and nobody the wrapper for C
inlined = numba.njit(no_cpython_wrapper=True, **OF_KERNELS)  # called by kernels only, and compiled with them


class ByContent:
    """Where numba finds the machine code of a function, in place of what goes by the path of its file.

    numba takes the class by name (``NUMBA_CACHE_LOCATOR_CLASSES``). Unlike numba's own it does not ask whether the
    folder can be written to: one that was filled while an image was built is as good.
    """

    def __init__(self, folder: str, line: int) -> None:
        self.folder = folder
        self.line = line

    @classmethod
    def from_function(cls, function: FunctionType, path: str) -> "ByContent":
        """Return where the code of a function is, in the folder that ``kernel`` has named."""
        return cls(numba.config.CACHE_DIR, function.__code__.co_firstlineno)

    def get_cache_path(self) -> str:
        """Return the folder."""
        return self.folder

    def ensure_cache_path(self) -> None:
        """Leave the folder to ``CodeCache``, which has made it."""

    def get_source_stamp(self) -> str:
        """Return what tells other sources: the digest in the folder's name."""
        return Path(self.folder).name

    def get_disambiguator(self) -> str:
        """Return what tells functions of the same name and module."""
        return str(self.line)


class CodeCache:
    """The machine code of one room: a folder of modules with kernels, and what these have baked in from elsewhere."""

    def __init__(self, room: Path, baked_in: tuple[object, ...]) -> None:
        self.room = room
        self.baked_in = baked_in
        self.refused: Exception | None = None  # why code was not kept, or not taken: said once
        self.folder = self.open_folder()

    def digest(self) -> str:
        """Return what names the machine code: the sources, what they have baked in, and what compiles them."""
        compilers = sys.version, numba.__version__, llvmlite.__version__
        made_of = hashlib.sha256(repr((self.baked_in, compilers)).encode())
        for source in [Path(__file__), *sorted(self.room.glob("*.py"))]:
            made_of.update(source.read_bytes())
        return made_of.hexdigest()[:16]

    def open_folder(self) -> Path | None:
        """Return the folder, below ``NUMBA_CACHE_DIR`` or the user's own cache; None where there can't be one."""
        cache = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
        folder = Path(os.environ.get("NUMBA_CACHE_DIR") or cache / "rankstream") / self.digest()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            self._refuse(folder, exc)
            return None
        return folder

    def kernel(self, *signature: types.Type):  # numba's decorators have no types
        """Return the decorator that compiles a function for one signature, or takes it from the folder."""

        def compiled(function):
            kernel = self._with_folder(function)
            try:
                kernel.compile(signature)
            except Exception as exc:  # damaged code raises anything; a wrong kernel raises once more below
                if not kernel.overloads:
                    kernel = numba.njit(function, **OF_KERNELS)
                    kernel.compile(signature)
                self._refuse(self.folder, exc)
            kernel.disable_compile()
            return kernel

        return compiled

    def _with_folder(self, function):
        if self.folder is None:
            return numba.njit(function, **OF_KERNELS)
        with _numba_settings(CACHE_DIR=str(self.folder), CACHE_LOCATOR_CLASSES=f"{__name__}.{ByContent.__name__}"):
            return numba.njit(function, cache=True, **OF_KERNELS)

    def _refuse(self, folder: Path | None, exc: Exception) -> None:
        if self.refused is None:
            log.warning(
                "compiled code can't be kept in %s, or taken from there (%s), so each start takes up to half a minute "
                "longer: remove what is there, or set NUMBA_CACHE_DIR to a folder that can be written to",
                folder,
                getattr(exc, "strerror", None) or repr(exc),
            )
        self.refused = exc

    @contextmanager
    def one_at_a_time(self) -> Iterator[None]:
        """Have one process compile, and the others, which were started with it, wait and take what it has compiled."""
        with self._locked() or nullcontext():
            yield

    def _locked(self) -> TextIO | None:
        """Return the lock once it is ours; None where there can be none, and each compiles for itself."""
        try:
            if self.folder is not None:
                held = (self.folder / "lock").open("w")
                fcntl.flock(held, fcntl.LOCK_EX)
                return held
        except OSError:  # the folder can only be read, or its file system knows no locks
            pass
        return None


@contextmanager
def _numba_settings(**settings: str) -> Iterator[None]:
    """Set what numba reads when a function is decorated; other code of the process keeps its own."""
    before = {name: getattr(numba.config, name) for name in settings}
    vars(numba.config).update(settings)
    try:
        yield
    finally:
        vars(numba.config).update(before)
