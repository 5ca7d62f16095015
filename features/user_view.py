"""A user as of a time: looked up once a request, read by the sources of candidates and by the join.

Retrieval and ranking see the same user by construction: neither reads the user's state itself.
"""

from dataclasses import dataclass

import numpy as np

from rankstream.features.actions import ActionColumns
from rankstream.features.embeddings.base import VectorTable
from rankstream.features.ids import Keys
from rankstream.features.schema import Floats
from rankstream.features.sessions import SessionTail
from rankstream.features.user_state import UserState


@dataclass(frozen=True, slots=True)
class UserView:
    """All that is known of a user at ``now_ms``; nothing later."""

    key: int
    now_ms: int  # UTC
    actions: ActionColumns  # of the history, newest first
    tail: SessionTail  # of the sessions that left the history
    vector: Floats  # (U,), zeros where there is none
    vector_found: bool
    departed: int = 0  # counts of the actions that left the history, see ``counters.py``

    @property
    def excluded(self) -> Keys:
        """Keys of the items that no source proposes: those of the known actions."""
        return self.actions.item_keys


def view_user(state: UserState, user_key: int, now_ms: int, vectors: VectorTable) -> UserView:
    """Return the user as of ``now_ms``; ``vectors`` are the users' (``OfflineFeatures.users``)."""
    found_vectors, found = vectors.look_up(np.array([user_key], np.uint64))
    actions = known_actions(state.history.columns(), now_ms)
    return UserView(user_key, now_ms, actions, state.tail, found_vectors[0], bool(found[0]), state.departed)


def known_actions(actions: ActionColumns, now_ms: int) -> ActionColumns:
    """Return the actions, newest first, that had happened by ``now_ms``."""
    future = int(np.count_nonzero(actions.times_ms > now_ms))  # newest first: they stand in front
    return actions[future:] if future else actions
