"""Online = offline: HierTCN stepped action by action through a user's state as in the stream, or in one pass."""

import numpy as np

from rankstream.events.sequences import UserSequences
from rankstream.features.actions import pack_action
from rankstream.features.embeddings.base import NoVectors
from rankstream.features.embeddings.memory import ItemTable
from rankstream.features.ids import id_key
from rankstream.features.join import OfflineFeatures, fold_ended, session_vector
from rankstream.features.schema import FeatureSizes, Floats
from rankstream.features.user_state import UNKNOWN_USER, UserState
from rankstream.features.user_view import view_user
from rankstream.models.sessions.hiertcn import HierTCN
from rankstream.models.sessions.sessionize import session_vectors_at
from rankstream.models.sessions.torch_encoder import TorchSessions
from rankstream.models.training.negatives import Ints

TOLERANCE = 2e-3  # of unit vectors' entries: a user's record keeps the recurrent state in half precision


def parity(model: HierTCN, sequences: UserSequences, item_table: ItemTable, users: Ints) -> dict[str, float]:
    """Return the largest difference of session vectors after the users' last actions, and how many were stepped."""
    last = sequences.starts[users + 1] - 1
    encoded_at_once = session_vectors_at(model, sequences, item_table, last)
    offline = OfflineFeatures(FeatureSizes(), item_table, NoVectors(0), NoVectors(0), TorchSessions(model))
    online = np.stack([stepped(sequences, item_table, int(user), offline) for user in users])
    return {
        "largest_difference": float(np.abs(online - encoded_at_once).max()),
        "min_cosine": float((online * encoded_at_once).sum(1).min()),
        "tolerance": TOLERANCE,
        "users": len(users),
        "actions": int((np.diff(sequences.starts)[users]).sum()),
    }


def stepped(sequences: UserSequences, item_table: ItemTable, user: int, offline: OfflineFeatures) -> Floats:
    """Return the session vector after a user's last action, every action applied and folded by itself."""
    state: UserState = UNKNOWN_USER
    now_ms = 0
    for row in range(sequences.starts[user], sequences.starts[user + 1]):
        now_ms = int(sequences.times_ms[row])
        item = item_table.ids[sequences.item_rows[row]].item() if sequences.item_rows[row] >= 0 else "unknown"
        packed = pack_action(now_ms, int(sequences.actions[row]), id_key(item), 0, 0)
        state = fold_ended({user: state.apply([packed], row)}, offline)[user]
    return session_vector(view_user(state, user, now_ms, offline.users), offline)
