"""Ranks by scores of which many are equal: ties are broken by other scores and at random, never by candidate order."""

from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from rankstream.features.ids import Keys
from rankstream.metrics.arrays import Floats, Ints

Noise = npt.NDArray[np.uint64]
COUNTED = 300  # candidates a row, from which on counting beats sorting


def mixed(bits: Noise) -> Noise:
    """Return 64 bits that look random for each ``(n,)`` (the finaliser of SplitMix64, Steele et al., OOPSLA 2014)."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def noise_of(keys: Keys, *names: object) -> Noise:
    """Return a random number for each item key ``(N,)``: the same for the same names, in whatever order."""
    return mixed(keys ^ np.uint64(xxhash.xxh3_64_intdigest(repr(names).encode())))


def ranks_at(rows: Ints, noise: Noise, *scores: Floats) -> Ints:
    """Return the ranks ``(N,)``, from 1, of the candidates at ``rows``, among all; 0 for the others.

    The first ``scores (N,)`` decide, the second where those are equal, and so on; ``noise`` decides at last. For few
    rows it is faster to count what stands before each than to sort all.
    """
    ranks = np.zeros(len(noise), np.int64)
    if len(rows) * COUNTED < len(noise):
        for row in rows.tolist():
            ranks[row] = 1 + _before(row, noise, *scores)
    else:
        order = np.lexsort((~noise, *(-one for one in reversed(scores))))
        ranks[order] = np.arange(1, len(noise) + 1)
        ranks[np.setdiff1d(np.arange(len(noise)), rows)] = 0
    return ranks


def _before(row: int, noise: Noise, *scores: Floats) -> int:
    """Return how many candidates rank before one."""
    columns: tuple[npt.NDArray[Any], ...] = (*scores, noise)
    before, equal = np.zeros(len(noise), np.bool_), np.ones(len(noise), np.bool_)
    for column in columns:
        before |= equal & (column > column[row])
        equal &= column == column[row]
    return int(np.count_nonzero(before))
