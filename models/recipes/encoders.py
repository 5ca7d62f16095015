"""The encoders' recipe for a log: item vectors, then HierTCN, which fine-tunes them, then PinnerFormer.

Everything is learned from actions before ``until_ms``, each encoder until its validation stalls. The ranker is trained
on top of these (``bundle.py``): it needs them frozen, as serving has them.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path

import torch
from rich.progress import Progress

from rankstream.events.log import EventLog
from rankstream.features.attributes.table import ItemAttributes, no_attributes
from rankstream.features.embeddings.memory import ItemTable
from rankstream.features.matches.tables import MatchTables
from rankstream.features.profiles import UserProfiles, no_profiles
from rankstream.features.schema import Floats
from rankstream.models.items.cooccurrence import ItemVectorConfig, train_item_vectors
from rankstream.models.items.fold_in import folded_in
from rankstream.models.items.item_counts import counted
from rankstream.models.recipes.run_folder import HIERTCN_WEIGHTS, PINNERFORMER_WEIGHTS
from rankstream.models.sessions import hiertcn_training as hier
from rankstream.models.sessions.hiertcn import HierTCN, HierTCNConfig
from rankstream.models.training.checkpoints import save_weights
from rankstream.models.training.distributed import team
from rankstream.models.training.loop import FitConfig, FitHistory
from rankstream.models.training.time_limit import TimeLimit, seconds_of_work
from rankstream.models.users import pinnerformer_training as pinner
from rankstream.models.users.pinnerformer import PinnerFormer, PinnerFormerConfig

MAX_EPOCHS = 100  # never reached by a log that can be learned from: the validation stalls before
PATIENCE = 3  # evaluations
POOL = 2048  # items that HierTCN's loss samples for a batch where there are too many to score all
TIME_SHARE = 0.25  # of a training's time, for each encoder at most; the ranker has the rest


@dataclass(frozen=True)
class EncoderRecipe:
    """Sizes and schedules for a small log (MovieLens-100K) on two cores; ``paper_sizes.py`` has those of the papers."""

    positives: tuple[str, ...]  # positive feedback: PinnerFormer's labels
    negatives: tuple[str, ...] = ()  # negative feedback: no label, no co-occurrence
    matched: tuple[str, ...] = ()  # actions that make two items of a session go together; none: no match features
    rates: Mapping[str, Sequence[str]] = field(default_factory=dict)  # of what was shown, a feature of items each
    exclude_seen: bool = True  # when measuring; False where consumption repeats, as in music
    max_scored: int = 10_000  # items that HierTCN's loss scores; of more, it samples a pool for each batch
    items: ItemVectorConfig = field(default_factory=ItemVectorConfig)
    learn_items: bool = True  # their vectors are fine-tuned with HierTCN
    user_dim: int = 64
    user_hidden: int = 64
    user_layers: int = 1  # two gain nothing on 80,000 actions, and take twice as long
    user_heads: int = 4
    user_actions: int = 100  # newest ones that a user vector is made of
    session_hidden: int = 64
    session_state: int = 64
    session_state_layers: int = 1
    session_channels: tuple[int, ...] = (64, 64, 64)
    seconds: float | None = 210.0  # of work of each at most, where no time is given for the whole; None: no end
    pinnerformer: pinner.PinnerFormerTraining = field(
        default_factory=lambda: pinner.PinnerFormerTraining(
            users=32, positions=32, fit=FitConfig(epochs=MAX_EPOCHS, learning_rate=3e-3, patience=PATIENCE)
        )
    )
    hiertcn: hier.HierTCNTraining = field(
        default_factory=lambda: hier.HierTCNTraining(
            fit=FitConfig(epochs=MAX_EPOCHS, learning_rate=3e-3, patience=PATIENCE)
        )
    )


@dataclass(frozen=True)
class TrainedEncoders:
    """What the recipe makes; models in eval mode on the CPU."""

    item_table: ItemTable
    features: Floats  # (items, F)
    feature_names: tuple[str, ...]
    matches: MatchTables
    pinnerformer: PinnerFormer
    hiertcn: HierTCN
    pinnerformer_history: FitHistory
    hiertcn_history: FitHistory
    attributes: ItemAttributes = field(default_factory=no_attributes)  # of a catalogue, where one was given
    profiles: UserProfiles = field(default_factory=no_profiles)  # of a file of users, where one was given


class OutOfTimeError(Exception):
    """The time budget is used up; the same call continues from the checkpoints. The message names the step reached."""


def train_encoders(
    log: EventLog,
    until_ms: int,
    recipe: EncoderRecipe,
    folder: Path,
    *,
    seconds: float = inf,
    progress: Progress | None = None,
    device: torch.device | None = None,
) -> TrainedEncoders:
    """Train on the log's actions before ``until_ms`` and save weights in ``folder``.

    A run that was stopped is continued from the checkpoints in ``folder``. Each encoder ends within its share of so
    many ``seconds``, those of the whole training; one with a fixed number of steps is interrupted by their end, and
    ``OutOfTimeError`` raised: what is to be trained on these encoders must find them finished.
    """
    begun = time.monotonic()
    past, _ = log.split_at(until_ms)
    occurring = train_item_vectors(past, recipe.items, recipe.negatives)
    session_config = session_config_of(recipe, occurring)
    sessions = hier.train_hiertcn(
        past,
        occurring,
        session_config,
        replace(recipe.hiertcn, exclude_seen=recipe.exclude_seen, pool=pool_of(recipe, occurring)),
        learn_items=recipe.learn_items,
        without=recipe.negatives,
        checkpoints=folder / "checkpoints" / "hiertcn",
        limit=limit_of(recipe, recipe.hiertcn.fit, seconds, begun, device),
        progress=progress,
        device=device,
    )
    finished("HierTCN", sessions.history, recipe.hiertcn.fit)
    item_table = sessions.item_table
    counts = counted(past, item_table, recipe.matched, recipe.rates)
    user_config = user_config_of(recipe, log, item_table)
    user_model, user_history = pinner.train_pinnerformer(
        past,
        item_table,
        recipe.positives,
        user_config,
        replace(recipe.pinnerformer, exclude_seen=recipe.exclude_seen),
        checkpoints=folder / "checkpoints" / "pinnerformer",
        limit=limit_of(recipe, recipe.pinnerformer.fit, seconds, begun, device),
        progress=progress,
        device=device,
    )
    finished("PinnerFormer", user_history, recipe.pinnerformer.fit)
    if team().writes:
        save_weights(folder / PINNERFORMER_WEIGHTS, user_model.cpu(), user_config)
        save_weights(folder / HIERTCN_WEIGHTS, sessions.model.cpu(), session_config)
    return TrainedEncoders(
        item_table,
        counts.features,
        counts.feature_names,
        counts.matches,
        user_model.cpu(),
        sessions.model.cpu(),
        user_history,
        sessions.history,
    )


def brought_up_to_date(encoders: TrainedEncoders, log: EventLog, recipe: EncoderRecipe) -> TrainedEncoders:
    """Return the encoders with tables of the whole ``log``: what serves, once the ranker is trained.

    The vectors that the ranker was trained on stay as they are; only what is counted is counted anew.
    """
    item_table = folded_in(encoders.item_table, log)
    counts = counted(log, item_table, recipe.matched, recipe.rates)
    return replace(
        encoders,
        item_table=item_table,
        features=counts.features,
        feature_names=counts.feature_names,
        matches=counts.matches,
    )


def pool_of(recipe: EncoderRecipe, item_table: ItemTable) -> int | None:
    """Return how many items HierTCN's loss samples for a batch; None where it scores all, or as the recipe says."""
    chosen = recipe.hiertcn.negatives is not None or recipe.hiertcn.pool is not None
    return recipe.hiertcn.pool if chosen or len(item_table) <= recipe.max_scored else POOL


def limit_of(
    recipe: EncoderRecipe, config: FitConfig, seconds: float, begun: float, device: torch.device | None
) -> TimeLimit:
    """Return how long an encoder may train, of the ``seconds`` of a training that began at ``begun``, monotonic."""
    if config.epochs is None:
        return TimeLimit(seconds - (time.monotonic() - begun))
    if seconds < inf or recipe.seconds is None:
        return TimeLimit(seconds * TIME_SHARE)
    return seconds_of_work(recipe.seconds, device)


def finished(name: str, history: FitHistory, config: FitConfig) -> None:
    """Raise ``OutOfTimeError`` if the clock interrupted a model's training; one by epochs it ended for good."""
    if history.stopped == "time" and config.epochs is None:
        raise OutOfTimeError(f"{name} is at step {history.steps:,} of {config.steps:,}")


def user_config_of(recipe: EncoderRecipe, log: EventLog, item_table: ItemTable) -> PinnerFormerConfig:
    """Return PinnerFormer's sizes."""
    return PinnerFormerConfig(
        action_types=len(log.vocabulary.actions),
        surfaces=len(log.vocabulary.surfaces),
        num_actions=recipe.user_actions,
        item_dim=item_table.dim,
        user_dim=recipe.user_dim,
        hidden=recipe.user_hidden,
        layers=recipe.user_layers,
        heads=recipe.user_heads,
    )


def session_config_of(recipe: EncoderRecipe, item_table: ItemTable) -> HierTCNConfig:
    """Return HierTCN's sizes."""
    return HierTCNConfig(
        item_dim=item_table.dim,
        hidden=recipe.session_hidden,
        state_layers=recipe.session_state_layers,
        layer_state=recipe.session_state,
        channels=recipe.session_channels,
    )
