"""The types of the kernels' arguments, and where their machine code is kept (``features/compiled/code_cache.py``)."""

from pathlib import Path

from numba import types

from rankstream.features.compiled.code_cache import CodeCache
from rankstream.features.compiled.code_cache import inlined as inlined
from rankstream.streams.compiled.layout import BAKED_IN

READ_ONLY = types.Array(types.uint8, 1, "C", readonly=True)  # of Python's bytes
BYTES, BYTE_ROWS = types.uint8[::1], types.uint8[:, ::1]
INT, INTS, INT_ROWS = types.int64, types.int64[::1], types.int64[:, ::1]
SLOTS = types.int32[::1]
WORD, WORDS, WORD_ROWS = types.uint64, types.uint64[::1], types.uint64[:, ::1]
RINGS = types.uint64[:, :, ::1]
COUNTERS = types.uint32[:, ::1]
FLOATS = types.float64[::1]

CACHE = CodeCache(Path(__file__).parent, BAKED_IN)
kernel = CACHE.kernel
