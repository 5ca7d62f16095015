"""The ranker on frozen encoders: its requests, its training, its calibration.

It sees in training what it will see when it serves: user vectors and item counts as the last daily refresh left them,
session vectors and histories as of the request::

    day      |      1       |      2       |      3       |
    actions    a b            c d            e
    user vector and counts     as of day 2    as of day 3       never of the request's own day
    of a request
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from math import inf
from pathlib import Path

import numpy as np
import torch
from rich.progress import Progress

from rankstream.events.log import EventLog
from rankstream.features.actions import MAX_TIME_MS
from rankstream.features.embeddings.memory import ItemTable
from rankstream.features.join import OfflineFeatures
from rankstream.models.items.item_counts import counted
from rankstream.models.ranker.calibration import HeadCalibration, calibrate
from rankstream.models.ranker.examples import (
    NegativesConfig,
    RankingExample,
    pool_of,
    ranking_examples,
    with_negatives,
    without_actions,
)
from rankstream.models.ranker.hybrid import HybridRanker, RankerConfig
from rankstream.models.ranker.impressions import impression_examples
from rankstream.models.ranker.joined import JoinedRequest, JoinedRequests, joined_requests
from rankstream.models.ranker.training import train_ranker
from rankstream.models.ranker.training_join import (
    FrozenEncoders,
    as_of_its_day,
    counting_times,
    feature_sizes,
    offline_features,
    to_float16,
)
from rankstream.models.ranker.transact import TransActConfig
from rankstream.models.recipes.bundle import BundleRecipe, RankerRecipe
from rankstream.models.recipes.encoders import EncoderRecipe, TrainedEncoders
from rankstream.models.training.loop import FitHistory

VALIDATED_AMONG, VALIDATED_MATCHES = 150, 300  # random and matching items that a held-out request is ranked among
MAX_VALIDATED = 300  # held-out requests scored at each evaluation, each among hundreds of items
MAX_LISTS = 4_000  # held-out lists, which are short, to validate and to calibrate with


@dataclass(frozen=True)
class TrainedRanker:
    """What training a ranker returns."""

    ranker: HybridRanker
    history: FitHistory
    calibration: Mapping[str, HeadCalibration]  # of the heads whose numbers are probabilities; the others' are scores


def train_on_top(
    log: EventLog,
    encoders: TrainedEncoders,
    recipe: BundleRecipe,
    work: Path,
    progress: Progress | None = None,
    *,
    since_ms: int = 0,
    seconds: float = inf,
    device: torch.device | None = None,
) -> TrainedRanker:
    """Train the ranker on frozen encoders, on requests from ``since_ms`` on.

    Its metric is NDCG@10 on the last tenth of the requests. Where requests are impressions it is the heads' AUC, and on
    these requests the heads are calibrated too.
    """
    chosen = recipe.ranker
    sizes = feature_sizes(log.vocabulary, encoders, chosen.num_actions)
    offline = offline_features(log, encoders, sizes, since_ms)
    requests, held_out = requests_as_of_their_days(log, encoders, recipe, offline, since_ms)
    transact = TransActConfig(
        num_types=len(log.vocabulary.actions),
        item_dim=encoders.item_table.dim,
        action_dim=chosen.action_dim,
        layers=chosen.layers,
        recent_outputs=chosen.recent_outputs,
        mask_window_ms=chosen.mask_window_ms,
    )
    config = RankerConfig(transact, offline.sizes, tuple(chosen.heads), cross_rank=chosen.cross_rank, mlp=chosen.mlp)
    ranker, history = train_ranker(
        config,
        chosen.training,
        requests,
        held_out,
        weights=[chosen.utility[head] for head in chosen.heads],
        checkpoints=work / "checkpoints" / "ranker",
        seconds=chosen.seconds if seconds == inf and chosen.seconds is not None else seconds,
        progress=progress,
        device=device,
    )
    ended = history.stopped != "time"
    calibration = calibrate(ranker, held_out, chosen.seed) if chosen.impressions and ended else {}
    return TrainedRanker(ranker, history, calibration)


def requests_as_of_their_days(
    log: EventLog, encoders: FrozenEncoders, recipe: BundleRecipe, offline: OfflineFeatures, since_ms: int
) -> tuple[JoinedRequests, JoinedRequests]:
    """Return the requests to learn from, and those of the last tenth to validate with, each as of its day.

    Where nothing was held back for the ranker (``since_ms`` of 0), all see what was counted of the whole log.
    """
    chosen, rng = recipe.ranker, np.random.default_rng(recipe.ranker.seed)
    alone = replace(chosen, negatives=replace(chosen.negatives, count=0, matched=0))
    examples = sorted(requests_of(log, alone, offline, rng, since_ms, only_known=True), key=_time)
    cut = len(examples) - max(1, len(examples) // 10)
    most = MAX_LISTS if chosen.impressions else MAX_VALIDATED
    held_out = [examples[row] for row in np.sort(cut + rng.permutation(len(examples) - cut)[:most]).tolist()]
    # Few of a log's actions are a user's first, and feeds of users without actions are to be learned too.
    earlier = sorted([*examples[:cut], *without_actions(examples[:cut], chosen.strangers, rng)], key=_time)
    pool = None if chosen.impressions else pool_of(log, offline)  # what was shown has its own negatives
    among_all = replace(chosen.negatives, count=VALIDATED_AMONG, matched=VALIDATED_MATCHES)

    def joined(some: list[RankingExample], at: OfflineFeatures, negatives: NegativesConfig) -> Iterator[JoinedRequest]:
        drawn = some if pool is None else with_negatives(some, pool, at, negatives, rng)
        return joined_requests([as_of_its_day(one) for one in drawn], at)

    learned: list[JoinedRequest] = []
    validated: list[JoinedRequest] = []
    times = counting_times(since_ms, int(log.times_ms[-1]) + 1, len(log)) if since_ms else [0]
    for time_ms, end_ms in pairwise([*times, MAX_TIME_MS]):
        now, later = _between(earlier, time_ms, end_ms), _between(held_out, time_ms, end_ms)
        if now or later:
            at = offline if time_ms == since_ms else _counted_by(time_ms, log, encoders, recipe.encoders, offline)
            learned += joined(now, at, chosen.negatives)
            validated += joined(later, at, among_all)
    return JoinedRequests(offline.items, learned), JoinedRequests(offline.items, validated)


def _time(one: RankingExample) -> int:
    return one.now_ms


def _between(examples: list[RankingExample], from_ms: int, until_ms: int) -> list[RankingExample]:
    """Return the requests of ``[from_ms, until_ms)``, of sorted ones."""
    return examples[bisect_left(examples, from_ms, key=_time) : bisect_left(examples, until_ms, key=_time)]


def _counted_by(
    time_ms: int, log: EventLog, encoders: FrozenEncoders, recipe: EncoderRecipe, offline: OfflineFeatures
) -> OfflineFeatures:
    """Return the tables with items counted as of a time."""
    counts = counted(log.split_at(time_ms)[0], encoders.item_table, recipe.matched, recipe.rates)
    features = to_float16(ItemTable(encoders.item_table.ids, counts.features))
    return replace(offline, item_features=features, matches=counts.matches)


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
