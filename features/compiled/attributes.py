"""What candidates are, beside what the user takes: the columns of facets and numbers of ``attributes/columns.py``."""

import numpy as np
from numba import float32, int64

from rankstream.features.attributes.columns import NEAR_ITEMS, PRIOR_ACTIONS
from rankstream.features.compiled.jit import (
    DOUBLES,
    FLOAT_ROWS,
    FLOATS,
    INT,
    INTS,
    LABELS,
    LONGS,
    NUMBERS,
    SLOTS,
    WEIGHTS,
    inlined,
    kernel,
)

NOT_MET = 0  # of a label: how many the history has stand from 1 on
LARGEST = np.finfo(np.float32).max


@kernel(LABELS, INTS, LONGS, WEIGHTS, LONGS, DOUBLES, SLOTS, FLOATS, DOUBLES, INTS)
def count_labels(labels, own, facets, shares, facet_of_label, recency, met, recent, above_usual, newest):
    """Count the labels of the history's items, rows ``own`` ``(T,)`` of ``labels``, newest first; return how many.

    ``met`` ``(labels + 1,)``, zeros, becomes the number of each label from 1 on. By that number, less 1, are set:
    ``recent``, ``above_usual`` to be logged, and which action is the ``newest``.
    """
    count, none, num_facets = 0, len(shares), len(facets) - 1
    acts, weighed = np.zeros(num_facets, np.int64), np.zeros(num_facets, np.float64)
    times, weights = np.zeros(len(recent), np.int64), np.zeros(len(recent), np.float64)
    of_number = np.empty(len(recent), np.int64)
    for at in range(len(own)):
        for facet in range(num_facets):
            if labels[own[at], facets[facet]] != none:
                acts[facet] += 1
                weighed[facet] += recency[at]
            for column in range(facets[facet], facets[facet + 1]):
                label = labels[own[at], column]
                if label == none:
                    continue
                if met[label] == NOT_MET:
                    newest[count], of_number[count] = at, label
                    count += 1
                    met[label] = count
                times[met[label] - 1] += 1
                weights[met[label] - 1] += recency[at]
    for number in range(count):
        label = of_number[number]
        facet = facet_of_label[label]
        recent[number] = weights[number] / weighed[facet]
        above_usual[number] = times[number] / ((acts[facet] + PRIOR_ACTIONS) * shares[label])
    return count


@kernel(LABELS, INTS, LONGS, INT, SLOTS, FLOATS, DOUBLES, DOUBLES, INT, FLOAT_ROWS)
def put_facets(labels, rows, facets, none, met, recent, affinities, log_hours, at, features):
    """Set the four columns of each facet, of the items ``rows`` ``(N,)``, from ``at`` on; they are zeros before."""
    for n in range(len(rows)):
        to = at
        for facet in range(len(facets) - 1):
            for column in range(facets[facet], facets[facet + 1]):
                label = labels[rows[n], column]
                if label == none:
                    continue
                features[n, to] += float32(1.0)
                if met[label] != NOT_MET:
                    number = met[label] - 1
                    features[n, to + 1] += recent[number]
                    features[n, to + 2] += float32(affinities[number])
                    features[n, to + 3] += float32(1.0 / (1.0 + log_hours[number]))
            if facets[facet + 1] - facets[facet] > 1:
                labelled = max(features[n, to], float32(1.0))
                for column in range(to, to + 4):
                    features[n, column] /= labelled
            to += 4


@inlined
def _median(numbers, column, own):
    """Return the median of the newest known numbers; NaN where there are none."""
    newest, count = np.empty(NEAR_ITEMS, np.float32), 0
    for at in range(len(own)):
        value = numbers[own[at], column]
        if count == NEAR_ITEMS:
            break
        if not np.isnan(value):
            place = count
            while place > 0 and newest[place - 1] > value:
                newest[place] = newest[place - 1]
                place -= 1
            newest[place] = value
            count += 1
    return newest[int64(count // 2)] if count else float32(np.nan)


@inlined
def _finite(value):
    """Return what ``np.nan_to_num`` makes of it."""
    if np.isnan(value):
        return float32(0.0)
    return max(min(value, LARGEST), -LARGEST)


@kernel(NUMBERS, INTS, INTS, INT, FLOAT_ROWS)
def put_numbers(numbers, rows, own, at, features):
    """Set the four columns of each number, of the items ``rows`` ``(N,)``, from ``at`` on."""
    for column in range(numbers.shape[1]):
        usual, to = _median(numbers, column, own), at + 4 * column
        for n in range(len(rows)):
            value = numbers[rows[n], column]
            above = value - usual
            features[n, to] = float32(0.0) if np.isnan(value) else float32(1.0)
            features[n, to + 1] = _finite(value)
            features[n, to + 2] = _finite(above)
            features[n, to + 3] = _finite(abs(above))
