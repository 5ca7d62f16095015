"""Packed states -> records of the changelog, as aiokafka writes them into a batch.

::

    keys    u1|u22|u3          record:  length | attributes 0 | time delta 0 | row | key | state | no headers
    states  one after the other                (varints)
"""

from numba import uint8, uint64

from rankstream.streams.compiled.jit import BYTES, INT, INTS, READ_ONLY, inlined, kernel


@inlined
def _varint_bytes(number):
    """Return how many bytes a number takes that is not negative."""
    rest, size = uint64(number) >> uint64(6), 1
    while rest != uint64(0):
        rest, size = rest >> uint64(7), size + 1
    return size


@inlined
def _put_varint(out, at, number):
    """Write a number that is not negative; return where it ends."""
    rest = uint64(number) << uint64(1)
    while rest >= uint64(128):
        out[at] = uint8((rest & uint64(127)) | uint64(128))
        rest, at = rest >> uint64(7), at + 1
    out[at] = uint8(rest)
    return at + 1


@inlined
def _put_bytes(out, at, data, begin, end):
    """Write bytes with their number before them; return where they end."""
    at = _put_varint(out, at, end - begin)
    size = end - begin
    to, source = out[at : at + size], data[begin:end]
    for k in range(size):  # ``to[:] = source`` has numba compile more for its error than for all else here
        to[k] = source[k]
    return at + size


@kernel(READ_ONLY, INTS, BYTES, INTS, INT, INT, INT, BYTES)
def put_records(keys, key_ends, states, state_ends, first, at, limit, out):
    """Write the records of the rows from ``first`` on, as many as end before ``limit``, but one at least.

    Return the first row that is left, and where the records end.
    """
    row = first
    while row < len(state_ends):
        key_from = key_ends[row - 1] if row > 0 else 0
        state_from = state_ends[row - 1] if row > 0 else 0
        key_size, state_size = key_ends[row] - key_from, state_ends[row] - state_from
        number = row - first
        size = 3 + _varint_bytes(number)  # attributes, time and headers of a byte each
        size += _varint_bytes(key_size) + key_size + _varint_bytes(state_size) + state_size
        if row > first and at + _varint_bytes(size) + size >= limit:
            break
        at = _put_varint(out, at, size)
        out[at] = out[at + 1] = uint8(0)
        at = _put_varint(out, at + 2, number)
        at = _put_bytes(out, at, keys, key_from, key_ends[row])
        at = _put_bytes(out, at, states, state_from, state_ends[row])
        out[at] = uint8(0)
        at, row = at + 1, row + 1
    return row, at
