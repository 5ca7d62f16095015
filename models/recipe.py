"""The whole recipe for a log: item vectors, then PinnerFormer, then HierTCN, each on what came before.

Everything is learned from actions before ``until_ms``; what came later is only for measuring. The ranker is trained on
top of these (``ranker.py``): it needs them frozen, as serving has them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from rich.progress import Progress

from features.schema import Floats
from models import train_hiertcn as hier
from models import train_pinnerformer as pinner
from models.datasets.base import EventLog
from models.hiertcn import HierTCN, HierTCNConfig
from models.item_vectors import ItemVectorConfig, item_features, train_item_vectors
from models.measure import chance_recall, future_cases, next_item_cases, recall, recall_of_scores
from models.pinnerformer import PinnerFormer, PinnerFormerConfig
from models.timelines import Catalogue, Ints, Timelines, timelines_of
from models.train import FitConfig, FitHistory
from models.weights import save_weights

PINNERFORMER_WEIGHTS = "pinnerformer.pt"
HIERTCN_WEIGHTS = "hiertcn.pt"
MOST_CASES = 3000  # of a measurement


@dataclass(frozen=True)
class EncoderRecipe:
    """Sizes and times for a small log (MovieLens-100K) on two cores; larger logs want the papers' sizes."""

    positives: tuple[str, ...]  # actions that users come for: PinnerFormer's labels
    negatives: tuple[str, ...] = ()  # actions that push away: no label, no nearness
    exclude_seen: bool = True  # measuring: False where users come back to the same items, as in music
    items: ItemVectorConfig = field(default_factory=ItemVectorConfig)
    user_dim: int = 64
    user_hidden: int = 64
    user_layers: int = 1  # two gain nothing on 80,000 actions, and take twice as long
    session_hidden: int = 64
    session_state: int = 64
    pinnerformer: pinner.PinnerFormerTraining = field(
        default_factory=lambda: pinner.PinnerFormerTraining(
            users=32, positions=32, fit=FitConfig(steps=200, learning_rate=3e-3, evaluate_every=100)
        )
    )
    hiertcn: hier.HierTCNTraining = field(
        default_factory=lambda: hier.HierTCNTraining(fit=FitConfig(steps=160, learning_rate=3e-3, evaluate_every=80))
    )


@dataclass(frozen=True)
class TrainedEncoders:
    """What the recipe gives; models in eval mode on the CPU."""

    catalogue: Catalogue
    features: Floats  # (items, F)
    feature_names: tuple[str, ...]
    pinnerformer: PinnerFormer
    hiertcn: HierTCN
    pinnerformer_history: FitHistory
    hiertcn_history: FitHistory


def train_encoders(
    log: EventLog,
    until_ms: int,
    recipe: EncoderRecipe,
    folder: Path,
    *,
    seconds: float = float("inf"),
    progress: Progress | None = None,
    device: torch.device | None = None,
) -> TrainedEncoders:
    """Train on the log's actions before ``until_ms`` and save weights in ``folder``.

    A run that was stopped is continued from the checkpoints in ``folder``. ``seconds`` is shared by both models.
    """
    past, _ = log.split_at(until_ms)
    catalogue = train_item_vectors(past, recipe.items, recipe.negatives)
    features, names = item_features(past, catalogue)
    user_config = PinnerFormerConfig(
        action_types=len(log.vocabulary.actions),
        surfaces=len(log.vocabulary.surfaces),
        item_dim=catalogue.dim,
        user_dim=recipe.user_dim,
        hidden=recipe.user_hidden,
        layers=recipe.user_layers,
    )
    user_model, user_history = pinner.train_pinnerformer(
        past,
        catalogue,
        recipe.positives,
        user_config,
        replace(recipe.pinnerformer, exclude_seen=recipe.exclude_seen),
        checkpoints=folder / "checkpoints" / "pinnerformer",
        seconds=seconds / 2,
        progress=progress,
        device=device,
    )
    session_config = HierTCNConfig(
        item_dim=catalogue.dim, hidden=recipe.session_hidden, layer_state=recipe.session_state
    )
    session_model, session_history = hier.train_hiertcn(
        past,
        catalogue,
        session_config,
        replace(recipe.hiertcn, exclude_seen=recipe.exclude_seen),
        without=recipe.negatives,
        checkpoints=folder / "checkpoints" / "hiertcn",
        seconds=seconds / 2,
        progress=progress,
        device=device,
    )
    save_weights(folder / PINNERFORMER_WEIGHTS, user_model.cpu(), user_config)
    save_weights(folder / HIERTCN_WEIGHTS, session_model.cpu(), session_config)
    return TrainedEncoders(catalogue, features, names, user_model, session_model, user_history, session_history)


def measure_encoders(
    trained: TrainedEncoders, log: EventLog, until_ms: int, recipe: EncoderRecipe
) -> dict[str, dict[str, float]]:
    """Give recall@10 after ``until_ms`` of both encoders, beside what needs no learning.

    The user vector is asked, at a quarter, a half and three quarters of what each user did after ``until_ms``, for the
    positives of the 14 days to come; the session vector, after each action, for the next item of the session. Both know
    what the stream would: all of the user's actions so far. Items that were never seen before ``until_ms`` can't be
    found by anyone and are left out.
    """
    timelines = timelines_of(log, trained.catalogue)
    return {
        "user_vector": _measure_users(trained, timelines.known(), log, until_ms, recipe),
        "session_vector": _measure_sessions(trained, timelines, log, until_ms, recipe),
    }


def _measure_users(
    trained: TrainedEncoders, timelines: Timelines, log: EventLog, until_ms: int, recipe: EncoderRecipe
) -> dict[str, float]:
    catalogue = trained.catalogue
    positives = np.flatnonzero(np.isin(timelines.actions, log.codes_of(recipe.positives)))
    rows = _rows_after(timelines, until_ms, (0.25, 0.5, 0.75))
    horizon_ms = recipe.pinnerformer.validate_horizon_ms
    cases = future_cases(timelines, positives, rows, horizon_ms, recipe.exclude_seen).sample(MOST_CASES)
    past = positives[timelines.times_ms[positives] < until_ms]
    return {
        "pinnerformer": pinner.measure(trained.pinnerformer, timelines, catalogue, cases),
        "last_item": recall(catalogue.vectors[timelines.item_rows[cases.rows]], catalogue.vectors, cases),
        "popularity": recall_of_scores(_counts(timelines, past, catalogue), cases),
        "chance": chance_recall(cases, len(catalogue)),
        "cases": float(len(cases)),
    }


def _measure_sessions(
    trained: TrainedEncoders, timelines: Timelines, log: EventLog, until_ms: int, recipe: EncoderRecipe
) -> dict[str, float]:
    catalogue = trained.catalogue
    rows = np.flatnonzero(timelines.times_ms >= until_ms)
    rows = rows[rows + 1 < len(timelines)]
    rows = rows[~np.isin(timelines.actions[rows + 1], log.codes_of(recipe.negatives))]
    cases = next_item_cases(timelines, rows, recipe.exclude_seen).sample(MOST_CASES)
    past = np.flatnonzero((timelines.times_ms < until_ms) & (timelines.item_rows >= 0))
    return {
        "hiertcn": hier.measure(trained.hiertcn, timelines, catalogue, cases),
        "last_item": recall(catalogue.padded[timelines.item_rows[cases.rows]], catalogue.vectors, cases),
        "popularity": recall_of_scores(_counts(timelines, past, catalogue), cases),
        "chance": chance_recall(cases, len(catalogue)),
        "cases": float(len(cases)),
    }


def _rows_after(timelines: Timelines, until_ms: int, shares: Sequence[float]) -> Ints:
    """Give the rows at these shares of what each user did from ``until_ms`` on."""
    after = np.flatnonzero(timelines.times_ms >= until_ms)
    users, firsts, counts = np.unique(timelines.users[after], return_index=True, return_counts=True)
    rows = [after[firsts] + (share * (counts - 1)).astype(np.int64) for share in shares]
    return np.unique(np.concatenate(rows)) if len(users) else np.zeros(0, np.int64)


def _counts(timelines: Timelines, rows: Ints, catalogue: Catalogue) -> Floats:
    """Give how often each item occurs in these rows, ``(1, items)``."""
    counts = np.bincount(timelines.item_rows[rows], minlength=len(catalogue))
    return counts.astype(np.float32)[None]
