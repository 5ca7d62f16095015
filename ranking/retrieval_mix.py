r"""How candidates are found where a request brings none: by the user, of what is new, of what is popular.

::

    request -> Scope -> the user's sources --\
                    |-> described, new -------> mixed by their shares, each item once, its source told
                    \-> popular --------------/      nothing at all: popular, told apart

New items have places of their own. Those that nobody has acted on, and that a version of the item vectors places by
what they are, have most of these, the nearest ones first; the others are sampled of what came into being lately.
Where the user's sources have nothing, as nothing is known of the user, popular items have their places. Without a
catalogue nothing is known of what came lately or is gone: the user's sources and the described items propose.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from rankstream.content.catalogue import Catalogue
from rankstream.content.filters import passing, told
from rankstream.features.embeddings.table import EmbeddingTable
from rankstream.features.ids import Id, Keys, id_keys
from rankstream.features.matches.columns import UserMatches
from rankstream.ranking.popularity import EVER, LAST_WEEK, WINDOWS
from rankstream.ranking.request import NO_CANDIDATES, RankingRefusedError, RankingRequest
from rankstream.retrieval.mix import MixedSource, Quota, mixed
from rankstream.retrieval.scope import Scope, Stock, seed_of
from rankstream.retrieval.source import CandidateSource, Proposals
from rankstream.retrieval.sources.new_items import NewItems
from rankstream.retrieval.sources.popular import FALLBACK, SOURCE, PopularItems

NO_CATALOGUE = "no-catalogue"
DESCRIBED_SHARE = 3.0  # of the new items' places, for each one that is sampled: the nearest are tried most
TEXT = re.compile(
    r"new=(\S+) new-days=(\S+) popular=(\S+) exclude-seen=([01])(?: popular-window=(\S+))?(?: popular-by=(\S+))?"
)
BY_ALL, BY_CATEGORY = "all", "category"  # whose popular items a user is proposed


class OwnOrPopular(MixedSource):
    """The user's own sources first and popular items last, which have the places of the first if these have nothing."""

    def merged(self, proposed: Sequence[Proposals], limit: int) -> Proposals:
        """Return what the sources propose, one each in the order of the quotas, as one."""
        shares = [quota.share for quota in self.quotas]
        if not proposed[0].ids:
            shares[-1] += shares[0]
        return mixed(proposed, shares, limit)


@dataclass(frozen=True)
class RetrievalMix:
    """Shares of the candidates; the user's own sources have the rest."""

    new_share: float = 0.1  # places of their own: in one pool new items never win, or push warm ones out
    new_days: float = 14.0  # how young an item must be to count as new
    popular_share: float = 0.05  # what everybody likes, so that no user is without
    exclude_seen: bool = True  # never propose what the user's known actions are on
    popular_window: str = LAST_WEEK  # in which popular is what most was done to: a name of ``WINDOWS``, or ``EVER``
    popular_by: str = BY_ALL  # or ``BY_CATEGORY``: first what is popular of the user's own

    def __post_init__(self) -> None:
        if not (self.new_share >= 0 and self.popular_share >= 0 and self.new_share + self.popular_share < 1):
            raise ValueError(
                f"shares of {self.new_share:g} for new and {self.popular_share:g} for popular items given; wanted none "
                "below 0, and less than 1 together"
            )
        if self.popular_window not in (*WINDOWS, EVER) or self.popular_by not in (BY_ALL, BY_CATEGORY):
            raise ValueError(
                f"popular items of the window {self.popular_window!r} by {self.popular_by!r} given; wanted a window of "
                f"{', '.join(WINDOWS)} or {EVER}, by {BY_ALL} or {BY_CATEGORY}"
            )

    @property
    def text(self) -> str:
        """Return the mix as served features record it."""
        shares = f"new={self.new_share!r} new-days={self.new_days!r} popular={self.popular_share!r}"
        window = "" if self.popular_window == LAST_WEEK else f" popular-window={self.popular_window}"
        segment = "" if self.popular_by == BY_ALL else f" popular-by={self.popular_by}"
        return f"{shares} exclude-seen={int(self.exclude_seen)}{window}{segment}"

    def source(
        self, own: CandidateSource, popular: PopularItems, described: CandidateSource | None = None
    ) -> CandidateSource:
        """Return all sources as one."""
        new: CandidateSource = NewItems(self.new_days)
        if described is not None:
            new = MixedSource(Quota(described, DESCRIBED_SHARE), Quota(new, 1.0))
        shares = [(own, 1.0 - self.new_share - self.popular_share), (new, self.new_share)]
        shares.append((popular, self.popular_share))
        mix = OwnOrPopular if self.popular_share > 0 else MixedSource
        return mix(*(Quota(source, share) for source, share in shares if share > 0))

    def without_catalogue(self, own: CandidateSource, described: CandidateSource | None) -> CandidateSource:
        """Return all sources that need no catalogue as one."""
        if described is None or not self.new_share:
            return own
        return MixedSource(Quota(own, 1.0 - self.new_share), Quota(described, self.new_share))


DEFAULT_MIX = RetrievalMix()


def mix_named(text: str | None) -> RetrievalMix:
    """Return the mix of a ``RetrievalMix.text``, to the bit; the default for None. Raises ``ValueError`` for others."""
    if text is None:
        return DEFAULT_MIX
    named = TEXT.fullmatch(text)
    if named is None:
        raise ValueError(f"retrieval {text!r} given; wanted one as served features record it: {DEFAULT_MIX.text}")
    new_share, new_days, popular_share = (float(number) for number in named.groups()[:3])
    return RetrievalMix(new_share, new_days, popular_share, named[4] == "1", named[5] or LAST_WEEK, named[6] or BY_ALL)


class CurrentCatalogue(Protocol):
    """A catalogue as it is now: ``LiveCatalogue``, or one version."""

    def snapshot(self) -> Catalogue | None:
        """Return the version to use for a whole request; None while there is none."""
        ...


@dataclass
class Shelf:
    """What can be had now: the catalogue beside the item table, and what is popular of it."""

    catalogues: CurrentCatalogue
    items: EmbeddingTable
    popular: PopularItems
    _stock: Stock | None = field(default=None, repr=False)  # of the version that was asked for last
    _next: Stock | None = field(default=None, repr=False)  # of the version that serves next

    def stock(self) -> Stock | None:
        """Return the stock of the version that serves now."""
        catalogue, stock = self.catalogues.snapshot(), self._stock
        if catalogue is None:
            return None
        if stock is None or stock.catalogue is not catalogue:
            stock = self._next
            if stock is None or stock.catalogue is not catalogue:
                stock = Stock(catalogue, self.items)
            self._stock = stock
        return stock

    def prepare(self, catalogue: Catalogue) -> None:
        """Find out now what the first request with this version, which serves next, would have to."""
        stock = Stock(catalogue, self.items)
        _ = stock.gone
        self._next = stock


@dataclass(frozen=True)
class Retrieved:
    """What was found, and by which rules."""

    ids: Sequence[Id]
    sources: Sequence[str]  # of each item
    because_of: Mapping[str, Id] = field(default_factory=dict)  # sources that asked with one item: the item
    catalogue: str | None = None  # version; None without one
    mix: str | None = None  # text of the mix; None where nothing but the default could have been used

    @property
    def is_fallback(self) -> bool:
        """Return whether popular items stand in, as no source had any."""
        return bool(self.sources) and self.sources[0] == FALLBACK


@dataclass(frozen=True)
class Sources:
    """What is asked for candidates, and within which scope."""

    source: CandidateSource
    scope: Scope
    stock: Stock | None  # None: nothing is known of what is new or gone


def sources_for(
    request: RankingRequest,
    user: UserMatches,
    own: CandidateSource,
    mix: RetrievalMix,
    shelf: Shelf | None,
    described: CandidateSource | None = None,
) -> Sources:
    """Return what a request with a limit is to ask. Raises ``RankingRefusedError`` for filters without a catalogue."""
    stock = None if shelf is None else shelf.stock()
    scope = _scope(request, user.excluded if mix.exclude_seen else None, stock)
    if shelf is None or stock is None:
        return Sources(mix.without_catalogue(own, described), scope, stock)
    return Sources(mix.source(own, shelf.popular, described), scope, stock)


def retrieve(
    request: RankingRequest,
    user: UserMatches,
    own: CandidateSource,
    mix: RetrievalMix,
    shelf: Shelf | None,
    described: CandidateSource | None = None,
) -> Retrieved:
    """Find candidates for a request with a limit. Raises ``RankingRefusedError`` with the reason where there are none.

    ``described`` proposes new items by what they are. Where no source has any, popular items stand in, and their source
    says so; those that the user has seen only where there are no others.
    """
    sources = sources_for(request, user, own, mix, shelf, described)
    found = sources.source.propose(user, request.limit or 0, sources.scope)
    if shelf is None or sources.stock is None:
        text = None if mix.exclude_seen and described is None else mix.text
        return Retrieved(found.ids, found.sources, found.because_of, mix=text)
    if not found.ids:
        found = _popular(request, shelf, sources.scope, _scope(request, None, sources.stock))
    return Retrieved(found.ids, found.sources, found.because_of, sources.stock.catalogue.version, mix.text)


def retrieve_popular(
    request: RankingRequest, best: Sequence[Id], shelf: Shelf | None
) -> tuple[Sequence[Id], None, Sequence[str] | None]:
    """Return popular items within a request's limit, whoever asks, and their sources where there is a catalogue.

    ``best`` are the most popular ones at all. Raises ``RankingRefusedError`` for filters without a catalogue.
    """
    stock, limit = None if shelf is None else shelf.stock(), request.limit or 0
    scope = _scope(request, None, stock)
    if shelf is None or stock is None:
        return _without(best, scope.excluded, limit), None, None
    found = _popular(request, shelf, scope)
    return found.ids, None, [SOURCE] * len(found.ids)


def popular_instead(request: RankingRequest, best: Sequence[Id], found: Retrieved, seen: Keys | None) -> Retrieved:
    """Return the most popular items where no source has any and there is no catalogue, and that they are.

    ``seen`` ones stand in only where there are no others. Raises ``RankingRefusedError`` where the request excludes
    them all.
    """
    for hidden in (seen, None):
        ids = _without(best, _scope(request, hidden, None).excluded, request.limit or 0)
        if ids:
            return replace(found, ids=ids, sources=[FALLBACK] * len(ids))
    raise RankingRefusedError(NO_CANDIDATES, _nothing(request))


def _without(ids: Sequence[Id], excluded: Keys, limit: int) -> Sequence[Id]:
    """Return the first ``limit`` that are not excluded."""
    ids = ids[: limit + len(excluded)]
    if not len(excluded):
        return ids
    return [ids[at] for at in np.flatnonzero(~np.isin(id_keys(ids), excluded))[:limit].tolist()]


def _popular(request: RankingRequest, shelf: Shelf, *scopes: Scope) -> Proposals:
    """Return popular items within the first scope that holds any."""
    for scope in scopes:
        rows = shelf.popular.best(request.limit or 0, scope)
        ids = shelf.items.ids(rows) if len(rows) else _never_acted_on(request.limit or 0, scope)
        if ids:
            return Proposals(ids, [FALLBACK] * len(ids))
    raise RankingRefusedError(NO_CANDIDATES, _nothing(request))


def _never_acted_on(limit: int, scope: Scope) -> Sequence[Id]:
    """Return items of the catalogue that the item table lacks, by key: all that is left where nothing else passes."""
    if scope.stock is None:
        return ()
    catalogue = scope.stock.catalogue
    passed = ~np.isin(catalogue.keys, scope.excluded)
    return catalogue.ids(np.flatnonzero(passed if scope.passed is None else passed & scope.passed)[:limit])


def _nothing(request: RankingRequest) -> str:
    asked = "" if request.filters is None else f" that passes the filters ({told(request.filters)})"
    left = f" besides the {len(request.exclude):,} excluded" if request.exclude else ""
    return f"no item{left} can be had{asked}; ask for less"


def _scope(request: RankingRequest, seen: Keys | None, stock: Stock | None) -> Scope:
    """Return what a request may be answered with. Raises ``RankingRefusedError`` for filters without a catalogue."""
    if request.filters is not None and stock is None:
        raise RankingRefusedError(
            NO_CATALOGUE, "this worker has no catalogue to filter by; leave out filters, or start it with --catalogue"
        )
    named = id_keys(request.exclude or ())
    excluded = named if seen is None else seen if not len(named) else np.concatenate([seen, named])
    passed = None if request.filters is None or stock is None else passing(request.filters, stock.catalogue)
    return Scope(excluded, stock, passed, seed_of(request.user_id, request.request_id))
