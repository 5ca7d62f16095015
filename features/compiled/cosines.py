"""How near candidates are to the user's newest items: ``VECTOR_NAMES`` of ``matches/columns.py``.

Products are added dimension by dimension, here for all candidates at once: so the machine adds sixteen sums in a step,
and each comes out as numpy's.
"""

import numpy as np
from numba import float32

from rankstream.features.compiled.jit import FLOAT_ROWS, INT, WEIGHTS, inlined, kernel
from rankstream.features.matches.columns import MIN_LENGTH


@inlined
def _unit(vector, to):
    """Set ``to`` to the vector ``(I,)`` at length 1."""
    total = float32(0.0)
    for d in range(len(vector)):
        total += vector[d] * vector[d]
    length = max(np.sqrt(total), MIN_LENGTH)
    for d in range(len(vector)):
        to[d] = vector[d] / length


@inlined
def _unit_columns(vectors):
    """Return the vectors ``(N, I)`` at length 1, a dimension a row: ``(I, N)``."""
    count, width = vectors.shape
    units, totals = np.empty((width, count), np.float32), np.zeros(count, np.float32)
    for n in range(count):
        for d in range(width):
            units[d, n] = vectors[n, d]
    for d in range(width):
        for n in range(count):
            totals[n] += units[d, n] * units[d, n]
    for n in range(count):
        totals[n] = max(np.sqrt(totals[n]), MIN_LENGTH)
    for d in range(width):
        for n in range(count):
            units[d, n] /= totals[n]
    return units


@inlined
def _add_products(units, other, totals):
    """Set ``totals`` to the sums of products of each of the columns with ``other`` ``(I,)``."""
    for n in range(len(totals)):
        totals[n] = float32(0.0)
    for d in range(len(other)):
        for n in range(len(totals)):
            totals[n] += units[d, n] * other[d]


@kernel(FLOAT_ROWS, FLOAT_ROWS, INT, WEIGHTS, INT, FLOAT_ROWS)
def put_cosines(candidates, actions, near, session, at, features):
    """Set the three columns of candidates ``(N, I)`` from ``at`` on.

    ``actions`` are item vectors, of the newest actions first, of which ``near`` count.
    """
    units = _unit_columns(candidates)
    totals, other = np.empty(len(candidates), np.float32), np.empty(candidates.shape[1], np.float32)
    for step in range(min(near, len(actions))):
        _unit(actions[step], other)
        _add_products(units, other, totals)
        for n in range(len(totals)):
            if step == 0:
                features[n, at] = totals[n]
                features[n, at + 1] = totals[n]
            else:
                features[n, at + 1] = max(features[n, at + 1], totals[n])
    if len(session) == candidates.shape[1]:
        _unit(session, other)
        _add_products(units, other, totals)
        for n in range(len(totals)):
            features[n, at + 2] = totals[n]
