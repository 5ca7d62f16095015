"""Match features of candidates: is this very item in the user's history, does it go with what is there.

One column each, in the order of ``MATCH_NAMES``; then, an action type each, how often the user did it to the candidate.
No column of a candidate depends on the other candidates. Everything is 0 where there is no match.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rankstream.features.ids import Keys
from rankstream.features.matches.lists import NOTHING, Scored, followers, item_knn, vmis_knn
from rankstream.features.matches.tables import MatchTables
from rankstream.features.schema import Bools, Floats, Ints
from rankstream.features.sessions import SESSION_GAP_MS
from rankstream.features.user_view import UserView

HOUR_MS = 3_600_000
MAX_TYPES = 8  # action types with a column: those of the lowest codes
RECENT_ITEMS = 10  # newest items of the session that neighbours are looked up by
OLDER_ITEMS = 20  # newest items before the session, likewise
NEAR_ITEMS = 5  # newest actions that a candidate's vector is compared with
MIN_LENGTH = np.float32(1e-6)  # of a vector, where it divides

OWN_NAMES = (
    "in_session",  # log1p(actions on it in the open session, or the last one)
    "session_place",  # 1 / its place among the session's items, newest first
    "in_history",  # log1p(actions on it in the history)
    "history_place",  # 1 / its place among the history's items
    "freshness",  # 1 / (1 + log1p(hours since the newest action on it))
    "is_last",  # 1 if it is the newest item
    "own_step",  # log1p(times the user went on from the newest item to it)
)
LIST_NAMES = (
    "next_count",  # log1p(times it followed the newest item, of all users)
    "next_share",  # of all that followed the newest item
    "next_best",  # of the most frequent follower's count
    "next_2nd_share", "next_3rd_share",  # the same for the session's second and third item, newest first
    "knn", "knn_best",  # item-kNN of the session, and as a share of the best item's
    "vmis", "vmis_best",  # VMIS-kNN of the session: log1p, and as a share of the best item's
    "older_knn", "older_knn_best",  # item-kNN of the history before the session
)  # fmt: skip
VECTOR_NAMES = (
    "near_last",  # cosine with the newest item
    "near_recent",  # highest cosine with the newest actions' items
    "near_session",  # cosine with the session vector, where it is as wide as an item
)
MATCH_NAMES = (*OWN_NAMES, *LIST_NAMES, *VECTOR_NAMES)


def match_width(num_types: int) -> int:
    """Return how many columns there are for a vocabulary of so many action types."""
    return len(MATCH_NAMES) + min(num_types, MAX_TYPES)


def match_columns_of_known(width: int) -> Bools:
    """Return which of so many columns, ``(width,)``, are 0 for an item that no table knows; its history is told."""
    columns = np.zeros(width, np.bool_)
    columns[len(OWN_NAMES) : len(MATCH_NAMES)] = True
    return columns


@dataclass(frozen=True)
class UserMatches:
    """A user, and what matches them in one version of the tables; looked up once a request, when it is asked for."""

    user: UserView
    tables: MatchTables

    @property
    def excluded(self) -> Keys:
        """Return the items that no source of candidates proposes."""
        return self.user.excluded

    @cached_property
    def in_session(self) -> int:
        """Return how many of the newest actions are of the open session, or of the last one if none is open."""
        times = self.user.actions.times_ms
        gaps = np.flatnonzero(times[:-1] - times[1:] > SESSION_GAP_MS)
        return int(gaps[0]) + 1 if len(gaps) else len(times)

    @cached_property
    def different(self) -> tuple[Ints, Ints]:
        """Return where each different item stands first, by key, and which of these each action's is."""
        _, firsts, which = np.unique(self.user.actions.item_keys, return_index=True, return_inverse=True)
        return firsts, which

    @cached_property
    def places(self) -> Ints:
        """Return the place of each action's item among the different ones, newest first, from 1, ``(T,)``."""
        firsts, which = self.different
        order = np.argsort(np.argsort(firsts))
        return order[which] + 1

    @cached_property
    def rows(self) -> Ints:
        """Return the different items as rows of the tables, newest first, ``(D,)``; -1 for unknown ones."""
        firsts, _ = self.different
        return self.tables.rows(self.user.actions.item_keys[np.sort(firsts)])[0]

    @cached_property
    def session_items(self) -> int:
        """Return how many different items the session has."""
        return int(self.places[: self.in_session].max(initial=0))

    @cached_property
    def steps(self) -> tuple[Scored, Scored, Scored]:
        """Return what followed the newest three items of the session."""
        rows = self.rows[: min(3, self.session_items)].tolist()
        found = [followers(self.tables, row) for row in rows]
        one, two, three = [*found, *[NOTHING] * (3 - len(found))]
        return one, two, three

    @cached_property
    def knn(self) -> Scored:
        """Return the neighbours of the session's items."""
        return item_knn(self.tables, self.rows[: min(RECENT_ITEMS, self.session_items)])

    @cached_property
    def vmis(self) -> Scored:
        """Return the items of sessions like the user's."""
        return vmis_knn(self.tables, self.rows[: min(RECENT_ITEMS, self.session_items)])

    @cached_property
    def older(self) -> Scored:
        """Return the neighbours of the items before the session."""
        return item_knn(self.tables, self.rows[self.session_items :][:OLDER_ITEMS])

    def proposed(self, count: int) -> Keys:
        """Return items that match: the history's, and the ``count`` best of each list; each once, sorted by key."""
        lists = (*self.steps, self.knn, self.vmis, self.older)
        rows = np.unique(np.concatenate([self.rows[self.rows >= 0], *(one.first(count) for one in lists)]))
        found: Keys = self.tables.keys[rows]
        return found


def match_columns(
    matches: UserMatches,
    candidates: Keys,
    candidate_items: Floats,
    recent_items: Floats,
    session_vector: Floats,
    width: int,
) -> Floats:
    """Return the columns ``(N, width)`` of candidates ``(N,)``.

    ``candidate_items`` ``(N, I)`` and ``recent_items`` ``(T, I)`` are item vectors, of the newest actions' items.
    """
    if not width:
        return np.zeros((len(candidates), 0), np.float32)
    own = _own_columns(matches, candidates, width - len(MATCH_NAMES))
    lists = _list_columns(matches, candidates)
    vectors = _vector_columns(candidate_items, recent_items[:NEAR_ITEMS], session_vector)
    split = len(OWN_NAMES)
    return np.concatenate([own[:, :split], lists, vectors, own[:, split:]], axis=1)


def _own_columns(matches: UserMatches, candidates: Keys, num_types: int) -> Floats:
    """Return ``OWN_NAMES``, then log1p(actions) of each type: made of each item of the history, then looked up."""
    firsts, _ = matches.different
    met = matches.user.actions.item_keys[firsts]  # sorted
    columns = np.zeros((len(met) + 1, len(OWN_NAMES) + num_types), np.float32)  # the last row: an item that is not met
    rows = np.zeros(len(candidates), np.intp)
    if len(met):
        columns[:-1] = _of_met(matches, num_types)
        rows = np.searchsorted(met, candidates)
        rows[met.take(rows, mode="clip") != candidates] = len(met)
    found: Floats = columns.take(rows, axis=0)
    return found


def _of_met(matches: UserMatches, num_types: int) -> Floats:
    """Return the columns of each different item of the history, by key, ``(D, 7 + num_types)``."""
    actions = matches.user.actions
    firsts, which = matches.different
    count, keys = len(firsts), actions.item_keys
    counted = np.zeros((3 + num_types, count), np.float32)
    counted[0] = np.bincount(which[: matches.in_session], minlength=count)
    counted[1] = np.bincount(which, minlength=count)
    counted[2] = np.bincount(which[:-1][keys[1:] == keys[0]], minlength=count)  # the action before was on the newest
    typed = actions.action_types <= num_types
    cells = (actions.action_types[typed] - 1) * count + which[typed]
    counted[3:] = np.bincount(cells, minlength=num_types * count).reshape(num_types, count)
    counts = np.log1p(counted)
    place, ages_ms = matches.places[firsts], matches.user.now_ms - actions.times_ms[firsts]
    columns = np.empty((count, len(OWN_NAMES) + num_types), np.float32)
    columns[:, 0] = counts[0]
    columns[:, 1] = np.where(firsts < matches.in_session, 1.0 / place, 0.0)
    columns[:, 2] = counts[1]
    columns[:, 3] = 1.0 / place
    columns[:, 4] = 1.0 / (1.0 + np.log1p(ages_ms / HOUR_MS))
    columns[:, 5] = place == 1
    columns[:, 6:] = counts[2:].T
    return columns


def _list_columns(matches: UserMatches, candidates: Keys) -> Floats:
    """Return ``LIST_NAMES``."""
    if not len(matches.tables) or not len(matches.user.actions):
        return np.zeros((len(candidates), len(LIST_NAMES)), np.float32)
    rows, _ = matches.tables.rows(candidates)
    one, two, three = matches.steps
    totals = [float(matches.tables.totals[row]) if row >= 0 else 0.0 for row in matches.rows[:3].tolist()]
    first, second, third = (max(total, 1.0) for total in [*totals, 0.0, 0.0][:3])
    count, knn, vmis, older = one.of(rows), matches.knn.of(rows), matches.vmis.of(rows), matches.older.of(rows)
    columns = (
        np.log1p(count), count / first, count / one.best, two.of(rows) / second, three.of(rows) / third,
        knn, knn / matches.knn.best, np.log1p(vmis), vmis / matches.vmis.best, older, older / matches.older.best,
    )  # fmt: skip
    return np.stack(columns, axis=1).astype(np.float32)


def _vector_columns(candidates: Floats, recent: Floats, session_vector: Floats) -> Floats:
    """Return ``VECTOR_NAMES``."""
    columns = np.zeros((len(candidates), len(VECTOR_NAMES)), np.float32)
    beside = session_vector[None] if len(session_vector) == candidates.shape[1] else candidates[:0]
    found = cosines(candidates, np.concatenate([recent, beside]))
    if len(recent):
        columns[:, 0], columns[:, 1] = found[0], found[: len(recent)].max(axis=0)
    if len(beside):
        columns[:, 2] = found[-1]
    return columns


def cosines(vectors: Floats, others: Floats) -> Floats:
    """Return the cosine of each of ``others`` ``(M, I)`` with each vector ``(N, I)``, ``(M, N)``.

    Products are added dimension by dimension, so no bit depends on how many vectors there are, as those of a matrix
    product do. A row of zeros sees to it: numpy adds a column that stands alone in pairs.
    """
    rows, count = np.concatenate([vectors, others, np.zeros((1, vectors.shape[1]), np.float32)]), len(vectors)
    columns = np.ascontiguousarray(rows.T)  # (I, N + M + 1)
    units = columns / np.maximum(np.sqrt(np.add.reduce(columns * columns, axis=0)), MIN_LENGTH)
    found: Floats = np.add.reduce(units[:, None, :count] * units[:, count:, None], axis=0)[:-1]
    return found
