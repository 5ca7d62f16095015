"""Ranks by scores of which many are equal: ties are broken by other scores and at random, never by candidate order."""

import numpy as np
import numpy.typing as npt
import xxhash

from rankstream.features.ids import Keys
from rankstream.metrics.arrays import Floats, Ints

Noise = npt.NDArray[np.uint64]


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

    The first ``scores (N,)`` decide, the second where those are equal, and so on; ``noise`` decides at last.
    """
    ranks = np.zeros(len(noise), np.int64)
    for row in rows.tolist():
        before, equal = np.zeros(len(noise), np.bool_), np.ones(len(noise), np.bool_)
        for column in (*scores, noise):
            before |= equal & (column > column[row])
            equal &= column == column[row]
        ranks[row] = 1 + np.count_nonzero(before)
    return ranks
