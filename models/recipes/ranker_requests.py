"""The ranker's requests as of their days, with what is drawn beside what was shown or acted on.

::

    log of actions    each action               among drawn items                     learned, validated
    shown lists       as they were              what was shown has its own negatives  learned, validated
                      some, where one was taken among drawn items, too                learned, retrieved

A list says what comes of what is shown. That it was chosen of a catalogue, and what is never shown, it does not say:
a ranker of lists alone would order what retrieval finds by what it has never seen (sample selection bias; ESMM, Ma et
al., SIGIR 2018, learns over the entire space for that reason).
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np

from rankstream.events.log import EventLog
from rankstream.features.actions import MAX_TIME_MS
from rankstream.features.embeddings.base import VectorTable
from rankstream.features.embeddings.memory import ItemTable
from rankstream.features.join import DAY_MS, OfflineFeatures
from rankstream.models.items.fold_in import folded_in
from rankstream.models.items.item_counts import counted, with_newcomers
from rankstream.models.items.item_features import item_features
from rankstream.models.ranker.examples import (
    NegativePool,
    NegativesConfig,
    RankingExample,
    beside_lists,
    pool_of,
    ranking_examples,
    with_negatives,
    without_actions,
)
from rankstream.models.ranker.impressions import impression_examples
from rankstream.models.ranker.joined import JoinedRequest, JoinedRequests, joined_requests
from rankstream.models.ranker.training_join import (
    FrozenEncoders,
    as_of_its_day,
    counting_interval_ms,
    counting_times,
    matching_times,
    to_float16,
)
from rankstream.models.recipes.bundle import BundleRecipe, RankerRecipe
from rankstream.models.recipes.encoders import EncoderRecipe

VALIDATED_AMONG, VALIDATED_MATCHES = 150, 300  # random and matching items that a held-out request is ranked among
USES = LEARNED, VALIDATED, RETRIEVED = "learned", "validated", "retrieved"
MAX_VALIDATED = 300  # held-out requests scored at each evaluation, each among hundreds of items
MAX_LISTS = 4_000  # held-out lists, which are short, to validate and to calibrate with
Draw = Callable[[list[RankingExample], OfflineFeatures], list[RankingExample]]  # with what is drawn, as of a time


@dataclass(frozen=True)
class RankerRequests:
    """Requests by their use."""

    learned: JoinedRequests
    validated: JoinedRequests  # those of the last tenth: shown lists as they were, or actions among drawn items
    retrieved: JoinedRequests  # shown lists of the last tenth among drawn items, as retrieval would have them
    held_out_ms: int | None = field(default=None, kw_only=True)  # what comes from then on, nothing has learned


def requests_as_of_their_days(
    log: EventLog, encoders: FrozenEncoders, recipe: BundleRecipe, offline: OfflineFeatures, since_ms: int
) -> RankerRequests:
    """Return the requests to learn from, and those of the last tenth to validate with, each as of its day.

    Where nothing was held back for the ranker (``since_ms`` of 0), all see what was counted of the whole log.
    """
    chosen, rng = recipe.ranker, np.random.default_rng(recipe.ranker.seed)
    alone = replace(chosen, negatives=replace(chosen.negatives, count=0, matched=0))
    examples = sorted(requests_of(log, alone, offline, rng, since_ms, only_known=True), key=_time)
    cut = len(examples) - max(1, len(examples) // 10)
    most = MAX_LISTS if chosen.impressions else MAX_VALIDATED
    held_out = [examples[row] for row in np.sort(cut + rng.permutation(len(examples) - cut)[:most]).tolist()]
    held_out_ms = examples[cut - 1].now_ms + 1 if since_ms and cut > 0 else None
    # Few of a log's actions are a user's first, and feeds of users without actions are to be learned too.
    earlier = sorted([*examples[:cut], *without_actions(examples[:cut], chosen.strangers, rng)], key=_time)
    if chosen.impressions and not chosen.beside_lists:
        some: Sequence[_Part] = (_Part(LEARNED, earlier, _alone), _Part(VALIDATED, held_out, _alone))
    else:
        parts = _of_lists if chosen.impressions else _of_actions
        some = parts(earlier, held_out, chosen, pool_of(log, offline), rng)
    counts = _CountsOverTime(log, encoders, recipe.encoders, offline)
    asked_ms = [one.now_ms for part in some for one in part.examples]
    for time_ms, end_ms in pairwise([*counts.times(since_ms, asked_ms), MAX_TIME_MS]):
        now = [_between(part.examples, time_ms, end_ms) for part in some]
        if any(now):
            at = offline if time_ms == since_ms else counts.as_of(time_ms)
            for part, examples in zip(some, now, strict=True):
                asked = [as_of_its_day(one) for one in part.draw(examples, at)]
                part.joined += joined_requests(asked, at, offline.items)
    found = {use: [one for part in some if part.use == use for one in part.joined] for use in USES}
    learned, validated, retrieved = (JoinedRequests(offline.items, found[use]) for use in USES)
    return RankerRequests(learned, validated, retrieved, held_out_ms=held_out_ms)


@dataclass
class _Part:
    """Requests of one use, how items are drawn for them, and what came of joining them."""

    use: str
    examples: list[RankingExample]  # by time
    draw: Draw
    joined: list[JoinedRequest] = field(default_factory=list)


def _of_actions(
    earlier: list[RankingExample],
    held_out: list[RankingExample],
    recipe: RankerRecipe,
    pool: NegativePool,
    rng: np.random.Generator,
) -> Sequence[_Part]:
    """Return the requests of a log of actions: all are among drawn items."""

    def drawn(negatives: NegativesConfig) -> Draw:
        return lambda some, at: with_negatives(some, pool, at, negatives, rng)

    return (
        _Part(LEARNED, earlier, drawn(recipe.negatives)),
        _Part(VALIDATED, held_out, drawn(_among_all(recipe.negatives))),
    )


def _of_lists(
    earlier: list[RankingExample],
    held_out: list[RankingExample],
    recipe: RankerRecipe,
    pool: NegativePool,
    rng: np.random.Generator,
) -> Sequence[_Part]:
    """Return shown lists, which have their own negatives; beside some of them items are drawn, too."""

    def drawn(negatives: NegativesConfig) -> Draw:
        return lambda some, at: beside_lists(some, pool, at, negatives, rng)

    among, others = _with_taken(earlier, recipe.beside_lists, rng)
    retrieved, _ = _with_taken(held_out, MAX_VALIDATED, rng)
    return (
        _Part(LEARNED, others, _alone),
        _Part(LEARNED, among, drawn(recipe.negatives)),
        _Part(VALIDATED, held_out, _alone),
        _Part(RETRIEVED, retrieved, drawn(_among_all(recipe.negatives))),
    )


def _alone(some: list[RankingExample], at: OfflineFeatures) -> list[RankingExample]:
    return some


def _among_all(negatives: NegativesConfig) -> NegativesConfig:
    return replace(negatives, count=VALIDATED_AMONG, matched=VALIDATED_MATCHES)


def _with_taken(
    lists: list[RankingExample], most: int, rng: np.random.Generator
) -> tuple[list[RankingExample], list[RankingExample]]:
    """Return up to so many of the lists of which something was taken, drawn at random, and all others."""
    taken = np.flatnonzero([one.labels.any() for one in lists])
    chosen = set(rng.permutation(taken)[:most].tolist())
    return [one for at, one in enumerate(lists) if at in chosen], [
        one for at, one in enumerate(lists) if at not in chosen
    ]


def _time(one: RankingExample) -> int:
    return one.now_ms


def _between(examples: list[RankingExample], from_ms: int, until_ms: int) -> list[RankingExample]:
    """Return the requests of ``[from_ms, until_ms)``, of sorted ones."""
    return examples[bisect_left(examples, from_ms, key=_time) : bisect_left(examples, until_ms, key=_time)]


class _CountsOverTime:
    """The tables as of boundaries, as daily and hourly jobs would have made them."""

    def __init__(
        self, log: EventLog, encoders: FrozenEncoders, recipe: EncoderRecipe, offline: OfflineFeatures
    ) -> None:
        self._log, self._encoders, self._recipe, self._offline = log, encoders, recipe, offline
        self._items, self._folded_by = encoders.item_table, -1  # vectors, and the day that they are as of
        self._matches, self._left = offline.matches, list[int]()  # the newest, and when new ones are made

    def times(self, since_ms: int, asked_ms: Sequence[int]) -> list[int]:
        """Return the boundaries for requests of these times, the first of them ``since_ms``.

        There is nothing else where nothing was held back.
        """
        if not since_ms:
            return [0]
        every_ms = counting_interval_ms(self._log)
        times_ms = counting_times(since_ms, np.array(asked_ms, np.int64), len(self._log), every_ms)
        self._left = matching_times(times_ms, len(self._log), every_ms)[1:]
        return times_ms

    def as_of(self, time_ms: int) -> OfflineFeatures:
        """Return the tables with items counted as of a time, one of ``times`` after the other.

        Where a log says what was shown, so are items that came after the encoders' part, with vectors as of the day by
        those that they occurred beside: a ranker that never met any would have nothing to order them by.
        """
        past = self._log.split_at(time_ms)[0]
        if past.impressions is None:
            return self._counted(past, time_ms, self._encoders.item_table, self._offline.items)
        if time_ms // DAY_MS != self._folded_by:
            self._folded_by = time_ms // DAY_MS
            self._items = folded_in(self._encoders.item_table, self._log.split_at(self._folded_by * DAY_MS)[0])
        return self._counted(past, time_ms, with_newcomers(self._items, past), to_float16(self._items))

    def _counted(self, past: EventLog, time_ms: int, items: ItemTable, vectors: VectorTable) -> OfflineFeatures:
        if self._left and time_ms >= self._left[0]:
            self._left = self._left[bisect_right(self._left, time_ms) :]
            counts = counted(past, items, self._recipe.matched, self._recipe.rates)
            features, self._matches = counts.features, counts.matches
        else:
            features, _ = item_features(past, items, self._recipe.rates)
        table = to_float16(replace(items, vectors=features))
        return replace(self._offline, items=vectors, item_features=table, matches=self._matches)


def requests_of(
    log: EventLog,
    recipe: RankerRecipe,
    offline: OfflineFeatures,
    rng: np.random.Generator,
    since_ms: int = 0,
    only_known: bool = False,
) -> list[RankingExample]:
    """Return the log's requests from a time on: sessions of impressions, or actions among sampled negatives.

    With ``only_known``, actions on items without a vector are no positives among sampled negatives.
    """
    if recipe.impressions:
        return list(impression_examples(log, recipe.heads, offline, since_ms=since_ms))
    return ranking_examples(
        log,
        recipe.heads,
        offline,
        recipe.negatives,
        rng,
        since_ms=since_ms,
        max_requests=recipe.max_requests,
        only_known=only_known,
    )
