"""States as the changelog holds them, read as columns: the newest of each user, and what plain code is to look at."""

import numpy as np
from numba import int64, uint8

from rankstream.features.stores.rocksdb import POSITION
from rankstream.features.user_state import FORMAT, WITH_MARK
from rankstream.streams.columns import Headed, Ints, RecordColumns
from rankstream.streams.compiled.integers import little_endian
from rankstream.streams.compiled.jit import BYTES, INT_ROWS, INTS, READ_ONLY, kernel
from rankstream.streams.compiled.layout import OK, SKIP, SLOW
from rankstream.streams.compiled.states import REFUSED, recurrent_bytes

NO_USERS_BYTE = 255  # with which the keys of positions begin, and no user's
MOST_ACTIONS = 255  # that a record can say it has
OFFSET_AT = 2


@kernel(READ_ONLY, INT_ROWS, INTS, BYTES)
def look_at_states(data, spans, offsets, status):
    """Set of each record ``(n,)`` what it is: a sound state (and its offset), nothing at all, or for plain code."""
    for k in range(len(spans)):
        key_at, at, end = spans[k, 0], spans[k, 2], spans[k, 3]
        if key_at < 0 or at < 0:
            status[k] = uint8(SKIP)
            continue
        is_user = spans[k, 1] == key_at or data[key_at] != NO_USERS_BYTE
        is_state = end > at and (data[at] == FORMAT or data[at] == WITH_MARK)
        if is_user and is_state and recurrent_bytes(data, at, end, MOST_ACTIONS) != REFUSED:
            status[k] = uint8(OK)
            offsets[k] = int64(little_endian(data, at + OFFSET_AT, 8))
        else:
            status[k] = uint8(SLOW)


def sound_states(columns: RecordColumns) -> tuple[dict[bytes, int], dict[bytes, bytes], list[Headed]]:
    """Return the offset and the newest state of each user, and the positions.

    Where anything else lies among them, all records go to plain code: which of two counts depends on their order.
    """
    offsets, status = np.zeros(len(columns), np.int64), np.empty(len(columns), np.uint8)
    look_at_states(np.frombuffer(columns.data, np.uint8), columns.spans, offsets, status)
    others = [columns.headed(row) for row in np.flatnonzero(status == SLOW).tolist()]
    if any(one.key != POSITION for one in others):
        return {}, {}, columns.all_headed()
    newest = _newest(columns, np.flatnonzero(status == OK), offsets)
    rows, data = list(newest.values()), columns.data
    states = [data[begin:end] for begin, end in columns.spans[rows, 2:4].tolist()]
    return dict(zip(newest, offsets[rows].tolist(), strict=True)), dict(zip(newest, states, strict=True)), others


def _newest(columns: RecordColumns, rows: Ints, offsets: Ints) -> dict[bytes, int]:
    """Return of each user the row with the highest offset, the last of several."""
    keys = columns.keys(rows)
    found = dict(zip(keys, rows.tolist(), strict=True))
    if len(found) == len(keys):
        return found
    found = {}
    for key, row in zip(keys, rows.tolist(), strict=True):
        if offsets[found.get(key, row)] <= offsets[row]:
            found[key] = row
    return found
