"""Several sources as one: each fills its quota of the candidates, and each item is proposed once.

Positions are filled one after the other by the source that is furthest behind its share (D'Hondt), with its best item
that no other source has proposed before. So every prefix is mixed by the shares, each source gets at least its
share rounded down, and when one runs dry the others take over its positions in the ratio of theirs::

    shares              likes 2             new 1                  limit 6
    proposed            a b c d e           b x
    mixed               a (likes)  b (likes)  x (new)  c (likes)  d (likes)  e (likes, as new is dry)
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heapreplace
from math import isfinite

from rankstream.features.ids import Id, id_key
from rankstream.features.matches.columns import UserMatches
from rankstream.retrieval.scope import Scope
from rankstream.retrieval.source import CandidateSource, Proposals


@dataclass(frozen=True)
class Quota:
    """A source and its share of the candidates, in the ratio of all shares."""

    source: CandidateSource
    share: float

    def __post_init__(self) -> None:
        if not (isfinite(self.share) and self.share > 0):
            raise ValueError(f"a share of {self.share} given; wanted more than 0, or leave the source out")


class MixedSource:
    """Proposes what its sources propose, each by its quota."""

    def __init__(self, *quotas: Quota) -> None:
        if not quotas:
            raise ValueError("no source given to mix; wanted at least one")
        self.quotas = quotas

    def propose(self, user: UserMatches, limit: int, scope: Scope | None = None) -> Proposals:
        """Return up to ``limit`` items; fewer only when all sources together have no more."""
        proposed = [quota.source.propose(user, limit, scope) for quota in self.quotas]
        return mixed(proposed, [quota.share for quota in self.quotas], limit)


def mixed(proposed: Sequence[Proposals], shares: Sequence[float], limit: int) -> Proposals:
    """Return up to ``limit`` of all that was proposed, each item once, by shares above 0."""
    pairs = [_pairs(one) for one in proposed]
    turns = [(1.0 / share, at, 1) for at, share in enumerate(shares)]  # (taken + 1) / share: least first
    heapify(turns)
    ids: list[Id] = []
    sources: list[str] = []
    taken: set[int] = set()
    while turns and len(ids) < limit:
        _, at, turn = turns[0]
        pair = _next_new(pairs[at], taken)
        if pair is None:
            heappop(turns)
            continue
        ids.append(pair[0])
        sources.append(pair[1])
        heapreplace(turns, ((turn + 1) / shares[at], at, turn + 1))
    return Proposals(ids, sources, {name: item for one in proposed for name, item in one.because_of.items()})


def _pairs(proposals: Proposals) -> Iterator[tuple[Id, str]]:
    return zip(proposals.ids, proposals.sources, strict=True)


def _next_new(pairs: Iterator[tuple[Id, str]], taken: set[int]) -> tuple[Id, str] | None:
    """Return the next item whose key is not in ``taken``, and put it there; None when the source is dry."""
    for item_id, source in pairs:
        key = id_key(item_id)
        if key not in taken:
            taken.add(key)
            return item_id, source
    return None
