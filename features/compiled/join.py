"""``features/join.py`` by kernels: the same inputs to the byte, in a fraction of the time.

Tables that are no files of ours (a test's, training's in memory) are joined the plain way. What a version of the item
vectors puts in place of some rows of a file, of items that nobody had acted on, is put there here, too.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from rankstream.features.attributes.columns import (
    AGE_NAMES,
    FACET_NAMES,
    NUMBER_NAMES,
    RECENCY,
    age_columns,
    attribute_width,
)
from rankstream.features.attributes.table import ItemAttributes
from rankstream.features.compiled.attributes import count_labels, put_facets, put_numbers
from rankstream.features.compiled.cosines import put_cosines
from rankstream.features.compiled.history_items import BY_TYPE, count_items, put_own
from rankstream.features.compiled.item_lists import put_followers, put_neighbours, put_vmis
from rankstream.features.compiled.rows import find_rows, widen_rows
from rankstream.features.compiled.sessions import pool_sessions
from rankstream.features.embeddings.base import NoVectors, VectorTable, WithRows
from rankstream.features.embeddings.key_search import KeySearch
from rankstream.features.embeddings.table import EmbeddingTable
from rankstream.features.ids import Keys
from rankstream.features.join import HOUR_MS, OfflineFeatures, context, join
from rankstream.features.matches.columns import (
    LIST_NAMES,
    MATCH_NAMES,
    NEAR_ITEMS,
    OLDER_ITEMS,
    OWN_NAMES,
    RECENT_ITEMS,
    UserMatches,
)
from rankstream.features.matches.tables import MatchTables
from rankstream.features.schema import Floats, Ints, ModelInputs
from rankstream.features.sessions import SessionEncoder, session_keys
from rankstream.features.user_view import UserView


def compiled_join(matches: UserMatches, candidates: Keys, offline: OfflineFeatures, surface: int = 0) -> ModelInputs:
    """Return what ``join`` returns, to the byte."""
    items, user = offline.items, matches.user
    if not isinstance(items, EmbeddingTable) or not can_put(offline.item_features):
        return join(matches, candidates, offline, surface)
    sizes, count = offline.sizes, len(candidates)
    actions = user.actions
    newest = actions[: sizes.num_actions]
    found = Found.of(items.search, np.concatenate([candidates, actions.item_keys]))
    candidate_items, acted_on = vectors_of(items, found.rows[:count]), vectors_of(items, found.rows[count:])
    action_items = acted_on[: len(newest)]
    features = np.zeros((count, sizes.candidate_features), np.float32)
    put_item_features(offline.item_features, found, features)
    session = session_vector(user, acted_on, items, offline.sessions)
    described = attribute_width(offline.attributes.names)
    width = sizes.match_features - described
    if width:
        put_matches(matches, found, features, sizes.item_features, width - len(MATCH_NAMES))
        at = sizes.item_features + len(OWN_NAMES) + len(LIST_NAMES)
        put_cosines(candidate_items, action_items, NEAR_ITEMS, session, at, features)
    if described:
        put_attributes(user, found, count, offline.attributes, features, sizes.candidate_features - 1 - described)
    known = found.rows >= 0
    features[:, -1] = known[:count]
    return ModelInputs(
        action_types=newest.action_types,
        action_items=action_items,
        user_vector=user.vector,
        session_vector=session,
        context=context(user, surface, sizes),
        candidate_items=candidate_items,
        candidate_features=features,
        action_ages_ms=user.now_ms - newest.times_ms,
        action_found=known[count : count + len(newest)],
    )


def session_vector(user: UserView, acted_on: Floats, items: EmbeddingTable, encoder: SessionEncoder) -> Floats:
    """Return the session vector ``(S,)``; ``acted_on`` ``(T, I)`` are the items of the actions, newest first."""
    times_ms, oldest_first = user.actions.times_ms[::-1], acted_on[::-1]
    if user.tail.items:
        departing = session_keys(user.tail.items)
        times_ms = np.concatenate([np.full(len(departing), user.tail.last_ms, np.int64), times_ms])
        oldest_first = np.concatenate([vectors_of(items, rows_of(items.search, departing)), oldest_first])
    if not len(times_ms):
        return np.zeros(encoder.dim, np.float32)
    pooled, opened = np.empty(oldest_first.shape, np.float32), np.empty(2, np.int64)
    oldest_first = np.ascontiguousarray(oldest_first)
    closed = pool_sessions(np.ascontiguousarray(times_ms), user.now_ms, oldest_first, pooled, opened)
    state = user.tail.recurrent(encoder.tag, encoder.state_size)
    return encoder.encode(state, pooled[:closed], oldest_first[opened[0] : opened[1]])


@dataclass(frozen=True)
class Found:
    """The keys of candidates and history, and their rows in the table of items."""

    search: KeySearch
    keys: Keys
    rows: Ints  # -1 for a missing one

    @classmethod
    def of(cls, search: KeySearch, keys: Keys) -> Self:
        """Look the keys up."""
        return cls(search, keys, rows_of(search, keys))

    def rows_in(self, search: KeySearch) -> Ints:
        """Return the rows in another table; those of a bundle mostly know the same items, which are not sought again.

        A search among many keys waits for memory: it costs ten times what it takes where the column is in the cache.
        """
        return self.rows if self.search.has_keys_of(search) else rows_of(search, self.keys)


def rows_of(search: KeySearch, keys: Keys) -> Ints:
    """Return the row of each key, -1 for a missing one, ``(n,)``."""
    if not len(search.keys):
        return np.full(len(keys), -1, np.int64)
    rows = np.empty(len(keys), np.int64)
    find_rows(search.keys, search.starts, search.shift, keys, rows)
    return rows


def vectors_of(table: EmbeddingTable, rows: Ints) -> Floats:
    """Return the vectors of rows, zeros for a missing one."""
    floats = np.empty((len(rows), table.dim), np.float32)
    widen_rows(table.halves, rows, floats.view(np.int32), floats)
    return floats


def can_put(item_features: VectorTable) -> bool:
    """Return whether ``put_item_features`` can write what this table says."""
    if isinstance(item_features, WithRows):
        return can_put(item_features.table)
    return isinstance(item_features, EmbeddingTable | NoVectors)


def put_item_features(table: VectorTable, found: Found, features: Floats) -> None:
    """Write what a table says of the candidates into the first columns of ``features``, zeros before."""
    if isinstance(table, EmbeddingTable):
        rows = found.rows_in(table.search)[: len(features)]
        widen_rows(table.halves, rows, features.view(np.int32), features)
    if isinstance(table, WithRows):
        put_item_features(table.table, found, features)
        rows = rows_of(table.search, found.keys[: len(features)])
        is_put = rows >= 0
        features[is_put, : table.dim] = table.rows[rows[is_put]]


def put_matches(matches: UserMatches, found: Found, features: Floats, at: int, num_types: int) -> None:
    """Write ``OWN_NAMES`` and ``LIST_NAMES`` of the candidates from column ``at`` on, and the columns by type."""
    user, actions, candidates = matches.user, matches.user.actions, found.keys[: len(features)]
    keys, count = actions.item_keys, len(actions)
    if not count:
        return
    slots, firsts = np.zeros(4 << count.bit_length(), np.int32), np.empty(count, np.int64)
    counted = np.zeros((count, BY_TYPE + num_types), np.float32)
    different, of_session, in_session = count_items(
        keys, actions.action_types, actions.times_ms, num_types, slots, firsts, counted
    )
    firsts = firsts[:different]
    log_hours = np.log1p((user.now_ms - actions.times_ms[firsts]) / HOUR_MS)
    logs = np.log1p(counted[:different])
    put_own(candidates, keys, firsts, slots, in_session, logs, log_hours, at, at + len(MATCH_NAMES), features)
    if len(matches.tables):
        rows = found.rows_in(matches.tables.search)
        own = rows[len(candidates) :][firsts]
        put_lists(matches.tables, own, of_session, rows[: len(candidates)], features, at + len(OWN_NAMES))


def put_lists(tables: MatchTables, mine: Ints, of_session: int, theirs: Ints, features: Floats, at: int) -> None:
    """Write ``LIST_NAMES`` of the candidates, rows ``theirs`` of the tables.

    ``mine`` are the user's different items, newest first, ``of_session`` of them the session's.
    """
    recent, older = min(RECENT_ITEMS, of_session), min(of_session + OLDER_ITEMS, len(mine))
    to_log = np.empty((2, len(theirs)), np.float32)
    followers, neighbours, sessions, members = tables.followers, tables.neighbours, tables.sessions, tables.members
    put_followers(
        mine,
        of_session,
        theirs,
        followers.starts,
        followers.rows,
        followers.weights,
        tables.totals,
        at,
        to_log,
        features,
    )
    near = neighbours.starts, neighbours.rows, neighbours.weights
    put_neighbours(mine, 0, recent, theirs, *near, at + 5, features)
    put_vmis(
        mine,
        recent,
        theirs,
        sessions.starts,
        sessions.rows,
        members.starts,
        members.rows,
        tables.rarities,
        at + 7,
        to_log,
        features,
    )
    put_neighbours(mine, of_session, older, theirs, *near, at + 9, features)
    np.log1p(to_log, out=to_log)
    features[:, at], features[:, at + 7] = to_log[0], to_log[1]


def put_attributes(
    user: UserView, found: Found, count: int, attributes: ItemAttributes, features: Floats, at: int
) -> None:
    """Write the columns of attributes of the candidates, the first ``count`` that were found, from column ``at`` on."""
    names, rows = attributes.names, found.rows_in(attributes.search)
    rows, own = rows[:count], rows[count:]  # -1 for an unknown item, whose row is the last
    if names.facets:
        put_facet_columns(user, rows, own, attributes, features, at)
        at += len(FACET_NAMES) * len(names.facets)
    if names.numbers:
        put_numbers(attributes.numbers, rows, own, at, features)
        at += len(NUMBER_NAMES) * len(names.numbers)
    if names.dated:
        created = attributes.created_ms
        features[:, at : at + len(AGE_NAMES)] = age_columns(user.now_ms, created[rows], created[own])


def put_facet_columns(
    user: UserView, rows: Ints, own: Ints, attributes: ItemAttributes, features: Floats, at: int
) -> None:
    """Write the columns of facets of the items ``rows``; ``own`` are the history's."""
    labels, starts, none = attributes.by_item, attributes.facet_starts, attributes.no_label
    met, most = np.zeros(none + 1, np.int32), labels.shape[1] * len(own)
    recent, above_usual, newest = np.empty(most, np.float32), np.empty(most), np.empty(most, np.int64)
    known = attributes.shares, attributes.facet_of_label
    count = count_labels(labels, own, starts, *known, RECENCY, met, recent, above_usual, newest)
    affinities = np.log1p(above_usual[:count])
    log_hours = np.log1p((user.now_ms - user.actions.times_ms[newest[:count]]) / HOUR_MS)
    put_facets(labels, rows, starts, none, met, recent, affinities, log_hours, at, features)
