"""What a source of candidates promises."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from rankstream.features.ids import Id
from rankstream.features.matches.columns import UserMatches


@dataclass(frozen=True, slots=True)
class Proposals:
    """Items proposed for a user, best first, each once."""

    ids: Sequence[Id]
    sources: Sequence[str]  # of each item: what proposed it


class CandidateSource(Protocol):
    """Proposes items for a user; safe to call from many threads.

    The same user as of the same time is proposed the same items: a source that samples seeds its generator by both.
    """

    def propose(self, user: UserMatches, limit: int) -> Proposals:
        """Return up to ``limit`` items, none of ``user.excluded``."""
        ...
