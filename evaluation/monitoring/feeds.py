"""Feeds as columns: what users saw of each, what it was made from, and what was then done to it.

::

    ranked-feeds            ->  feeds        (n,)    time, user, model, its inputs, errors
                                positions    (n, K)  probabilities of calibrated heads, what proposed the item
    user-actions, joined    ->  taken        (n, K)  of each kind of action
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from msgspec import UnsetType

from rankstream.evaluation.attribution import rewards_of
from rankstream.events.arrivals import Arrivals
from rankstream.features.ids import Keys, id_bytes, id_keys
from rankstream.metrics.arrays import Bools, Floats
from rankstream.ranking.request import FeedItem
from rankstream.streams.codec import RankedFeed

TWICE = "an answer that came twice"
NO_SOURCE = "request"  # the request named its candidates, or there is one source alone


@dataclass(frozen=True)
class SeenFeed:
    """One answer, and the first positions of it; an error has none."""

    user: bytes
    at_ms: int
    model: str
    items: Keys  # (k,)
    sources: tuple[str, ...]  # (k,) what proposed each
    probabilities: Mapping[str, Floats]  # (k,) of each calibrated head
    actions_used: int
    age_ms: int | None  # of the newest action; None for a user without any
    unknown_items: int
    is_fallback: bool
    is_error: bool
    variant: str = ""  # of an experiment; empty outside one
    share: float | None = None  # of all users that the treatment was to have then; None outside an experiment

    @property
    def content(self) -> bytes:
        """Return what tells it from another feed of its user and time."""
        return self.items.tobytes() + self.model.encode()


def seen_feeds(feeds: Iterable[RankedFeed], positions: int, skipped: Counter[str]) -> list[SeenFeed]:
    """Read feeds, oldest first, each request once; what can't be used is counted by reason."""
    found, known = [], set[tuple[bytes, bytes]]()
    for feed in feeds:
        request = id_bytes(feed.user_id), id_bytes(feed.request_id)
        if request in known:
            skipped[TWICE] += 1
            continue
        known.add(request)
        found.append(_seen(feed, positions))
    return sorted(found, key=lambda one: (one.at_ms, one.user, one.content))


def _seen(feed: RankedFeed, positions: int) -> SeenFeed:
    items: Sequence[FeedItem] = [] if isinstance(feed.items, UnsetType) else feed.items[:positions]
    heads = [] if isinstance(feed.calibrated, UnsetType) else feed.calibrated
    return SeenFeed(
        user=id_bytes(feed.user_id),
        at_ms=feed.ranked_at_ms,
        model="" if isinstance(feed.model_version, UnsetType) else feed.model_version,
        items=id_keys([item.item_id for item in items]),
        sources=tuple(NO_SOURCE if isinstance(item.source, UnsetType) else item.source for item in items),
        probabilities={
            head: np.array([item.probabilities[head] for item in items])
            for head in heads
            if all(head in item.probabilities for item in items)
        },
        actions_used=0 if isinstance(feed.actions_used, UnsetType) else feed.actions_used,
        age_ms=None if isinstance(feed.newest_action_age_ms, UnsetType) else feed.newest_action_age_ms,
        unknown_items=0 if isinstance(feed.unknown_items, UnsetType) else feed.unknown_items,
        is_fallback=not isinstance(feed.fallback, UnsetType),
        is_error=isinstance(feed.items, UnsetType),
        variant="" if isinstance(feed.variant, UnsetType) else feed.variant,
        share=None if isinstance(feed.variant_share, UnsetType) else feed.variant_share,
    )


@dataclass(frozen=True)
class Outcomes:
    """Feeds with what was then done to what they showed."""

    feeds: Sequence[SeenFeed]  # oldest first
    taken: Mapping[str, Bools]  # (n, K) of each kind of action that counts

    @classmethod
    def of(
        cls,
        feeds: Sequence[SeenFeed],
        actions: Sequence[Arrivals],
        codes: Mapping[str, int],
        positions: int,
        within_ms: int,
    ) -> "Outcomes":
        """Join feeds with actions of these names, by their codes."""
        taken = {
            name: rewards_of(feeds, actions, {code: 1.0}, positions, within_ms) > 0 for name, code in codes.items()
        }
        return cls(feeds, taken)

    @cached_property
    def users(self) -> Keys:
        """Return a number of each feed's user, ``(n,)``."""
        numbers: dict[bytes, int] = {}
        return np.array([numbers.setdefault(one.user, len(numbers)) for one in self.feeds], np.uint64)

    @cached_property
    def shown(self) -> Bools:
        """Return which positions showed an item, ``(n, K)``."""
        positions = next(iter(self.taken.values())).shape[1]
        filled = np.array([len(one.items) for one in self.feeds], np.int64)
        return np.arange(positions) < filled[:, None]

    @cached_property
    def any_taken(self) -> Bools:
        """Return where any action that counts followed, ``(n, K)``."""
        return np.logical_or.reduce(list(self.taken.values()), axis=0)  # type: ignore[no-any-return]

    def at(self, name: str) -> Floats:
        """Return a number of each feed, ``(n,)``, NaN where it has none: an attribute of ``SeenFeed``."""
        return np.array([np.nan if (value := getattr(one, name)) is None else value for one in self.feeds], np.float64)
