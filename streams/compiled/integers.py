"""Integers in bytes, as kernels read and write them. All are unsigned: numba makes a float of a mixture."""

from numba import int64, uint8, uint64

from rankstream.streams.compiled.jit import inlined


@inlined
def big_endian(data, at, size):
    """Return the number in ``size`` bytes, the most significant first."""
    value, at = uint64(0), uint64(at)
    for k in range(uint64(size)):
        value = (value << uint64(8)) | uint64(data[at + k])
    return value


@inlined
def little_endian(data, at, size):
    """Return the number in ``size`` bytes, the least significant first."""
    value, at = uint64(0), uint64(at)
    for k in range(uint64(size)):
        value |= uint64(data[at + k]) << (uint64(8) * k)
    return value


@inlined
def put_big_endian(out, at, value, size):
    """Write a number, the most significant byte first."""
    at, size = uint64(at), uint64(size)
    for k in range(size):
        out[at + k] = uint8((value >> (uint64(8) * (size - uint64(1) - k))) & uint64(255))


@inlined
def put_little_endian(out, at, value, size):
    """Write a number, the least significant byte first."""
    at = uint64(at)
    for k in range(uint64(size)):
        out[at + k] = uint8((value >> (uint64(8) * k)) & uint64(255))


@inlined
def varint(data, at, end):
    """Return a signed number of variable length (zigzag), and where it ends; -1 there if it does not."""
    value, shift = uint64(0), uint64(0)
    while at < end and shift < uint64(64):
        byte = uint64(data[at])
        at += 1
        value |= (byte & uint64(127)) << shift
        if byte < uint64(128):
            return int64(value >> uint64(1)) ^ -int64(value & uint64(1)), at
        shift += uint64(7)
    return int64(0), -1


@inlined
def folded_product(a, b):
    """Return both halves of the 128-bit product, one xor the other."""
    low = uint64(0xFFFFFFFF)
    a0, a1, b0, b1 = a & low, a >> uint64(32), b & low, b >> uint64(32)
    ll, hl, lh, hh = a0 * b0, a1 * b0, a0 * b1, a1 * b1
    cross = (ll >> uint64(32)) + (hl & low) + lh
    return ((cross << uint64(32)) | (ll & low)) ^ ((hl >> uint64(32)) + (cross >> uint64(32)) + hh)
