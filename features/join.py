"""The join: what the stream knows of a user and what offline tables know of user and items, as of one time.

One function, used by training, export, serving and replay. Nothing is seen as later than the user's ``now_ms``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import cos, log, log1p, pi, sin
from typing import TypeVar

import numpy as np
from msgspec.structs import replace

from rankstream.features.attributes.columns import attribute_columns
from rankstream.features.attributes.table import ItemAttributes, no_attributes
from rankstream.features.counters import counter_columns, ever_done
from rankstream.features.embeddings.base import VectorTable
from rankstream.features.ids import Keys
from rankstream.features.matches.columns import UserMatches, match_columns, match_columns_of_known, match_width
from rankstream.features.matches.tables import MatchTables, no_matches
from rankstream.features.profiles import UserProfiles, no_profiles
from rankstream.features.schema import Bools, FeatureSizes, Floats, Ints, ModelInputs
from rankstream.features.sessions import SessionEncoder, SessionsNow, session_keys, sessions_now
from rankstream.features.user_state import Applied, UserState
from rankstream.features.user_view import UserView, view_user

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS

K = TypeVar("K")


@dataclass(frozen=True)
class OfflineFeatures:
    """The offline side of the join: everything that is not in the user's state."""

    sizes: FeatureSizes
    items: VectorTable  # I wide
    item_features: VectorTable  # F wide
    users: VectorTable  # U wide
    sessions: SessionEncoder  # S wide
    matches: MatchTables = field(default_factory=no_matches)
    attributes: ItemAttributes = field(default_factory=no_attributes)
    folded_items: VectorTable | None = None  # that recurrent states are folded with; None: ``items``
    profiles: UserProfiles = field(default_factory=no_profiles)


def match_user(
    state: UserState,
    user_key: int,
    now_ms: int,
    offline: OfflineFeatures,
    until_ms: int | None = None,
    profile_key: int | None = None,
) -> UserMatches:
    """Return a user as of ``now_ms``, with what matches them: made once a request, for its source and its join.

    ``until_ms`` is as for ``user_view.known_actions``. ``profile_key`` names the user whose profile it is where the
    table of user vectors knows him by another key, as training's does. A user who was erased has no profile: the model
    has it from before.
    """
    profiles = offline.profiles.of_no_user() if state.forgotten_ms else offline.profiles
    profile = profiles.columns(user_key if profile_key is None else profile_key)
    return UserMatches(view_user(state, user_key, now_ms, offline.users, until_ms, profile), offline.matches)


def join(matches: UserMatches, candidates: Keys, offline: OfflineFeatures, surface: int = 0) -> ModelInputs:
    """Return a ranker's inputs for ``candidates``, ``(N,)`` uint64, as of the user's ``now_ms``.

    ``surface`` is the code of the request's, from 1; 0 is none, and so is one that the model was not trained with.
    """
    user = matches.user
    newest = user.actions[: offline.sizes.num_actions]
    action_items, action_found = offline.items.look_up(newest.item_keys)
    candidate_items, candidate_found = offline.items.look_up(candidates)
    features, _ = offline.item_features.look_up(candidates)
    session = session_vector(user, offline)
    described = attribute_columns(user, candidates, offline.attributes)
    width = offline.sizes.match_features - described.shape[1]
    matched = match_columns(matches, candidates, candidate_items, action_items, session, width)
    mask = candidate_found[:, None]
    return ModelInputs(
        action_types=newest.action_types,
        action_items=action_items,
        user_vector=user.vector,
        session_vector=session,
        context=context(user, surface, offline.sizes),
        candidate_items=candidate_items,
        candidate_features=np.concatenate([features, matched, described, mask], axis=1, dtype=np.float32),
        action_ages_ms=user.now_ms - newest.times_ms,
        action_found=action_found,
    )


Join = Callable[[UserMatches, Keys, OfflineFeatures, int], ModelInputs]  # ``join``, or the same by kernels


def columns_of_known(sizes: FeatureSizes) -> Bools:
    """Return which of a candidate's features, ``(G,)``, are 0 for an item that no table knows."""
    matched = match_columns_of_known(sizes.match_features)
    return np.concatenate([np.ones(sizes.item_features, np.bool_), matched, np.ones(1, np.bool_)])


def columns_of_attributes(sizes: FeatureSizes, num_types: int) -> Bools:
    """Return which of a candidate's features, ``(G,)``, say what it is; ``num_types`` are the vocabulary's actions."""
    columns = np.zeros(sizes.candidate_features, np.bool_)
    if sizes.match_features:
        columns[sizes.item_features + match_width(num_types) : -1] = True
    return columns


def columns_of_profiles(sizes: FeatureSizes) -> Bools:
    """Return which columns of the context, ``(C,)``, say what the user is."""
    columns = np.zeros(sizes.context, np.bool_)
    columns[sizes.context - sizes.profile_columns :] = True
    return columns


def session_vector(user: UserView, offline: OfflineFeatures) -> Floats:
    """Return the session vector ``(S,)``: the tail's state, stepped over what the history still holds."""
    encoder = offline.sessions
    if not len(user.actions) and not user.tail.items:
        return np.zeros(encoder.dim, np.float32)
    sessions = sessions_now(user.tail, user.actions, user.now_ms)
    closed, opened = pool_sessions(sessions, offline.items)
    return encoder.encode(user.tail.recurrent(encoder.tag, encoder.state_size), closed, opened)


def pool_sessions(sessions: SessionsNow, items: VectorTable) -> tuple[Floats, Floats]:
    """Return the mean item of each closed session ``(k, I)`` and the open session's items ``(t, I)``."""
    vectors, _ = items.look_up(np.concatenate([sessions.closed_items, sessions.opened]))
    closed = len(sessions.closed_items)
    return _means(vectors[:closed], sessions.lengths), vectors[closed:]


def pool(sessions: Sequence[Keys], items: VectorTable) -> Floats:
    """Return the mean item vector of each session of item keys, ``(k, I)``; unknown items count as zeros."""
    if not sessions:
        return np.zeros((0, items.dim), np.float32)
    vectors, _ = items.look_up(np.concatenate(sessions))
    return _means(vectors, np.array([len(session) for session in sessions]))


def _means(vectors: Floats, lengths: Ints) -> Floats:
    """Return the mean of each run of so many vectors, ``(k, I)``."""
    if not len(lengths):
        return vectors[:0]
    starts = np.cumsum(lengths) - lengths
    means: Floats = (np.add.reduceat(vectors, starts, axis=0) / lengths[:, None]).astype(np.float32)
    return means


def fold_ended(ended: Mapping[K, Applied], offline: OfflineFeatures) -> dict[K, UserState]:
    """Return the states, with their recurrent states stepped over the sessions that ended.

    The first session of all users is one batch, the second the next, and so on. Recurrent states are rounded after each
    step, as they are when stored, so that it doesn't matter how many sessions end at once.
    """
    encoder = offline.sessions
    if not encoder.state_size:
        return {key: applied.state for key, applied in ended.items()}
    folded_with = offline.items if offline.folded_items is None else offline.folded_items
    states = {key: applied.state.tail.recurrent(encoder.tag, encoder.state_size) for key, applied in ended.items()}
    for turn in range(max((len(applied.ended) for applied in ended.values()), default=0)):
        due = [key for key, applied in ended.items() if turn < len(applied.ended)]
        pooled = pool([session_keys(ended[key].ended[turn]) for key in due], folded_with)
        folded = encoder.fold(np.stack([states[key] for key in due]), pooled)
        states.update(zip(due, folded.astype(np.float16).astype(np.float32), strict=True))
    return {key: _with_recurrent(applied.state, encoder.tag, states[key]) for key, applied in ended.items()}


def _with_recurrent(state: UserState, tag: int, recurrent: Floats) -> UserState:
    return replace(state, tail=state.tail.folded(tag, recurrent))


def context(user: UserView, surface: int, sizes: FeatureSizes) -> Floats:
    """Return the request's context ``(C,)``: time and activity, the surface, the user's counters and profile."""
    counts = ever_done(user.departed, user.actions.action_types, sizes.counted_types)
    surfaces = _one_hot(surface, sizes.surfaces)
    return np.concatenate([_activity(user), surfaces, counter_columns(counts), user.profile])


def _activity(user: UserView) -> Floats:
    """Return the columns of ``CONTEXT_NAMES``."""
    actions, now_ms = user.actions, user.now_ms
    hour = 2 * pi * (now_ms % DAY_MS) / DAY_MS
    weekday = 2 * pi * (now_ms // DAY_MS % 7) / 7
    age_hours = (now_ms - int(actions.times_ms[0])) / HOUR_MS if len(actions) else 0.0
    return np.array(
        [
            sin(hour), cos(hour), sin(weekday), cos(weekday),
            log1p(len(actions)) / log(100),
            log1p(age_hours) / 10 if len(actions) else 1.0,
            user.vector_found,
            len(actions) > 0,
        ],
        np.float32,
    )  # fmt: skip


def _one_hot(code: int, count: int) -> Floats:
    """Return ``(count,)``: 1 in the column of a code from 1 to ``count``; zeros for any other code."""
    columns = np.zeros(count, np.float32)
    if 1 <= code <= count:
        columns[code - 1] = 1.0
    return columns
