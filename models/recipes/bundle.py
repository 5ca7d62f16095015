"""The recipe of a bundle: all that is decided before training, and how a ranker is trained on frozen encoders.

The encoders are frozen first (``encoders.py``). The ranker then sees in training what it will see when it serves: user
vectors as the last daily refresh left them, session vectors and histories as of the request::

    day      |      1       |      2       |      3       |
    actions    a b            c d            e
    user vector of a request   as of day 2    as of day 3       never of the request's own day
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

import numpy as np
import torch
from rich.progress import Progress

from rankstream.events.log import EventLog
from rankstream.events.log_kind import HOUR_MS, LogKind
from rankstream.events.public import movielens
from rankstream.features.actions import Vocabulary
from rankstream.features.join import OfflineFeatures
from rankstream.models.ranker.calibration import HeadCalibration, calibrate
from rankstream.models.ranker.examples import NegativesConfig, RankingExample, ranking_examples
from rankstream.models.ranker.hybrid import HybridRanker, RankerConfig
from rankstream.models.ranker.impressions import impression_examples
from rankstream.models.ranker.training import RankerTraining, train_ranker
from rankstream.models.ranker.training_join import as_of_its_day, offline_features
from rankstream.models.ranker.transact import TransActConfig
from rankstream.models.recipes.encoders import EncoderRecipe, TrainedEncoders
from rankstream.models.training.loop import FitConfig, FitHistory

MAX_VALIDATED = 150  # held-out requests scored at each evaluation; more would take longer and show no more


@dataclass(frozen=True)
class RankerRecipe:
    """Sizes and schedule of the ranker for a small log on two cores; ``paper_sizes.py`` has the paper's."""

    heads: Mapping[str, Sequence[str]]  # what is predicted -> the actions any of which makes it true
    utility: Mapping[str, float]  # weight of each head in the score
    num_actions: int = 20  # newest actions seen; 100 in the paper
    action_dim: int = 8  # 32 in the paper
    recent_outputs: int = 4  # K; 10 in the paper
    mask_window_ms: int = HOUR_MS  # 24 h in the paper, 1 h in its code; in logs of one sitting both mask everything
    cross_rank: int | None = 32  # None, full rank, in the paper
    mlp: tuple[int, ...] = (64, 32)
    layers: int = 2  # of TransAct
    impressions: bool = False  # requests are logged impressions (``ranker/impressions.py``), no negatives are sampled
    negatives: NegativesConfig = field(default_factory=lambda: NegativesConfig(count=8, exclude_seen=True))
    training: RankerTraining = field(
        default_factory=lambda: RankerTraining(
            requests=32, fit=FitConfig(steps=320, learning_rate=3e-3, evaluate_every=160)
        )
    )
    seed: int = 0


@dataclass(frozen=True)
class BundleRecipe:
    """All that is to be decided before training."""

    encoders: EncoderRecipe
    ranker: RankerRecipe
    # Share of the actions, in time, that encoders and item tables learn from; the ranker's requests come after them, so
    # encoders know nothing of its labels. Below 1 only for impressions: among sampled negatives, novelty would leak the
    # label.
    encoders_share: float = 1.0
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
        negatives=NegativesConfig(count=8, exclude_seen=not log.repeats),
    )
    encoders = EncoderRecipe(
        tuple(name for name in log.positives if name in actions),
        tuple(name for name in log.negatives if name in actions),
        exclude_seen=not log.repeats,
    )
    return BundleRecipe(encoders, ranker, log.encoders_share)


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

    Its metric is the mean NDCG@10 on the last tenth of the requests. On these it is calibrated too, if requests are
    impressions.
    """
    chosen = recipe.ranker
    offline = offline_features(log, encoders, chosen.num_actions, since_ms)
    rng = np.random.default_rng(chosen.seed)
    examples = [as_of_its_day(one) for one in requests_of(log, chosen, offline, rng, since_ms)]
    examples.sort(key=lambda one: one.now_ms)
    held_out = examples[-max(1, len(examples) // 10) :]
    kept = rng.permutation(len(held_out))[:MAX_VALIDATED]
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
        [held_out[at] for at in kept],
        offline,
        checkpoints=work / "checkpoints" / "ranker",
        seconds=seconds,
        progress=progress,
        device=device,
    )
    ended = history.stopped != "time"
    calibration = calibrate(ranker, held_out, offline, chosen.seed) if chosen.impressions and ended else {}
    return TrainedRanker(ranker, history, calibration)


def requests_of(
    log: EventLog, recipe: RankerRecipe, offline: OfflineFeatures, rng: np.random.Generator, since_ms: int = 0
) -> list[RankingExample]:
    """Return the log's requests from a time on: sessions of impressions, or actions among sampled negatives."""
    if recipe.impressions:
        return list(impression_examples(log, recipe.heads, offline, since_ms=since_ms))
    return ranking_examples(log, recipe.heads, offline, recipe.negatives, rng, since_ms=since_ms)
