"""What goes with the user's items, by four rules: ``LIST_NAMES`` of ``matches/columns.py``, for candidates alone.

What followed the newest items, item-kNN of the session and of what was before, and VMIS-kNN: see ``matches/lists.py``,
the plain twin. Weights are added in the same order, in float64, and rounded at the same places.
"""

import numpy as np
from numba import float32

from rankstream.features.compiled.jit import (
    FLOAT_ROWS,
    INT,
    LONGS,
    ROWS,
    WEIGHTS,
    inlined,
    kernel,
)
from rankstream.features.compiled.sums import add, room_for, sum_of
from rankstream.features.matches.lists import NEAREST, SAMPLED

COUNT, VMIS = 0, 1  # rows of ``to_log``: what the columns ``next_count`` and ``vmis`` are log1p of
STEPS = 3  # newest items of which the followers count


@inlined
def _weight_of(row, begin, end, rows, weights):
    """Return the weight of a row in a sorted list, 0 where it is not there."""
    stop = end
    while begin < end:
        middle = (begin + end) >> 1
        if rows[middle] < row:
            begin = middle + 1
        else:
            end = middle
    return weights[begin] if begin < stop and rows[begin] == row else float32(0.0)


@kernel(LONGS, INT, LONGS, LONGS, ROWS, WEIGHTS, WEIGHTS, INT, FLOAT_ROWS, FLOAT_ROWS)
def put_followers(own, in_session, candidates, starts, rows, weights, totals, at, to_log, features):
    """Set how often candidates, rows ``(N,)``, followed the session's newest items: four columns from ``at`` on.

    ``own`` are the user's different items, newest first, the first ``in_session`` of the session; -1: not known.
    """
    for step in range(STEPS):
        known = step < min(len(own), in_session) and own[step] >= 0
        begin = starts[own[step]] if known else 0
        end = starts[own[step] + 1] if known else 0
        total = max(totals[own[step]], float32(1.0)) if step < len(own) and own[step] >= 0 else float32(1.0)
        best = float32(0.0) if end > begin else float32(1.0)
        for place in range(begin, end):
            best = max(best, weights[place])
        column = at if step == 0 else at + 1 + step
        for n in range(len(candidates)):
            row = candidates[n]
            weight = _weight_of(row, begin, end, rows, weights) if row >= 0 else float32(0.0)
            if step == 0:
                to_log[COUNT, n] = weight
                features[n, column + 1] = weight / total
                features[n, column + 2] = weight / best
            else:
                features[n, column + 1] = weight / total


@kernel(LONGS, INT, INT, LONGS, LONGS, ROWS, WEIGHTS, INT, FLOAT_ROWS)
def put_neighbours(own, first, last, candidates, starts, rows, weights, at, features):
    """Set the item-kNN scores of candidates by ``own[first:last]``, and their shares of the best: two columns."""
    entries = 0
    for k in range(first, last):
        if own[k] >= 0:
            entries += starts[own[k] + 1] - starts[own[k]]
    held, sums, used = room_for(entries)
    count = 0
    for k in range(first, last):
        if own[k] >= 0:
            factor = float32(1.0 / (k - first + 1))
            for place in range(starts[own[k]], starts[own[k] + 1]):
                count = add(rows[place], weights[place] * factor, held, sums, used, count)
    best = float32(sums[used[0]]) if count else float32(1.0)
    for k in range(1, count):
        best = max(best, float32(sums[used[k]]))
    for n in range(len(candidates)):
        score = sum_of(candidates[n], held, sums)
        features[n, at] = score
        features[n, at + 1] = score / best


@inlined
def _keep(new, kept, similarities, nearest):
    """Put a session among the ``NEAREST``, which ascend by similarity, then number; return how many there are.

    Sessions come in descending order of their numbers, so one stands before all that are as similar.
    """
    if kept == NEAREST and similarities[new] <= similarities[nearest[0]]:
        return kept
    low, high = 0, kept
    while low < high:
        middle = (low + high) >> 1
        if similarities[nearest[middle]] < similarities[new]:
            low = middle + 1
        else:
            high = middle
    if kept < NEAREST:
        for k in range(kept, low, -1):
            nearest[k] = nearest[k - 1]
        nearest[low] = new
        return kept + 1
    for k in range(low - 1):
        nearest[k] = nearest[k + 1]
    nearest[low - 1] = new
    return kept


@inlined
def _merged(own, count, starts, rows, sessions, similarities, weights):
    """Set the newest sessions that share an item with the user's, newest first; return how many there are.

    With each how similar it is, and the weight that it would have. Lists ascend: they are merged from their ends.
    """
    places, begins, backs = np.empty(count, np.int64), np.empty(count, np.int64), np.empty(count, np.int64)
    lists, found = 0, 0
    for k in range(count):
        if own[k] >= 0 and starts[own[k] + 1] > starts[own[k]]:
            begins[lists], places[lists], backs[lists] = starts[own[k]], starts[own[k] + 1] - 1, k
            lists += 1
    while lists and found < SAMPLED:
        newest = rows[places[0]]
        for k in range(1, lists):
            newest = max(newest, rows[places[k]])
        similarity, shared, left = 0.0, -1, 0
        for k in range(lists):
            place = places[k]
            while place >= begins[k] and rows[place] == newest:
                similarity += (count - backs[k]) / count
                shared = backs[k] if shared < 0 else shared
                place -= 1
            if place >= begins[k]:  # lists that are used up are left out
                begins[left], places[left], backs[left] = begins[k], place, backs[k]
                left += 1
        sessions[found], similarities[found] = newest, similarity
        weights[found] = float32(similarity * (1.0 - shared / 10))
        lists, found = left, found + 1
    return found


@kernel(LONGS, INT, LONGS, LONGS, ROWS, LONGS, ROWS, WEIGHTS, INT, FLOAT_ROWS, FLOAT_ROWS)
def put_vmis(own, count, candidates, starts, rows, member_starts, members, rarities, at, to_log, features):
    """Set the VMIS-kNN scores of candidates by ``own[:count]`` to be logged, and their shares of the best."""
    sessions, similarities = np.empty(SAMPLED, np.int32), np.empty(SAMPLED, np.float64)
    weights, nearest = np.empty(SAMPLED, np.float32), np.empty(NEAREST, np.int32)
    kept, entries = 0, 0
    for new in range(_merged(own, count, starts, rows, sessions, similarities, weights)):
        kept = _keep(new, kept, similarities, nearest)
    for k in range(kept):
        session = sessions[nearest[k]]
        entries += member_starts[session + 1] - member_starts[session]
    held, sums, used = room_for(entries)
    summed = 0
    for k in range(kept):
        session = sessions[nearest[k]]
        for place in range(member_starts[session], member_starts[session + 1]):
            summed = add(members[place], weights[nearest[k]], held, sums, used, summed)
    best = float32(0.0)
    for k in range(summed):
        best = max(best, float32(sums[used[k]]) * rarities[held[used[k]]])
    best = best if best > float32(0.0) else float32(1.0)
    for n in range(len(candidates)):
        row = candidates[n]
        score = max(sum_of(row, held, sums) * rarities[row], float32(0.0)) if row >= 0 else float32(0.0)
        to_log[VMIS, n] = score
        features[n, at + 1] = score / best
