"""The 64-bit key of a text id, as ``features.ids.id_key`` makes it: decimal texts are numbers, others xxh3's hash.

xxh3 of 1 to 64 bytes, seed 0, after its specification (xxhash.com, "XXH3 algorithm description").
"""

import numpy as np
from numba import uint64

from rankstream.features.ids import HASHED
from rankstream.streams.compiled.integers import folded_product, little_endian
from rankstream.streams.compiled.jit import INT, READ_ONLY, inlined, kernel

MAX_TEXT_BYTES = 64  # of an id that is hashed here

PRIME_1 = np.uint64(0x9E3779B185EBCA87)
PRIME_2 = np.uint64(0xC2B2AE3D27D4EB4F)
PRIME_3 = np.uint64(0x165667B19E3779F9)
AVALANCHE = np.uint64(0x165667919E3779F9)
MIDDLE = np.uint64(0x9FB21C651E98DF25)
SECRET = np.frombuffer(
    bytes.fromhex(
        "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671f"
        "cb79e64eccc0e578825ad07dccff7221b8084674f743248ee03590e6813a264c"
    ),
    np.uint8,
)  # the first 64 bytes of its default
HASHED_BIT = np.uint64(HASHED)


def _word(at: int, size: int) -> np.uint64:
    """Return the number in some bytes of the secret: a constant of the kernels."""
    return np.uint64(int.from_bytes(SECRET[at : at + size].tobytes(), "little"))


FLIP_3 = _word(0, 4) ^ _word(4, 4)
FLIP_8 = _word(8, 8) ^ _word(16, 8)
FLIP_LOW, FLIP_HIGH = _word(24, 8) ^ _word(32, 8), _word(40, 8) ^ _word(48, 8)


@inlined
def _rotated(x, bits):
    return (x << uint64(bits)) | (x >> uint64(64 - bits))


@inlined
def _swapped(x):
    value = uint64(0)
    for k in range(8):
        value |= ((x >> uint64(8 * k)) & uint64(255)) << uint64(56 - 8 * k)
    return value


@inlined
def _avalanche(h):
    h ^= h >> uint64(37)
    h *= AVALANCHE
    return h ^ (h >> uint64(32))


@inlined
def _hash_to_3(data, at, size):
    parts = (uint64(data[at]) << uint64(16)) | (uint64(data[at + size // 2]) << uint64(24))
    parts |= uint64(data[at + size - 1]) | (uint64(size) << uint64(8))
    h = parts ^ FLIP_3
    h ^= h >> uint64(33)
    h *= PRIME_2
    h ^= h >> uint64(29)
    h *= PRIME_3
    return h ^ (h >> uint64(32))


@inlined
def _hash_to_8(data, at, size):
    h = (little_endian(data, at + size - 4, 4) + (little_endian(data, at, 4) << uint64(32))) ^ FLIP_8
    h ^= _rotated(h, 49) ^ _rotated(h, 24)
    h *= MIDDLE
    h ^= (h >> uint64(35)) + uint64(size)
    h *= MIDDLE
    return h ^ (h >> uint64(28))


@inlined
def _hash_to_16(data, at, size):
    low = little_endian(data, at, 8) ^ FLIP_LOW
    high = little_endian(data, at + size - 8, 8) ^ FLIP_HIGH
    return _avalanche(uint64(size) + _swapped(low) + high + folded_product(low, high))


@inlined
def _mixed_16(data, at, secret):
    low = little_endian(data, at, 8) ^ little_endian(SECRET, secret, 8)
    return folded_product(low, little_endian(data, at + 8, 8) ^ little_endian(SECRET, secret + 8, 8))


@inlined
def _hash_to_64(data, at, size):
    total = uint64(size) * PRIME_1
    for k in range((size - 1) // 32, -1, -1):
        total += _mixed_16(data, at + 16 * k, 32 * k)
        total += _mixed_16(data, at + size - 16 * (k + 1), 32 * k + 16)
    return _avalanche(total)


@kernel(READ_ONLY, INT, INT)
def xxh3(data, at, size):
    """Return xxh3_64 of ``size`` bytes from ``at`` on, 1 to 64."""
    if size <= 3:
        return _hash_to_3(data, at, size)
    if size <= 8:
        return _hash_to_8(data, at, size)
    if size <= 16:
        return _hash_to_16(data, at, size)
    return _hash_to_64(data, at, size)


@inlined
def text_key(data, at, size):
    """Return the key of an ASCII text of 1 to 64 bytes."""
    if size < 20 and (data[at] != 48 or size == 1):
        number, is_number = uint64(0), True
        for k in range(size):
            byte = data[at + k]
            if byte < 48 or byte > 57:
                is_number = False
                break
            number = number * uint64(10) + uint64(byte - 48)
        if is_number and number < HASHED_BIT:
            return number
    return xxh3(data, at, size) | HASHED_BIT
