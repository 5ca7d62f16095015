"""Whether two groups are as large as they were to be: the test for a sample ratio mismatch of an experiment."""

from math import erfc, log, log1p, sqrt

import numpy as np

ENOUGH = 1_000  # expected of the smaller group: from there on the normal distribution is as good as the exact one
FAR_FROM_ALL = 10  # times what is expected: what lies beyond adds nothing


def share_p_value(hits: int, total: int, share: float) -> float:
    """Return the probability that ``hits`` of ``total``, each a hit by ``share``, are at least as unlikely as these.

    Pearson's chi-square with one degree of freedom; the exact binomial test where few are expected.
    """
    if share > 0.5:
        hits, share = total - hits, 1 - share
    expected = total * share
    if not expected:
        return float(hits == 0)
    if expected < ENOUGH:
        return _exact(hits, total, share)
    chi_square = (hits - expected) ** 2 / (expected * (1 - share))
    return erfc(sqrt(chi_square / 2))


def _exact(hits: int, total: int, share: float) -> float:
    """Sum the probabilities of all counts that are no more likely than ``hits``."""
    counts = np.arange(1, min(total, hits + FAR_FROM_ALL * int(total * share + 10)) + 1)
    ways = np.concatenate([[0.0], np.cumsum(np.log((total - counts + 1) / counts))])  # log of binomial coefficients
    counts = np.arange(len(ways))
    probabilities = np.exp(ways + counts * log(share) + (total - counts) * log1p(-share))
    likely = probabilities[hits] * (1 + 1e-7)  # as likely, but for rounding
    return min(1.0, float(probabilities[probabilities <= likely].sum()))
