"""The types of the kernels' arguments. What tables map from files can't be written to; kernels take it all the same."""

from pathlib import Path

from numba import types

from rankstream.features.attributes.columns import NEAR_ITEMS, PRIOR_ACTIONS
from rankstream.features.compiled.code_cache import CodeCache
from rankstream.features.compiled.code_cache import inlined as inlined
from rankstream.features.matches.columns import MIN_LENGTH
from rankstream.features.matches.lists import NEAREST, SAMPLED
from rankstream.features.sessions import MAX_SESSION_ITEMS, SESSION_GAP_MS


def _read_only(dtype: types.Type, dimensions: int = 1) -> types.Type:
    return types.Array(dtype, dimensions, "C", readonly=True)


INT, WORD = types.int64, types.uint64
KEYS, STARTS, HALVES = _read_only(types.uint64), _read_only(types.uint32), _read_only(types.uint16, 2)
LABELS, NUMBERS = _read_only(types.int32, 2), _read_only(types.float32, 2)
LONGS, ROWS, WEIGHTS = _read_only(types.int64), _read_only(types.int32), _read_only(types.float32)
INTS, SLOTS = types.int64[::1], types.int32[::1]
FLOATS, FLOAT_ROWS, BIT_ROWS = types.float32[::1], types.float32[:, ::1], types.int32[:, ::1]
DOUBLES = types.float64[::1]

BAKED_IN = SESSION_GAP_MS, MAX_SESSION_ITEMS, SAMPLED, NEAREST, MIN_LENGTH, NEAR_ITEMS, PRIOR_ACTIONS
CACHE = CodeCache(Path(__file__).parent, BAKED_IN)
kernel = CACHE.kernel
