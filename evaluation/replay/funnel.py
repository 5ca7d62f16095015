"""The funnel of a query: what retrieval proposes of the catalogue, and what of it is then ranked where.

::

    catalogue  ->  each source proposes  ->  mixed to the limit  ->  ranked  ->  wanted at rank 3
                   found by likes: no        found: yes              HIT@10: 1
                   found by matches: yes     without matches: no
                                             added by matches: 1               hit by matches: 1

A request with a limit is asked for, with the sources, the shares and the scope that serve: the wanted item is a miss
where no source proposes it, however well it is ranked.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from rankstream.evaluation.replay.outcomes import ALL, RankedQuery, VariantOutcomes
from rankstream.features.ids import Id, Keys, id_key, id_keys
from rankstream.features.join import match_user
from rankstream.features.matches.columns import UserMatches
from rankstream.features.user_state import UserState
from rankstream.metrics.arrays import Floats, Ints
from rankstream.metrics.ranking import recall
from rankstream.ranking.ranker import Ranker
from rankstream.ranking.request import RankingRefusedError, RankingRequest
from rankstream.ranking.retrieval_mix import sources_for
from rankstream.retrieval.mix import MixedSource
from rankstream.retrieval.scope import Scope
from rankstream.retrieval.source import CandidateSource, Proposals, kind_of

FOUND = "found"  # the metric: is the wanted item among what is ranked?
FOUND_BY = "found by "  # and a source's name: would that source find it, had it the whole limit?
ADDED_BY = "added by "  # and a source's name: what is found, less what is found where that source is left out
FIRST_BY = "first 10 by "  # and a source's name: what share of the first items it proposed
HIT_BY = "hit by "  # and a source's name: is a wanted item among the first, and did that source propose it?
NOTHING = Proposals([], [])


def is_funnel(metric: str) -> bool:
    """Return whether a metric is of retrieval."""
    return metric.startswith((FOUND, ADDED_BY, FIRST_BY, HIT_BY))


@dataclass(frozen=True)
class Proposed:
    """What retrieval proposes to a user."""

    keys: Keys  # of all sources together, as a request gets them
    sources: Sequence[str]  # of each, what a feed tells proposed it, without the number of its query
    by_source: Mapping[str, Keys]  # of each alone, with the whole limit
    without: Mapping[str, Keys]  # of the others, where one is left out and they have its places


def proposed(ranker: Ranker, user_id: Id, at_ms: int, state: UserState, limit: int, name: str = "replay") -> Proposed:
    """Ask a ranker's sources for so many items, as of a time, by a request of that name.

    Raises ``ValueError`` for a ranker without sources.
    """
    own = ranker.source
    if own is None:
        raise ValueError(f"model {ranker.model_version} has no source of candidates")
    request = RankingRequest(name, user_id, limit=limit, timestamp_ms=at_ms)
    user = match_user(state, id_key(user_id), at_ms, ranker.offline, at_ms)
    sources = sources_for(request, user, own, ranker.mix, ranker.shelf, ranker.described)
    whole = _answer(sources.source, user, limit, sources.scope)
    parts = {kind_of(part.proposals.sources[0]): part for part in whole.parts() if len(part.proposals.ids)}
    answer = whole.mixed(limit)
    if not answer.ids:
        answer = _instead(request, user, ranker, own)
    return Proposed(
        id_keys(answer.ids),
        [kind_of(source) for source in answer.sources],
        {name: id_keys(part.proposals.ids[:limit]) for name, part in parts.items()},
        {name: id_keys(whole.mixed(limit, without=part).ids) for name, part in parts.items()},
    )


def _instead(request: RankingRequest, user: UserMatches, ranker: Ranker, own: CandidateSource) -> Proposals:
    """Return what stands in where no source has anything; nothing where the request would be refused."""
    try:
        found = ranker.retrieve(request, user, own)
    except RankingRefusedError:
        return NOTHING
    return Proposals(found.ids, found.sources)


@dataclass(frozen=True, eq=False)
class _Answer:
    """What a source proposed, and where it mixes others, what each of them did."""

    proposals: Proposals
    of: tuple["_Answer", ...] = ()
    source: MixedSource | None = None  # that mixes these

    def parts(self) -> Iterator["_Answer"]:
        """Yield the answers of all sources that mix no others."""
        if not self.of:
            yield self
        for part in self.of:
            yield from part.parts()

    def mixed(self, limit: int, without: "_Answer | None" = None) -> Proposals:
        """Return what is proposed together, where one of the parts may be left out."""
        if self is without:
            return NOTHING
        if self.source is None:
            return self.proposals
        return self.source.merged([one.mixed(self.source.depth * limit, without) for one in self.of], limit)


def _answer(source: CandidateSource, user: UserMatches, limit: int, scope: Scope) -> _Answer:
    """Ask a source, or each of those that it mixes, once."""
    if not isinstance(source, MixedSource):
        return _Answer(source.propose(user, limit, scope))
    parts = tuple(_answer(quota.source, user, source.depth * limit, scope) for quota in source.quotas)
    return _Answer(NOTHING, parts, source)


def rows_in(keys: Keys, proposals: Proposed) -> Ints:
    """Return the rows of the candidates ``(N,)`` that were proposed."""
    return np.flatnonzero(np.isin(keys, proposals.keys))


def score_funnel(variant: VariantOutcomes, query: RankedQuery, keys: Keys, proposals: Proposed) -> None:
    """Add what share of the wanted items each source finds and adds, of the candidates ``keys``."""
    share = partial(_share, keys[query.relevant[ALL]] if ALL in query.relevant else None)
    found = share(proposals.keys)
    variant.put(ALL, FOUND, found)
    for source, alone in proposals.by_source.items():
        _put(variant, FOUND_BY + source, share(alone))
        _put(variant, ADDED_BY + source, found - share(proposals.without[source]))
    _fill(variant, (FOUND_BY, ADDED_BY))


def score_firsts(variant: VariantOutcomes, query: RankedQuery, keys: Keys, first: Ints, proposals: Proposed) -> None:
    """Add which sources proposed the first items of the feed, and those of them that were wanted.

    ``first`` are rows of the candidates ``keys``. What all sources hit together is HIT@10 where one item is wanted.
    """
    source_of = dict(zip(proposals.keys.tolist(), proposals.sources, strict=True))
    told = [source_of[key] for key in keys[first].tolist()]
    is_wanted = np.isin(first, query.relevant[ALL]) if ALL in query.relevant else np.zeros(len(first), np.bool_)
    hit = {source for source, wanted in zip(told, is_wanted, strict=True) if wanted}
    for source in {*told}:
        _put(variant, FIRST_BY + source, told.count(source) / len(told))
        _put(variant, HIT_BY + source, float(source in hit) if ALL in query.relevant else np.nan)
    _fill(variant, (FIRST_BY, HIT_BY))


def _fill(variant: VariantOutcomes, kinds: tuple[str, ...]) -> None:
    """Add that all other sources had nothing in the newest query."""
    for (_, metric), column in variant.metrics.items():
        if metric.startswith(kinds):
            column += [0.0] * (_count(variant) - len(column))


def score_as_retrieval(baseline: VariantOutcomes, query: RankedQuery, ranks: Floats | Ints, limit: int) -> None:
    """Add what share of the wanted items a baseline has among its first ``limit``: had it retrieved alone."""
    baseline.put(ALL, FOUND, recall(ranks[query.relevant[ALL]], limit) if ALL in query.relevant else float("nan"))


def _put(variant: VariantOutcomes, metric: str, value: float) -> None:
    """Add a metric of the newest query; to those before, the source had proposed nothing."""
    column = variant.metrics.setdefault((ALL, metric), [])
    column += [0.0] * (_count(variant) - 1 - len(column))
    column.append(value)


def _count(variant: VariantOutcomes) -> int:
    return len(variant.metrics[ALL, FOUND])


def _share(wanted: Keys | None, found: Keys) -> float:
    """Return the share that was found; 0 where what is wanted is no item of the catalogue, NaN where nothing is."""
    if wanted is None:
        return float("nan")
    return float(np.isin(wanted, found).mean()) if len(wanted) else 0.0
