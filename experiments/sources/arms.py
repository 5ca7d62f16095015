"""The arms: the default's sources, what else could be asked with, and other orders of what is popular."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from rankstream.events.log import EventLog
from rankstream.features.embeddings.key_search import Rows
from rankstream.features.embeddings.table import EmbeddingTable
from rankstream.features.join import DAY_MS, OfflineFeatures, session_vector
from rankstream.features.matches.columns import UserMatches
from rankstream.features.schema import Floats, Ints
from rankstream.graph.build import biased
from rankstream.graph.topics import Topics
from rankstream.metrics.arrays import Bools
from rankstream.metrics.arrays import Floats as Weights
from rankstream.ranking.ranker import Ranker
from rankstream.retrieval.index.base import unit
from rankstream.retrieval.mix import FusedSource, MixedSource, Quota
from rankstream.retrieval.scope import Scope, scope_of
from rankstream.retrieval.source import CandidateSource, Proposals
from rankstream.retrieval.sources.popular import PopularItems
from rankstream.retrieval.sources.random_walk import RandomWalk
from rankstream.retrieval.sources.recent_likes import RecentLikes

DEFAULT = "default"
BIASES = (0.3, 0.6)  # of the steps
POPULAR_SHARE = 0.05  # as in the mix with a catalogue
SESSION, MEAN, NEWEST = "session", "mean", "newest"
LAST_WEEK = "7 days"  # what `popular` serves
OF_SEGMENT = f"{LAST_WEEK}, of the segment"
MIXED = ("ever", LAST_WEEK, "1 day", "half-life 7 d", OF_SEGMENT)  # that stand beside the default, too

Arms = Mapping[str, CandidateSource]


@dataclass
class Once:
    """A source that answers all arms of one request once."""

    source: CandidateSource
    _last: tuple[UserMatches | None, int, Proposals] = (None, 0, Proposals([], []))

    def propose(self, user: UserMatches, limit: int, scope: Scope | None = None) -> Proposals:
        """Return what the source proposes."""
        if self._last[0] is not user or self._last[1] != limit:
            self._last = user, limit, self.source.propose(user, limit, scope)
        return self._last[2]


@dataclass(frozen=True)
class AskedBy(RecentLikes):
    """Neighbours of one or several queries; the nearest to any of them are proposed."""

    offline: OfflineFeatures | None = None
    by: tuple[str, ...] = (MEAN,)

    def queries(self, matches: UserMatches) -> Floats:
        """Return as many unit queries as there are names, fewer for who has none."""
        found = [query for name in self.by for query in self._queries(name, matches)]
        return unit(np.array(found, np.float32).reshape(-1, self.items.dim))

    def _queries(self, name: str, matches: UserMatches) -> Iterator[Floats]:
        if name == MEAN:
            yield from super().queries(matches)
        elif name == NEWEST:
            vectors, found = self.items.look_up(matches.user.actions.item_keys)
            yield from vectors[found][:1]
        elif self.offline is not None:
            vector = session_vector(matches.user, self.offline)
            yield from [vector] if np.linalg.norm(vector) > 0 else []


@dataclass(frozen=True)
class OfTheDefault:
    """The sources that the default fuses, each asked once a request."""

    quotas: tuple[Quota, ...]
    likes: RecentLikes  # the last of them
    walk: CandidateSource  # on sessions
    walker: RandomWalk  # the same, not yet asked
    offline: OfflineFeatures
    topics: Mapping[str, Topics] = field(default_factory=dict)  # of items, by what they are made of

    @classmethod
    def of(cls, ranker: Ranker, topics: Mapping[str, Topics] | None = None) -> "OfTheDefault":
        """Take a ranker's source apart. Raises ``TypeError`` for a bundle without match tables, which has but one."""
        source = ranker.source
        if not isinstance(source, FusedSource) or not isinstance(source.quotas[-1].source, RecentLikes):
            raise TypeError(f"model {ranker.model_version} has one source alone; train it on a log of sessions")
        asked = [Once(quota.source) for quota in source.quotas]
        quotas = tuple(Quota(one, quota.share) for one, quota in zip(asked, source.quotas, strict=True))
        likes = source.quotas[-1].source
        for one in asked:
            if isinstance(one.source, RandomWalk):
                return cls(quotas, likes, one, one.source, ranker.offline, topics or {})
        raise TypeError(f"model {ranker.model_version} walks on no sessions")

    def queries(self) -> Arms:
        """Return the default, and the same with other queries than the mean of the newest likes, each also alone."""
        *others, last = self.quotas
        by = {"mean": last.source} | {name: self._asked(*names) for name, names in QUERIES.items()}
        arms: dict[str, CandidateSource] = {DEFAULT: FusedSource(*self.quotas)}
        for name in ("session", "mean or session"):
            arms[f"default by {name}"] = FusedSource(*others, Quota(by[name], 1.0))
        arms["default and session"] = FusedSource(*self.quotas, Quota(by["session"], 1.0))
        arms["default without neighbours"] = FusedSource(*others)
        return arms | {f"{name} alone": source for name, source in by.items()}

    def unions(self) -> Arms:
        """Return neighbours and walks by their ranks, and either alone."""
        likes = self.quotas[-1].source
        both = FusedSource(Quota(self.walk, 1.0), Quota(likes, 1.0))
        return {"neighbours and walks": both, "neighbours": likes, "walks": self.walk}

    @cached_property
    def biased(self) -> Arms:
        """Return the default and its walks, and both where walks prefer the topic of the item that they began at."""
        arms: dict[str, CandidateSource] = {DEFAULT: FusedSource(*self.quotas), "walks": self.walk}
        for name, topics in self.topics.items():
            for share in BIASES:
                walk = Once(self._biased(topics, share))
                quotas = [Quota(walk, one.share) if one.source is self.walk else one for one in self.quotas]
                arms[f"{DEFAULT}, {name} preferred in {share:g}"] = FusedSource(*quotas)
                arms[f"walks, {name} preferred in {share:g}"] = walk
        return arms

    def _biased(self, topics: Topics, share: float) -> RandomWalk:
        graph = self.walker.graph
        graph = replace(graph, graph=biased(graph.graph, topics.of(graph.keys), share))
        graph.prepare()
        return replace(self.walker, graph=graph)

    def popular(self, orders: Mapping[str, Rows], segments: Ints | None) -> Arms:
        """Return what is popular in each order, that of the last week first, and with its share beside the default."""
        items = self.likes.items
        sources: dict[str, CandidateSource] = {
            name: Once(PopularItems(items, Ordered(order))) for name, order in orders.items()
        }
        if segments is not None:
            sources[OF_SEGMENT] = Once(PopularOfSegment(items, orders[LAST_WEEK], segments))
        default = FusedSource(*self.quotas)
        mixed = {
            f"{DEFAULT} and popular: {name}": MixedSource(
                Quota(default, 1.0 - POPULAR_SHARE), Quota(sources[name], POPULAR_SHARE)
            )
            for name in MIXED
            if name in sources
        }
        return {f"popular: {name}": source for name, source in sources.items()} | {DEFAULT: default} | mixed

    def _asked(self, *by: str) -> CandidateSource:
        likes = self.likes
        return Once(AskedBy(likes.items, likes.index, likes.polarity, self.offline, by))


QUERIES = {"session": (SESSION,), "newest": (NEWEST,), "mean or session": (MEAN, SESSION)}


@dataclass(frozen=True)
class Ordered:
    """Items in an order."""

    lately: Rows


@dataclass(frozen=True)
class PopularOfSegment:
    """Items of the user's most frequent segment in one order for all, then those of the others."""

    items: EmbeddingTable
    order: Rows
    segments: Ints  # (n,) of the items of the table, -1 for none

    def propose(self, user: UserMatches, limit: int, scope: Scope | None = None) -> Proposals:
        """Return up to ``limit`` items, those of the segment first."""
        rows, found = self.items.rows(user.user.actions.item_keys)
        codes, order = self.segments[rows[found]], self.order
        names, firsts, counts = np.unique(codes[codes >= 0], return_index=True, return_counts=True)
        if len(names):
            inside = self.segments[order] == names[np.lexsort((firsts, -counts))[0]]
            order = np.concatenate([order[inside], order[~inside]])
        return PopularItems(self.items, Ordered(order)).propose(user, limit, scope or scope_of(user))


WINDOWS_DAYS = {LAST_WEEK: 7.0, "1 day": 1.0, "1 hour": 1 / 24}
HALF_LIVES_DAYS = {"half-life 1 d": 1.0, "half-life 7 d": 7.0}


def orders_at(
    log: EventLog, items: EmbeddingTable, is_positive: Callable[[Ints], Bools], at_ms: int
) -> dict[str, Rows]:
    """Return rows of the items in the orders of popularity as of a time, by what was done before it."""
    rows, found = items.rows(log.item_keys)
    found = found & (log.times_ms < at_ms)
    rows, positive = rows[found], is_positive(log.actions[found])
    ages: Weights = (at_ms - log.times_ms[found]) / DAY_MS
    weights: dict[str, Weights] = {name: (ages < days).astype(np.float64) for name, days in WINDOWS_DAYS.items()}
    weights |= {"ever": np.ones(len(rows))}
    weights |= {name: np.exp2(-ages / days) for name, days in HALF_LIVES_DAYS.items()}
    weights |= {"positives, half-life 7 d": positive * weights["half-life 7 d"]}
    ever = np.bincount(rows, minlength=len(items))
    return {name: np.lexsort((-ever, -np.bincount(rows, one, len(items)))) for name, one in weights.items()}
