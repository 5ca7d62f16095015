"""What a source of candidates promises."""

from typing import Protocol

from rankstream.features.ids import Id, Keys
from rankstream.features.schema import Floats


class CandidateSource(Protocol):
    """Proposes items near to a user; safe to call from many threads."""

    def propose(self, queries: Floats, limit: int, exclude: Keys) -> list[Id]:
        """Return up to ``limit`` items nearest to any of the queries ``(q, I)``, best first, none of ``exclude``.

        Without queries (q = 0), for a user of whom nothing is known, the items nearest to the middle of all.
        """
        ...
