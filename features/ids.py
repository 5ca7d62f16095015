"""Ids as users write them, strings or integers, and the 64-bit keys that tables and states hold.

An integer from 0 to 2**63 - 1 is its own key, and so is its decimal text: ``42`` and ``"42"`` name the
same item, whatever language the producer was written in. Every other text is hashed into the upper half
of the range, so that a hash never collides with an integer.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

Id = int | str
Ids = npt.NDArray[Any]  # int64, or object holding strings
Keys = npt.NDArray[np.uint64]

HASHED = 1 << 63  # set in the keys of texts, clear in those of integers
MAX_ID_BYTES = 256


def id_key(identifier: Id) -> int:
    """Return the 64-bit key of an id; the same for ``7`` and ``"7"``, another for ``"07"``."""
    if type(identifier) is int and 0 <= identifier < HASHED:
        return identifier
    text = str(identifier)
    if text.isdecimal() and len(text) < 20 and text.isascii() and (text[0] != "0" or text == "0"):
        number = int(text)
        if number < HASHED:
            return number
    return xxhash.xxh3_64_intdigest(text.encode()) | HASHED


def id_keys(identifiers: Sequence[Id]) -> Keys:
    """Return the keys of many ids, ``(n,)`` uint64."""
    if set(map(type, identifiers)) == {int}:  # most shops' ids: no call for each of them
        with suppress(OverflowError):
            numbers = np.array(identifiers, np.int64)
            if numbers.min() >= 0:
                return numbers.astype(np.uint64)
    return np.fromiter(map(id_key, identifiers), np.uint64, len(identifiers))


def id_bytes(identifier: Id) -> bytes:
    """Return the Kafka key of an id: its text in UTF-8."""
    return str(identifier).encode()
