"""The ranker on frozen encoders: its requests, its training, its calibration.

It sees in training what it will see when it serves: user vectors and item counts as the last daily refresh left them,
session vectors and histories as of the request::

    day      |      1       |      2       |      3       |
    actions    a b            c d            e
    user vector and counts     as of day 2    as of day 3       never of the request's own day
    of a request
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import Progress

from rankstream.events.log import EventLog
from rankstream.models.ranker.calibration import HeadCalibration, calibrate
from rankstream.models.ranker.hybrid import HybridRanker, RankerConfig
from rankstream.models.ranker.single_columns import ndcg_by_column
from rankstream.models.ranker.strangers import StrangersFit, fit_strangers
from rankstream.models.ranker.training import train_ranker
from rankstream.models.ranker.training_join import feature_sizes, offline_features
from rankstream.models.ranker.transact import TransActConfig
from rankstream.models.recipes.asked_strangers import asked_as_by_strangers
from rankstream.models.recipes.bundle import BundleRecipe, RankerRecipe
from rankstream.models.recipes.encoders import TrainedEncoders
from rankstream.models.recipes.ranker_requests import RankerRequests, requests_as_of_their_days
from rankstream.models.training.loop import FitHistory
from rankstream.models.training.time_limit import TimeLimit, seconds_of_work

SEEN_LOGIT = -20.0  # of what is in the history of a user of a log without repeats: a probability of 2e-9 at even odds


@dataclass(frozen=True)
class TrainedRanker:
    """What training a ranker returns."""

    ranker: HybridRanker
    history: FitHistory
    calibration: Mapping[str, HeadCalibration]  # of the heads whose numbers are probabilities; the others' are scores
    by_column: Mapping[str, float]  # NDCG@10 of one column alone, on the same requests; empty for shown lists
    strangers: StrangersFit | None  # what users without actions are shown; None where that was not asked


def train_on_top(
    log: EventLog,
    encoders: TrainedEncoders,
    recipe: BundleRecipe,
    work: Path,
    progress: Progress | None = None,
    *,
    since_ms: int = 0,
    limit: TimeLimit | None = None,
    device: torch.device | None = None,
) -> TrainedRanker:
    """Train the ranker on frozen encoders, on requests from ``since_ms`` on.

    It ends within ``limit``, without one within the recipe's seconds of work. Its metric is NDCG@10 on the last tenth
    of the requests. Where requests are impressions it is the heads' AUC, and on these requests the heads are calibrated
    too; elsewhere what users without actions are shown is fitted to what was chosen then.
    """
    chosen = recipe.ranker
    sizes = feature_sizes(log.vocabulary, encoders, chosen.num_actions)
    offline = offline_features(log, encoders, sizes, since_ms)
    requests = requests_as_of_their_days(log, encoders, recipe, offline, since_ms)
    transact = TransActConfig(
        num_types=len(log.vocabulary.actions),
        item_dim=encoders.item_table.dim,
        action_dim=chosen.action_dim,
        layers=chosen.layers,
        recent_outputs=chosen.recent_outputs,
        mask_window_ms=chosen.mask_window_ms,
    )
    config = RankerConfig(transact, offline.sizes, tuple(chosen.heads), cross_rank=chosen.cross_rank, mlp=chosen.mlp)
    ranker, history = train_on_requests(
        requests,
        config,
        chosen,
        checkpoints=work / "checkpoints" / "ranker",
        limit=limit,
        progress=progress,
        device=device,
    )
    ended = history.stopped != "time"
    calibration = calibrate(ranker, requests.validated, chosen.seed) if chosen.impressions and ended else {}
    by_column = {}
    if not chosen.impressions and len(requests.validated):
        by_column = ndcg_by_column(requests.validated, config.sizes, chosen.weights)
        if progress is not None:
            held_against(progress.console, history.validated, by_column, len(requests.validated))
    strangers = None
    if not chosen.impressions and requests.held_out_ms is not None:
        later, firsts = (
            asked_as_by_strangers(log, encoders.item_table, ranker, chosen, offline, from_ms, firsts=firsts)
            for from_ms, firsts in ((requests.held_out_ms, False), (since_ms, True))
        )
        strangers = fit_strangers(list(later), chosen.weights, chosen.seed, firsts)
        ranker.config = replace(ranker.config, strangers=strangers.line)
        if progress is not None:
            progress.console.print(strangers.in_words(), highlight=False, soft_wrap=True)
    return TrainedRanker(ranker, history, calibration, by_column, strangers)


def train_on_requests(
    requests: RankerRequests,
    config: RankerConfig,
    chosen: RankerRecipe,
    *,
    checkpoints: Path | None = None,
    limit: TimeLimit | None = None,
    progress: Progress | None = None,
    device: torch.device | None = None,
) -> tuple[HybridRanker, FitHistory]:
    """Train a ranker on its requests, within ``limit``, without one within the recipe's seconds of work.

    Where no rival was drawn that the user had seen, since hardly anybody acts on an item twice, the ranker has learned
    nothing of such items: it serves them as what nothing will come of.
    """
    of_lists_alone = chosen.impressions and not chosen.beside_lists  # what was shown is no draw from the catalogue
    ranker, history = train_ranker(
        config,
        replace(chosen.training, softmax=0.0) if of_lists_alone else chosen.training,
        requests.learned,
        requests.validated,
        retrieved=requests.retrieved,
        weights=chosen.weights,
        checkpoints=checkpoints,
        limit=limit or seconds_of_work(inf if chosen.seconds is None else chosen.seconds, device),
        progress=progress,
        device=device,
    )
    if chosen.negatives.exclude_seen and not chosen.impressions:
        ranker.config = replace(ranker.config, seen_logit=SEEN_LOGIT)
    return ranker, history


def held_against(console: Console, ranker: float, by_column: Mapping[str, float], requests: int) -> None:
    """Say how the ranker validates beside one column alone, and that it is behind where it is."""
    columns = sorted(by_column.items(), key=lambda one: -one[1])
    words = ", ".join(f"{name} {value:.4f}" for name, value in columns)
    told = f"Ranker: NDCG@10 {ranker:.4f} on {requests} held-out requests; by one column alone: {words}"
    console.print(told, highlight=False, soft_wrap=True)
    if columns and columns[0][1] > ranker:
        console.print(
            f"[yellow]warning:[/yellow] {columns[0][0]} alone orders the held-out requests better than the ranker; "
            "`rankstream replay` says whether feeds are, too, before you serve them",
            highlight=False,
            soft_wrap=True,
        )
