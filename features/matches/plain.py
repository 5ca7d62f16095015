"""What ``lists.py`` and ``columns.py`` compute, item by item and session by session: their plain twin.

Nothing serves with it. It says what is meant, and tests hold both together to the bit.
"""

from collections.abc import Sequence

import numpy as np

from rankstream.features.ids import Keys
from rankstream.features.matches.columns import HOUR_MS, OWN_NAMES, UserMatches
from rankstream.features.matches.lists import NEAREST, NOTHING, SAMPLED, Scored, summed_by_sorting
from rankstream.features.matches.tables import MatchTables, Rows32
from rankstream.features.schema import Floats


def plain_item_knn(tables: MatchTables, rows: Sequence[int]) -> Scored:
    """Return ``item_knn`` of these items, newest first."""
    known = [(back, row) for back, row in enumerate(rows, start=1) if row >= 0]
    lists = [tables.neighbours.of(row) for _, row in known]
    weights = [tables.neighbours.weights_of(row) * np.float32(1.0 / back) for back, row in known]
    return _summed(lists, weights)


def plain_vmis_knn(tables: MatchTables, rows: Sequence[int]) -> Scored:
    """Return ``vmis_knn`` of these items, newest first."""
    similarity: dict[int, float] = {}
    newest_shared: dict[int, int] = {}
    for back, row in enumerate(rows):
        for session in tables.sessions.of(row).tolist() if row >= 0 else ():
            similarity[session] = similarity.get(session, 0.0) + (len(rows) - back) / len(rows)
            newest_shared.setdefault(session, back)
    sampled = sorted(similarity)[-SAMPLED:]
    nearest = sorted(sampled, key=lambda session: (similarity[session], session))[-NEAREST:]
    members = [tables.members.of(session) for session in nearest]
    factors = [np.float32(similarity[one] * (1.0 - newest_shared[one] / 10)) for one in nearest]
    weights = [np.full(len(rows), factor) for rows, factor in zip(members, factors, strict=True)]
    found = _summed(members, weights)
    scores = found.scores * tables.rarities[found.rows]
    return Scored(found.rows[scores > 0], scores[scores > 0])


def plain_own_columns(matches: UserMatches, candidates: Keys, num_types: int) -> Floats:
    """Return ``OWN_NAMES``, then log1p(actions) of each type: each candidate beside all actions of the history."""
    columns = np.zeros((len(candidates), len(OWN_NAMES) + num_types), np.float32)
    for row, key in enumerate(candidates):
        if key in matches.user.actions.item_keys:
            columns[row] = _own(matches, key, num_types)
    return columns


def _own(matches: UserMatches, key: np.uint64, num_types: int) -> Floats:
    actions = matches.user.actions
    done = np.flatnonzero(actions.item_keys == key)  # newest first
    newest = int(done[0])
    place, age_ms = int(matches.places[newest]), matches.user.now_ms - actions.times_ms[newest]
    went_on = (actions.item_keys[done[done + 1 < len(actions)] + 1] == actions.item_keys[0]).sum()
    by_type = [(actions.action_types[done] == code).sum() for code in range(1, num_types + 1)]
    counts = np.log1p(np.array([(done < matches.in_session).sum(), len(done), went_on, *by_type], np.float32))
    in_session = newest < matches.in_session
    freshness = 1.0 / (1.0 + np.log1p(np.array([age_ms / HOUR_MS])))[0]
    of_place = 1.0 / place if in_session else 0.0
    return np.array([counts[0], of_place, counts[1], 1.0 / place, freshness, place == 1, *counts[2:]], np.float32)


def _summed(lists: Sequence[Rows32], weights: Sequence[Floats]) -> Scored:
    return summed_by_sorting(np.concatenate(lists), np.concatenate(weights)) if lists else NOTHING
