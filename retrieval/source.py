"""What a source of candidates promises."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from rankstream.features.ids import Id
from rankstream.features.matches.columns import UserMatches
from rankstream.retrieval.scope import Scope


@dataclass(frozen=True, slots=True)
class Proposals:
    """Items proposed for a user, best first, each once."""

    ids: Sequence[Id]
    sources: Sequence[str]  # of each item: what proposed it
    because_of: Mapping[str, Id] = field(default_factory=dict)  # sources that asked with one item: the item


def kind_of(source: str) -> str:
    """Return the name of a source as feeds tell it; one that asks several times counts them behind a colon."""
    return source.partition(":")[0]


class CandidateSource(Protocol):
    """Proposes items for a user; safe to call from many threads.

    The same user as of the same time, within the same scope, is proposed the same items: a source that samples does it
    by ``Scope.seed``, and by nothing of its own.
    """

    def propose(self, user: UserMatches, limit: int, scope: Scope | None = None) -> Proposals:
        """Return up to ``limit`` items within the scope; None: all but ``user.excluded``."""
        ...
