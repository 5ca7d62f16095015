"""Ranks by scores of which many are equal: ties are broken by other scores and at random, never by candidate order."""

import numpy as np
import numpy.typing as npt
import xxhash

from rankstream.features.ids import Keys
from rankstream.metrics.arrays import Floats, Ints

Noise = npt.NDArray[np.uint64]


def noise_of(keys: Keys, *names: object) -> Noise:
    """Return a random number for each item key ``(N,)``: the same for the same names, whatever the order of the keys.

    Source: the finaliser of SplitMix64, Steele, Lea and Flood, OOPSLA 2014.
    """
    start = np.uint64(xxhash.xxh3_64_intdigest(repr(names).encode()))
    mixed: Noise = keys ^ start
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))


def ranks_at(rows: Ints, noise: Noise, *scores: Floats) -> Ints:
    """Return the ranks ``(n,)``, from 1, of the candidates at ``rows`` among all, by ``scores`` of ``(N,)`` each.

    The first scores decide, the second where those are equal, and so on; ``noise`` decides at last.
    """
    found = np.empty(len(rows), np.int64)
    for number, row in enumerate(rows.tolist()):
        before, equal = np.zeros(len(noise), np.bool_), np.ones(len(noise), np.bool_)
        for column in (*scores, noise):
            before |= equal & (column > column[row])
            equal &= column == column[row]
        found[number] = 1 + int(np.count_nonzero(before))
    return found
