"""The recipe of a bundle: all that is decided before training, and how a ranker is trained on frozen encoders.

The encoders are frozen first (``encoders.py``). The ranker then sees in training what it will see when it serves: user
vectors as the last daily refresh left them, session vectors and histories as of the request::

    day      |      1       |      2       |      3       |
    actions    a b            c d            e
    user vector of a request   as of day 2    as of day 3       never of the request's own day
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path

import numpy as np
import torch
from rich.progress import Progress

from rankstream.events.log import EventLog
from rankstream.events.log_kind import LogKind
from rankstream.events.public import movielens
from rankstream.features.actions import Vocabulary
from rankstream.features.join import OfflineFeatures
from rankstream.models.ranker.calibration import HeadCalibration, calibrate
from rankstream.models.ranker.examples import (
    NegativesConfig,
    RankingExample,
    ranking_examples,
    with_negatives,
    without_actions,
)
from rankstream.models.ranker.hybrid import HybridRanker, RankerConfig
from rankstream.models.ranker.impressions import impression_examples
from rankstream.models.ranker.training import RankerTraining, train_ranker
from rankstream.models.ranker.training_join import as_of_its_day, feature_sizes, offline_features
from rankstream.models.ranker.transact import TransActConfig
from rankstream.models.recipes.encoders import MAX_EPOCHS, PATIENCE, EncoderRecipe, TrainedEncoders
from rankstream.models.training.loop import FitConfig, FitHistory

VALIDATED_AMONG, VALIDATED_MATCHES = (
    150,
    300,
)  # random items, and matching ones, that a held-out request is ranked among
MAX_VALIDATED = 300  # held-out requests scored at each evaluation, each among hundreds of items
MAX_VALIDATED_LISTS = 3_000  # of shown lists, which are short


@dataclass(frozen=True)
class RankerRecipe:
    """Sizes and schedule of the ranker for a small log on two cores; ``paper_sizes.py`` has the paper's."""

    heads: Mapping[str, Sequence[str]]  # what is predicted -> the actions any of which makes it true
    utility: Mapping[str, float]  # weight of each head in the score
    num_actions: int = 20  # newest actions seen; 100 in the paper
    action_dim: int = 8  # 32 in the paper
    recent_outputs: int = 4  # K; 10 in the paper
    mask_window_ms: int = 0  # 24 h in the paper, 1 h in its code; in logs of one sitting both mask everything
    cross_rank: int | None = 32  # None, full rank, in the paper
    mlp: tuple[int, ...] = (64, 32)
    layers: int = 1  # of TransAct, 2 in the paper; two take twice as long
    impressions: bool = False  # requests are logged impressions (``ranker/impressions.py``), no negatives are sampled
    negatives: NegativesConfig = field(default_factory=lambda: NegativesConfig(exclude_seen=True))
    max_requests: int = 16_000  # of the log's, drawn at random
    strangers: float = 0.1  # share of them that are asked as by a user of whom no action is known
    seconds: float | None = 300.0  # at most, where no time is given for the whole training; None has no end
    training: RankerTraining = field(
        default_factory=lambda: RankerTraining(
            requests=32,
            softmax=1.0,
            hidden_items=0.05,
            fit=FitConfig(epochs=MAX_EPOCHS, learning_rate=3e-3, patience=PATIENCE),
        )
    )
    seed: int = 0


@dataclass(frozen=True)
class BundleRecipe:
    """All that is to be decided before training."""

    encoders: EncoderRecipe
    ranker: RankerRecipe
    # Share of the actions, in time, that encoders and item tables learn from; the ranker's requests come after them, so
    # that vectors and matches know nothing of its labels. The tables are then made anew of all actions, for serving.
    encoders_share: float = 0.85
    threads: int = 1  # of torch; a second one slows models this small: 226 CPU-seconds for what takes 41 with one


def recipe_for(log: LogKind, vocabulary: Vocabulary) -> BundleRecipe:
    """Return the recipe of a kind of log, at the demo's sizes; a head an action where the kind names none."""
    actions = set(vocabulary.actions)
    heads = {head: tuple(name for name in of if name in actions) for head, of in log.heads.items()}
    heads = {head: of for head, of in heads.items() if of} or {name: (name,) for name in vocabulary.actions}
    weights = log.utility or dict.fromkeys(log.positives, 1.0) | dict.fromkeys(log.negatives, -1.0)
    ranker = RankerRecipe(
        heads=heads,
        utility={head: weights.get(head, 0.0) for head in heads},
        mask_window_ms=log.mask_window_ms,
        impressions=log.exposures,
        negatives=NegativesConfig(exclude_seen=not log.repeats),
    )
    if log.exposures:  # what was shown is no draw from the catalogue
        ranker = replace(ranker, training=replace(ranker.training, softmax=0.0))
    encoders = EncoderRecipe(
        tuple(name for name in log.positives if name in actions),
        tuple(name for name in log.negatives if name in actions),
        rates=heads if log.exposures else {},
        exclude_seen=not log.repeats,
        matched=tuple(name for name in vocabulary.actions if _goes_together(name, log)),
    )
    return BundleRecipe(encoders, ranker, log.encoders_share)


def _goes_together(action: str, log: LogKind) -> bool:
    """Return whether items of a session go together by this action; of a log of impressions, only if it is positive."""
    return action in log.positives if log.exposures else action not in log.negatives


MOVIELENS = recipe_for(movielens.KIND, movielens.VOCABULARY)


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
    rng = np.random.default_rng(chosen.seed)
    examples = [as_of_its_day(one) for one in requests_of(log, chosen, offline, rng, since_ms, training=True)]
    examples.sort(key=lambda one: one.now_ms)
    held_out = examples[-max(1, len(examples) // 10) :]
    kept = rng.permutation(len(held_out))[: MAX_VALIDATED_LISTS if chosen.impressions else MAX_VALIDATED]
    validated = [held_out[at] for at in kept]
    if not chosen.impressions:
        among_all = replace(chosen.negatives, count=VALIDATED_AMONG, matched=VALIDATED_MATCHES)
        validated = with_negatives(validated, log, offline, among_all, rng)
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
        examples[: -len(held_out)],
        validated,
        offline,
        weights=[chosen.utility[head] for head in chosen.heads],
        checkpoints=work / "checkpoints" / "ranker",
        seconds=chosen.seconds if seconds == inf and chosen.seconds is not None else seconds,
        progress=progress,
        device=device,
    )
    ended = history.stopped != "time"
    calibration = calibrate(ranker, held_out, offline, chosen.seed) if chosen.impressions and ended else {}
    return TrainedRanker(ranker, history, calibration)


def requests_of(
    log: EventLog,
    recipe: RankerRecipe,
    offline: OfflineFeatures,
    rng: np.random.Generator,
    since_ms: int = 0,
    training: bool = False,
) -> list[RankingExample]:
    """Return the log's requests from a time on: sessions of impressions, or actions among sampled negatives."""
    if recipe.impressions:
        shown = list(impression_examples(log, recipe.heads, offline, since_ms=since_ms))
        return without_actions(shown, recipe.strangers, rng) if training else shown
    return ranking_examples(
        log,
        recipe.heads,
        offline,
        recipe.negatives,
        rng,
        since_ms=since_ms,
        max_requests=recipe.max_requests,
        strangers=recipe.strangers if training else 0.0,
        only_known=training,
    )
