"""Several sources as one, by quotas or by ranks: each item is proposed once.

``MixedSource`` gives each source places of its own: for what can't be compared, such as new items beside the user's.
Positions are filled one after the other by the source that is furthest behind its share (D'Hondt), with its best item
that no other source has proposed before. So every prefix is mixed by the shares, each source gets at least its
share rounded down, and when one runs dry the others take over its positions in the ratio of theirs::

    shares              likes 2             new 1                  limit 6
    proposed            a b c d e           b x
    mixed               a (likes)  b (likes)  x (new)  c (likes)  d (likes)  e (likes, as new is dry)

``FusedSource`` adds up what the ranks in all sources say, so that what several find goes before what one finds: for
sources that all know the same user (reciprocal rank fusion: Cormack, Clarke and Buettcher, SIGIR 2009). An item's score
is the sum of share / (60 + its rank) over the sources that propose it::

    shares              matches 3           walk 1                 limit 3
    proposed            a b c               b d
    fused               b (matches)  a (matches)  c (matches)      3/62 + 1/61, 3/61, 3/63; d: 1/62
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heapreplace
from math import isfinite

import numpy as np

from rankstream.features.ids import Id, id_key, id_keys
from rankstream.features.matches.columns import UserMatches
from rankstream.retrieval.scope import Scope
from rankstream.retrieval.source import CandidateSource, Proposals

RANK_OFFSET = 60  # of the paper: without it the first of one source would outweigh what all of them propose


@dataclass(frozen=True)
class Quota:
    """A source and its share of the candidates, or the weight of its ranks, in the ratio of all shares."""

    source: CandidateSource
    share: float

    def __post_init__(self) -> None:
        if not (isfinite(self.share) and self.share > 0):
            raise ValueError(f"a share of {self.share} given; wanted more than 0, or leave the source out")


class MixedSource:
    """Proposes what its sources propose, each by its quota."""

    depth = 1  # times the limit that each source is asked for

    def __init__(self, *quotas: Quota) -> None:
        if not quotas:
            raise ValueError("no source given to mix; wanted at least one")
        self.quotas = quotas

    def propose(self, user: UserMatches, limit: int, scope: Scope | None = None) -> Proposals:
        """Return up to ``limit`` items; fewer only when all sources together have no more."""
        asked = self.depth * limit
        return self.merged([quota.source.propose(user, asked, scope) for quota in self.quotas], limit)

    def merged(self, proposed: Sequence[Proposals], limit: int) -> Proposals:
        """Return what the sources propose, one each in the order of the quotas, as one."""
        return mixed(proposed, [quota.share for quota in self.quotas], limit)


class FusedSource(MixedSource):
    """Proposes what its sources propose, by the ranks in all of them."""

    depth = 2  # what several sources have beyond the limit may go before what one has within it

    def merged(self, proposed: Sequence[Proposals], limit: int) -> Proposals:
        """Return what the sources propose, one each in the order of the quotas, as one."""
        return fused(proposed, [quota.share for quota in self.quotas], limit)


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
    return Proposals(ids, sources, _because_of(proposed))


def fused(proposed: Sequence[Proposals], shares: Sequence[float], limit: int) -> Proposals:
    """Return the ``limit`` items of the highest sums of share / (60 + rank), each told by what adds most to it.

    Of equal sums the item comes first that an earlier source proposes, or the same one earlier.
    """
    ids = [item_id for one in proposed for item_id in one.ids]
    because_of = _because_of(proposed)
    if not ids:
        return Proposals([], [], because_of)
    pairs = zip(proposed, shares, strict=True)
    added = np.concatenate([share / (RANK_OFFSET + np.arange(1, len(one.ids) + 1)) for one, share in pairs])
    _, firsts, which = np.unique(id_keys(ids), return_index=True, return_inverse=True)
    best = np.lexsort((firsts, -np.bincount(which, added)))[:limit]
    by_item = np.lexsort((-added, which))
    most = by_item[np.searchsorted(which[by_item], best)]  # where the best items have what adds most to them
    sources = [source for one in proposed for source in one.sources]
    return Proposals([ids[at] for at in firsts[best].tolist()], [sources[at] for at in most.tolist()], because_of)


def _because_of(proposed: Sequence[Proposals]) -> dict[str, Id]:
    return {name: item for one in proposed for name, item in one.because_of.items()}


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
