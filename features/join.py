"""The join: what the stream knows of a user and what the batch knows of user and items, at one moment.

One function, used by training, export, serving and replay. Nothing later than ``now_ms`` is seen.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import cos, log, log1p, pi, sin
from typing import TypeVar

import numpy as np

from rankstream.features.actions import ActionColumns
from rankstream.features.embeddings.base import VectorTable
from rankstream.features.ids import Keys
from rankstream.features.schema import FeatureSizes, Floats, ModelInputs
from rankstream.features.sessions import SessionEncoder, SessionsNow, session_keys, sessions_now
from rankstream.features.user_state import Applied, UserState

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


@dataclass(frozen=True)
class OfflineFeatures:
    """The offline side of the join: everything that is not in the user's state."""

    sizes: FeatureSizes
    items: VectorTable  # I wide
    item_features: VectorTable  # F wide
    users: VectorTable  # U wide
    sessions: SessionEncoder  # S wide


def join(state: UserState, user_key: int, candidates: Keys, now_ms: int, offline: OfflineFeatures) -> ModelInputs:
    """Return a ranker's inputs for ``candidates``, ``(N,)`` uint64, as of ``now_ms`` (UTC)."""
    actions = known_actions(state, now_ms)
    newest = head(actions, offline.sizes.num_actions)
    action_items, action_found = offline.items.look_up(newest.item_keys)
    user_vectors, user_found = offline.users.look_up(np.array([user_key], np.uint64))
    candidate_items, candidate_found = offline.items.look_up(candidates)
    features, _ = offline.item_features.look_up(candidates)
    return ModelInputs(
        action_types=newest.action_types,
        action_items=action_items,
        user_vector=user_vectors[0],
        session_vector=session_vector(state, actions, now_ms, offline),
        context=context(actions, now_ms, bool(user_found[0])),
        candidate_items=candidate_items,
        candidate_features=np.concatenate([features, candidate_found[:, None]], axis=1, dtype=np.float32),
        action_ages_ms=now_ms - newest.times_ms,
        action_found=action_found,
    )


def known_actions(state: UserState, now_ms: int) -> ActionColumns:
    """Return the actions of the history that had happened by ``now_ms``, newest first."""
    actions = state.history.columns()
    future = int(np.count_nonzero(actions.times_ms > now_ms))  # newest first: they stand in front
    return tail(actions, future) if future else actions


def head(actions: ActionColumns, count: int) -> ActionColumns:
    """Return the newest ``count`` actions."""
    return _slice(actions, slice(count))


def tail(actions: ActionColumns, start: int) -> ActionColumns:
    """Return all but the newest ``start`` actions."""
    return _slice(actions, slice(start, None))


def _slice(actions: ActionColumns, part: slice) -> ActionColumns:
    return ActionColumns(
        actions.item_keys[part],
        actions.action_types[part],
        actions.times_ms[part],
        actions.surfaces[part],
        actions.log_values[part],
    )


def session_vector(state: UserState, actions: ActionColumns, now_ms: int, offline: OfflineFeatures) -> Floats:
    """Return the session vector ``(S,)``: the tail's state, stepped over what the history still holds."""
    encoder = offline.sessions
    if not len(actions) and not state.tail.items:
        return np.zeros(encoder.dim, np.float32)
    sessions = sessions_now(state.tail, actions, now_ms)
    closed, opened = pool_sessions(sessions, offline.items)
    return encoder.encode(state.tail.recurrent(encoder.tag, encoder.state_size), closed, opened)


def pool_sessions(sessions: SessionsNow, items: VectorTable) -> tuple[Floats, Floats]:
    """Return the mean item of each closed session ``(k, I)`` and the open session's items ``(t, I)``."""
    opened, _ = items.look_up(sessions.opened)
    return pool(sessions.closed, items), opened


def pool(sessions: Sequence[Keys], items: VectorTable) -> Floats:
    """Return the mean item vector of each session of item keys, ``(k, I)``; unknown items count as zeros."""
    if not sessions:
        return np.zeros((0, items.dim), np.float32)
    lengths = np.array([len(session) for session in sessions])
    starts = np.cumsum(lengths) - lengths
    vectors, _ = items.look_up(np.concatenate(sessions))
    means: Floats = (np.add.reduceat(vectors, starts, axis=0) / lengths[:, None]).astype(np.float32)
    return means


K = TypeVar("K")


def fold_ended(ended: Mapping[K, Applied], offline: OfflineFeatures) -> dict[K, UserState]:
    """Return the states with recurrent states stepped over the sessions that ended: all users' first, then second, ...

    Rounded after each step, as stored, so that it doesn't matter how many sessions end at once.
    """
    encoder = offline.sessions
    if not encoder.state_size:
        return {key: applied.state for key, applied in ended.items()}
    states = {key: applied.state.tail.recurrent(encoder.tag, encoder.state_size) for key, applied in ended.items()}
    for turn in range(max((len(applied.ended) for applied in ended.values()), default=0)):
        due = [key for key, applied in ended.items() if turn < len(applied.ended)]
        pooled = pool([session_keys(ended[key].ended[turn]) for key in due], offline.items)
        folded = encoder.fold(np.stack([states[key] for key in due]), pooled)
        states.update(zip(due, folded.astype(np.float16).astype(np.float32), strict=True))
    return {key: _with_recurrent(applied.state, encoder.tag, states[key]) for key, applied in ended.items()}


def _with_recurrent(state: UserState, tag: int, recurrent: Floats) -> UserState:
    return UserState(state.history, state.tail.folded(tag, recurrent), state.offset, state.total)


def context(actions: ActionColumns, now_ms: int, user_found: bool) -> Floats:
    """Return the request's context ``(C,)``, in the order of ``CONTEXT_NAMES``."""
    hour = 2 * pi * (now_ms % DAY_MS) / DAY_MS
    weekday = 2 * pi * (now_ms // DAY_MS % 7) / 7
    age_hours = (now_ms - int(actions.times_ms[0])) / HOUR_MS if len(actions) else 0.0
    return np.array(
        [
            sin(hour), cos(hour), sin(weekday), cos(weekday),
            log1p(len(actions)) / log(100),
            log1p(age_hours) / 10 if len(actions) else 1.0,
            user_found,
            len(actions) > 0,
        ],
        np.float32,
    )  # fmt: skip
