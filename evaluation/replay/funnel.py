"""The funnel of a query: what retrieval proposes of the catalogue, and what of it is then ranked where.

::

    catalogue  ->  each source proposes  ->  mixed to the limit  ->  ranked  ->  wanted at rank 3
                   found by likes: no        found: yes              HIT@10: 1
                   found by matches: yes

A request with a limit is asked for: the wanted item is a miss where no source proposes it, however well it is ranked.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rankstream.evaluation.replay.outcomes import ALL, RankedQuery, VariantOutcomes
from rankstream.features.ids import Id, Keys, id_key, id_keys
from rankstream.features.join import match_user
from rankstream.features.user_state import UserState
from rankstream.metrics.arrays import Ints
from rankstream.ranking.ranker import Ranker
from rankstream.retrieval.mix import MixedSource
from rankstream.retrieval.source import Proposals

FOUND = "found"  # the metric: is the wanted item among what is ranked?
FOUND_BY = "found by "  # and a source's name: would that source find it, had it the whole limit?


def is_funnel(metric: str) -> bool:
    """Return whether a metric is of retrieval."""
    return metric.startswith(FOUND)


@dataclass(frozen=True)
class Proposed:
    """What retrieval proposes to a user."""

    keys: Keys  # of all sources together, as a request gets them
    by_source: Mapping[str, Keys]  # of each alone, with the whole limit


def proposed(ranker: Ranker, user_id: Id, at_ms: int, state: UserState, limit: int) -> Proposed:
    """Ask a ranker's sources for so many items, as of a time. Raises ``ValueError`` for a ranker without sources."""
    source = ranker.source
    if source is None:
        raise ValueError(f"model {ranker.model_version} has no source of candidates")
    user = match_user(state, id_key(user_id), at_ms, ranker.offline, at_ms)
    whole = source.propose(user, limit)
    parts = [quota.source.propose(user, limit) for quota in source.quotas] if isinstance(source, MixedSource) else []
    return Proposed(id_keys(whole.ids), dict(_named(part) for part in parts or [whole] if len(part.ids)))


def _named(proposals: Proposals) -> tuple[str, Keys]:
    return proposals.sources[0], id_keys(proposals.ids)


def rows_in(keys: Keys, proposals: Proposed) -> Ints:
    """Return the rows of the candidates ``(N,)`` that were proposed."""
    return np.flatnonzero(np.isin(keys, proposals.keys))


def score_funnel(variant: VariantOutcomes, query: RankedQuery, keys: Keys, proposals: Proposed) -> None:
    """Add what share of the wanted items each source proposes, of the candidates ``keys``."""
    wanted = keys[query.relevant[ALL]] if ALL in query.relevant else None
    variant.put(ALL, FOUND, _share(wanted, proposals.keys))
    queries = len(variant.metrics[ALL, FOUND])
    for source, found in proposals.by_source.items():
        column = variant.metrics.setdefault((ALL, FOUND_BY + source), [])
        column += [0.0] * (queries - 1 - len(column))  # it proposed nothing to those before
        column.append(_share(wanted, found))
    for (_, metric), column in variant.metrics.items():
        if metric.startswith(FOUND_BY):
            column += [0.0] * (queries - len(column))


def _share(wanted: Keys | None, found: Keys) -> float:
    """Return the share that was found; 0 where what is wanted is no item of the catalogue, NaN where nothing is."""
    if wanted is None:
        return float("nan")
    return float(np.isin(wanted, found).mean()) if len(wanted) else 0.0
