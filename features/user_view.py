"""A user as of a time: looked up once a request, read by the sources of candidates and by the join.

Retrieval and ranking see the same user by construction: neither reads the user's state itself.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from rankstream.features.actions import ActionColumns
from rankstream.features.embeddings.base import VectorTable
from rankstream.features.embeddings.live import made_after
from rankstream.features.ids import Keys
from rankstream.features.schema import Floats
from rankstream.features.sessions import SessionTail
from rankstream.features.user_state import NEVER, UserState

NO_PROFILE: Floats = np.zeros(0, np.float32)  # of a model that was trained without


@dataclass(frozen=True, slots=True)
class UserView:
    """All that is known of a user at ``now_ms``; nothing is younger than that."""

    key: int
    now_ms: int  # UTC
    actions: ActionColumns  # of the history, newest first, none later than ``now_ms``
    tail: SessionTail  # of the sessions that left the history
    vector: Floats  # (U,), zeros where there is none
    vector_found: bool
    departed: int = 0  # counts of the actions that left the history, see ``counters.py``
    profile: Floats = field(default_factory=lambda: NO_PROFILE)  # (P,) what the user is, zeros where not known
    forgotten_ms: int = NEVER  # what was known up to then is not to be used

    @property
    def excluded(self) -> Keys:
        """Keys of the items that no source proposes: those of the known actions."""
        return self.actions.item_keys


def view_user(
    state: UserState,
    user_key: int,
    now_ms: int,
    vectors: VectorTable,
    until_ms: int | None = None,
    profile: Floats = NO_PROFILE,
) -> UserView:
    """Return the user as of ``now_ms``; ``vectors`` are the users' (``OfflineFeatures.users``).

    Of a user who was erased no vector is looked at that may be of before that.

    ``until_ms`` is as for ``known_actions``.
    """
    table = made_after(vectors, state.forgotten_ms) if state.forgotten_ms else vectors
    vector, found = table.look_up(np.array([user_key], np.uint64))
    actions = known_actions(state.history.columns(), now_ms, until_ms)
    kept = state.departed, profile, state.forgotten_ms
    return UserView(user_key, now_ms, actions, state.tail, vector[0], bool(found[0]), *kept)


def known_actions(actions: ActionColumns, now_ms: int, until_ms: int | None = None) -> ActionColumns:
    """Return the actions, newest first, that had happened by ``now_ms``.

    Clocks differ, so an action may be known already whose time is still to come. Those up to ``until_ms`` are the
    newest, and count as done just now.
    """
    limit_ms = now_ms if until_ms is None else until_ms
    if not len(actions) or actions.times_ms[0] <= min(now_ms, limit_ms):
        return actions
    future = int(np.count_nonzero(actions.times_ms > limit_ms))
    known = actions[future:] if future else actions  # newest first: the future stands in front
    if len(known) and known.times_ms[0] > now_ms:
        return replace(known, times_ms=np.minimum(known.times_ms, now_ms))
    return known
