"""``features/join.py`` by kernels: the same inputs to the byte, in a fraction of the time.

Tables that are no files of ours (a test's, training's in memory) are joined the plain way.
"""

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
from rankstream.features.embeddings.base import NoVectors
from rankstream.features.embeddings.key_search import KeySearch
from rankstream.features.embeddings.table import EmbeddingTable
from rankstream.features.ids import Keys
from rankstream.features.join import HOUR_MS, OfflineFeatures, context, join, means_of
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
from rankstream.features.sessions import SessionEncoder, sessions_now
from rankstream.features.user_view import UserView


def compiled_join(matches: UserMatches, candidates: Keys, offline: OfflineFeatures, surface: int = 0) -> ModelInputs:
    """Return what ``join`` returns, to the byte."""
    items, described_by, user = offline.items, offline.item_features, matches.user
    if not isinstance(items, EmbeddingTable) or not isinstance(described_by, EmbeddingTable | NoVectors):
        return join(matches, candidates, offline, surface)
    sizes, count = offline.sizes, len(candidates)
    actions = user.actions
    newest = actions[: sizes.num_actions]
    rows = rows_of(items.search, np.concatenate([candidates, actions.item_keys]))
    candidate_items, action_items = (
        vectors_of(items, rows, 0, count),
        vectors_of(items, rows, count, count + len(newest)),
    )
    features = np.zeros((count, sizes.candidate_features), np.float32)
    if isinstance(described_by, EmbeddingTable):
        put_vectors(described_by, rows_of(described_by.search, candidates), features)
    session = session_vector(user, items, offline.sessions)
    described = attribute_width(offline.attributes.names)
    width = sizes.match_features - described
    if width:
        put_matches(matches, candidates, features, sizes.item_features, width - len(MATCH_NAMES))
        at = sizes.item_features + len(OWN_NAMES) + len(LIST_NAMES)
        put_cosines(candidate_items, action_items, NEAR_ITEMS, session, at, features)
    if described:
        put_attributes(user, candidates, offline.attributes, features, sizes.candidate_features - 1 - described)
    found = rows >= 0
    features[:, -1] = found[:count]
    return ModelInputs(
        action_types=newest.action_types,
        action_items=action_items,
        user_vector=user.vector,
        session_vector=session,
        context=context(user, surface, sizes),
        candidate_items=candidate_items,
        candidate_features=features,
        action_ages_ms=user.now_ms - newest.times_ms,
        action_found=found[count : count + len(newest)],
    )


def session_vector(user: UserView, items: EmbeddingTable, encoder: SessionEncoder) -> Floats:
    """Return the session vector ``(S,)``, as ``join.session_vector``."""
    if not len(user.actions) and not user.tail.items:
        return np.zeros(encoder.dim, np.float32)
    sessions = sessions_now(user.tail, user.actions, user.now_ms)
    rows, closed = (
        rows_of(items.search, np.concatenate([sessions.closed_items, sessions.opened])),
        len(sessions.closed_items),
    )
    pooled = means_of(vectors_of(items, rows, 0, closed), sessions.lengths)
    opened = vectors_of(items, rows, closed, len(rows))
    return encoder.encode(user.tail.recurrent(encoder.tag, encoder.state_size), pooled, opened)


def rows_of(search: KeySearch, keys: Keys) -> Ints:
    """Return the row of each key, -1 for a missing one, ``(n,)``."""
    rows = np.full(len(keys), -1, np.int64)
    if len(search.keys):
        find_rows(search.keys, search.starts, search.shift, keys, rows)
    return rows


def vectors_of(table: EmbeddingTable, rows: Ints, begin: int, end: int) -> Floats:
    """Return the vectors of ``rows[begin:end]``, zeros for a missing one."""
    floats = np.empty((end - begin, table.dim), np.float32)
    widen_rows(table.vectors.view(np.uint16), rows, begin, end, floats.view(np.int32), floats)
    return floats


def put_vectors(table: EmbeddingTable, rows: Ints, features: Floats) -> None:
    """Write the vectors of rows into the first columns of ``features``."""
    widen_rows(table.vectors.view(np.uint16), rows, 0, len(rows), features.view(np.int32), features)


def put_matches(matches: UserMatches, candidates: Keys, features: Floats, at: int, num_types: int) -> None:
    """Write ``OWN_NAMES`` and ``LIST_NAMES`` of the candidates from column ``at`` on, and the columns by type."""
    user, actions = matches.user, matches.user.actions
    if not len(actions):
        return
    keys, firsts = actions.item_keys, np.empty(len(actions), np.int64)
    slots = np.zeros(4 << len(actions).bit_length(), np.int32)
    counted = np.zeros((len(actions), BY_TYPE + num_types), np.float32)
    count, of_session, in_session = count_items(
        keys, actions.action_types, actions.times_ms, num_types, slots, firsts, counted
    )
    firsts = firsts[:count]
    log_hours = np.log1p((user.now_ms - actions.times_ms[firsts]) / HOUR_MS)
    logs = np.log1p(counted[:count])
    put_own(candidates, keys, firsts, slots, in_session, logs, log_hours, at, at + len(MATCH_NAMES), features)
    if len(matches.tables):
        put_lists(matches.tables, keys[firsts], of_session, candidates, features, at + len(OWN_NAMES))


def put_lists(tables: MatchTables, own: Keys, of_session: int, candidates: Keys, features: Floats, at: int) -> None:
    """Write ``LIST_NAMES`` of candidates; ``own`` are the different items, ``of_session`` of them its session's."""
    rows = rows_of(tables.search, np.concatenate([own, candidates]))
    mine, theirs = rows[: len(own)], rows[len(own) :]
    recent, older = min(RECENT_ITEMS, of_session), min(of_session + OLDER_ITEMS, len(own))
    to_log = np.empty((2, len(candidates)), np.float32)
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


def put_attributes(user: UserView, candidates: Keys, attributes: ItemAttributes, features: Floats, at: int) -> None:
    """Write the columns of attributes of the candidates from column ``at`` on."""
    found = rows_of(attributes.search, np.concatenate([candidates, user.actions.item_keys]))
    found[found < 0] = len(attributes)
    rows, own, names = found[: len(candidates)], found[len(candidates) :], attributes.names
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
    labels, starts, none = attributes.labels, attributes.facet_starts, attributes.no_label
    met, most = np.zeros(none + 1, np.int32), len(labels) * len(own)
    recent, above_usual, newest = np.empty(most, np.float32), np.empty(most), np.empty(most, np.int64)
    known = attributes.shares, attributes.facet_of_label
    count = count_labels(labels, own, starts, *known, RECENCY, met, recent, above_usual, newest)
    affinities = np.log1p(above_usual[:count])
    log_hours = np.log1p((user.now_ms - user.actions.times_ms[newest[:count]]) / HOUR_MS)
    put_facets(labels, rows, starts, none, met, recent, affinities, log_hours, at, features)
