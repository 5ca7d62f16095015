"""Users, item tables and made-up sources that tests of retrieval share."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rankstream.features.actions import Vocabulary, columns, pack_action
from rankstream.features.embeddings.table import EmbeddingTable, publish
from rankstream.features.ids import Id, id_key
from rankstream.features.matches.columns import UserMatches
from rankstream.features.matches.tables import MatchTables, no_matches
from rankstream.features.sessions import SessionTail
from rankstream.features.user_view import UserView
from rankstream.retrieval.scope import Scope, scope_of
from rankstream.retrieval.source import Proposals

NOW_MS = 1_700_000_100_000
VOCABULARY = Vocabulary(("view", "save", "hide"))


def a_user(
    *actions: tuple[str, Id], vector: Any = (), tables: MatchTables | None = None, later_ms: int = 0
) -> UserMatches:
    """A user with these actions, newest first, a second apart; looked at ``later_ms`` after the newest."""
    packed = b"".join(
        pack_action(NOW_MS - 1000 * at, VOCABULARY.action_codes[name], id_key(item), 0, 0)
        for at, (name, item) in enumerate(actions)
    )
    now_ms, known = NOW_MS + later_ms, len(vector) > 0
    view = UserView(id_key("u1"), now_ms, columns(packed), SessionTail(), np.array(vector, np.float32), known)
    return UserMatches(view, tables or no_matches())


def an_item_table(root: Path, ids: Sequence[Id], vectors: Any) -> EmbeddingTable:
    publish(root, ids, np.asarray(vectors), space="items", as_of_ms=0)
    return EmbeddingTable.open(root)


@dataclass(frozen=True)
class NewestItems:
    """A made-up source: the items that were published last, whoever asks."""

    ids: tuple[Id, ...]  # oldest first

    def propose(self, user: UserMatches, limit: int, scope: Scope | None = None) -> Proposals:
        excluded = set((scope or scope_of(user)).excluded.tolist())
        ids = [item_id for item_id in reversed(self.ids) if id_key(item_id) not in excluded][:limit]
        return Proposals(ids, ["new"] * len(ids))


@dataclass(frozen=True)
class FixedItems:
    """Proposes the same items to everybody, under a name."""

    name: str
    ids: tuple[Id, ...]

    def propose(self, user: UserMatches, limit: int, scope: Scope | None = None) -> Proposals:
        ids = self.ids[:limit]
        return Proposals(ids, [self.name] * len(ids))
