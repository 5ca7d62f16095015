"""How kernels are compiled: their types, and where the machine code is kept.

Each kernel is compiled for one signature when its module is imported, so none is ever compiled on the event loop. The
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

from rankstream.streams.compiled.layout import BAKED_IN

READ_ONLY = types.Array(types.uint8, 1, "C", readonly=True)  # of Python's bytes
BYTES, BYTE_ROWS = types.uint8[::1], types.uint8[:, ::1]
INT, INTS, INT_ROWS = types.int64, types.int64[::1], types.int64[:, ::1]
SLOTS = types.int32[::1]
WORD, WORDS, WORD_ROWS = types.uint64, types.uint64[::1], types.uint64[:, ::1]
RINGS = types.uint64[:, :, ::1]
COUNTERS = types.uint32[:, ::1]
FLOATS = types.float64[::1]

log = logging.getLogger(__name__)

inlined = numba.njit  # called by kernels only, and compiled with them


def digest() -> str:
    """Return what names the machine code: the room's sources, what they have baked in, and numba's version."""
    made_of = hashlib.sha256(repr((BAKED_IN, numba.__version__)).encode())
    for source in sorted(Path(__file__).parent.glob("*.py")):
        made_of.update(source.read_bytes())
    return made_of.hexdigest()[:16]


def _code_dir() -> Path | None:
    """Return the folder of machine code, below ``NUMBA_CACHE_DIR`` or the user's own cache; None if there is none."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
    folder = Path(os.environ.get("NUMBA_CACHE_DIR") or cache / "rankstream") / digest()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        log.warning(
            "compiled code can't be kept in %s (%s), so each start takes ten seconds longer: set NUMBA_CACHE_DIR to a "
            "folder that can be written to",
            folder,
            exc.strerror,
        )
        return None
    return folder


CODE_DIR = _code_dir()
if CODE_DIR is not None:
    numba.config.CACHE_DIR = str(CODE_DIR)  # before any kernel is imported


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Have one process compile, and the others, which were started with it, wait and take what it has compiled."""
    if CODE_DIR is None:
        yield
        return
    with (CODE_DIR / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def kernel(*signature: types.Type):  # numba's decorators have no types
    """Return the decorator that compiles a function for one signature, or takes it from the cache."""
    return numba.njit(signature, cache=CODE_DIR is not None)
