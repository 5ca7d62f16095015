"""PinnerFormer on 30Music: objectives, negatives and log Q, staleness, and where "time since the latest" belongs.

Rows differ from ``dense`` in what they are named for alone.
``python -m rankstream.experiments.music.pinnerformer --music DIR --size small`` takes minutes; ``medium`` some two
minutes a row, ``full`` ten; each row is kept as it is done, and a run that was stopped goes on.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from rankstream.events.public.music30 import POSITIVES
from rankstream.events.sequences import UserSequences, group_by_user
from rankstream.experiments.music.data import (
    FRESHNESS,
    MusicSplit,
    baseline_hits,
    coverage,
    hits_by_user,
    hits_of_vectors,
    read_split,
    spell,
    target_items,
)
from rankstream.experiments.options import options, refusals, seeds_option
from rankstream.experiments.progress import shown
from rankstream.experiments.runs import Runs, stop_politely
from rankstream.features.embeddings.memory import ItemTable
from rankstream.models.items.cooccurrence import ItemVectorConfig, train_item_vectors
from rankstream.models.training.loop import FitConfig
from rankstream.models.users.labels import all_action_labels, each_next_labels, next_labels
from rankstream.models.users.pinnerformer import PinnerFormerConfig
from rankstream.models.users.pinnerformer_training import (
    PinnerFormerTraining,
    item_vectors_of,
    train_pinnerformer,
    user_vectors_at,
)
from rankstream.models.users.time_features import DAY_MS

SIZES = {"small": 1500, "medium": None, "full": None}  # users of the log
STEPS = {"small": 60, "medium": 320, "full": 1600}
POOL = 1024  # negatives of a batch, whatever their kind


@dataclass(frozen=True)
class PinnerFormerRun:
    """One training."""

    users: int | None
    training: PinnerFormerTraining
    item_dim: int = 64
    user_dim: int = 64
    hidden: int = 64
    layers: int = 2
    time_in_attention: bool = True


def dense(size: str, seed: int) -> PinnerFormerRun:
    """Return the reference run, with which all others are compared."""
    steps = STEPS[size]
    training = PinnerFormerTraining(
        in_batch=POOL // 2,
        uniform=POOL // 2,
        exclude_seen=False,  # in music the same songs come again
        max_held_out=600,
        fit=FitConfig(steps=steps, learning_rate=3e-3, evaluate_every=steps // 4, checkpoint_every=50, seed=seed),
    )
    return PinnerFormerRun(SIZES[size], training)


Change = Callable[[PinnerFormerRun], PinnerFormerRun]


def trained_with(**changes: Any) -> Change:
    """Return the change of these settings of training."""
    return lambda run: replace(run, training=replace(run.training, **changes))


ROWS: Mapping[str, Change] = {  # the most important first
    "dense": lambda run: run,
    "sasrec": trained_with(labels=each_next_labels),
    "in-batch-without-log-q": trained_with(in_batch=POOL, uniform=0, log_q=False),
    "next-action": trained_with(labels=next_labels),
    "all-action": trained_with(labels=all_action_labels),
    "random": trained_with(in_batch=0, uniform=POOL),  # log Q is the same for all items then: nothing to correct
    "in-batch": trained_with(in_batch=POOL, uniform=0),
    "mixed-without-log-q": trained_with(log_q=False),
    "time-in-tokens": lambda run: replace(run, time_in_attention=False),  # as published; leaks in training
    "time-in-tokens-newest-only": lambda run: replace(
        trained_with(positions=1, users=256)(run), time_in_attention=False
    ),  # as published, and as it will be served: one position a window
    "dense-14-days": trained_with(horizon_ms=14 * DAY_MS),
    "narrow-sketch": trained_with(sketch_width=2048),  # four rows of counters for 10,000 items
}


@dataclass(frozen=True)
class Music:
    """What all rows share: the split, item vectors, sequences."""

    split: MusicSplit

    @cached_property
    def item_table(self) -> ItemTable:
        """Item vectors, from what is trained on alone."""
        return train_item_vectors(self.split.trained, ItemVectorConfig(dim=64))

    @cached_property
    def sequences(self) -> UserSequences:
        """All users' plays of known items."""
        return group_by_user(self.split.all_users, self.item_table).known()

    def work(self, run: PinnerFormerRun, folder: Path) -> dict[str, Any]:
        """Train one row and evaluate it."""
        config = PinnerFormerConfig(
            action_types=len(self.split.trained.vocabulary.actions),
            item_dim=run.item_dim,
            user_dim=run.user_dim,
            hidden=run.hidden,
            layers=run.layers,
            time_in_attention=run.time_in_attention,
        )
        with shown() as progress:
            model, history = train_pinnerformer(
                self.split.trained,
                self.item_table,
                POSITIVES,
                config,
                run.training,
                checkpoints=folder,
                progress=progress,
            )
        targets = target_items(self.sequences, self.split)
        items = item_vectors_of(model, self.item_table)
        rows_used = np.unique(np.concatenate([targets.rows[name] for name in FRESHNESS]))
        vectors = user_vectors_at(model, self.sequences, self.item_table, rows_used)
        hits = {
            name: hits_by_user(hits_of_vectors(vectors[np.searchsorted(rows_used, rows)], items, targets), targets)
            for name, rows in targets.rows.items()
        }
        once = vectors[np.searchsorted(rows_used, np.unique(targets.rows["once"]))]
        return {
            "targets": spell(targets.counts),
            "hits": hits,
            "coverage": coverage(np.argpartition(-(once @ items.T), 10, axis=1)[:, :10], len(items)),
            "parameters": sum(weights.numel() for weights in model.parameters()),
            "best_step": history.best_step,
            "validation": history.metrics,
            "losses": history.losses,
        }

    def baselines(self, run: "Baselines", folder: Path) -> dict[str, Any]:
        """Evaluate the baselines without training."""
        targets = target_items(self.sequences, self.split)
        return {
            "targets": spell(targets.counts),
            "hits": baseline_hits(self.sequences, self.item_table, self.split, targets),
            "items": len(self.item_table),
            "plays_trained_on": len(self.split.trained),
            "users_trained_on": len(np.unique(self.split.trained.user_ids)),
        }


@dataclass(frozen=True)
class Baselines:
    """The rows without training."""

    users: int | None


@click.command()
@click.option("--music", type=click.Path(exists=True, path_type=Path), required=True, help="30Music: plays.parquet.")
@options(SIZES, "small", ROWS)
@seeds_option(2)
def main(music: Path, size: str, seeds: int, only: tuple[str, ...], work: Path, results: Path) -> None:
    """Train PinnerFormer on 30Music in all the ways of the paper's tables."""
    torch.set_num_threads(1)
    stop_politely()
    with refusals():
        shared = Music(read_split(music, SIZES[size]))
    runs, table = Runs(results, work), f"pinnerformer-{size}"
    runs.run(f"{table}/baselines", Baselines(SIZES[size]), shared.baselines)
    for seed in range(seeds):
        for name in only or ROWS:
            result = runs.run(f"{table}/{name}-seed{seed}", ROWS[name](dense(size, seed)), shared.work)
            click.echo(f"{table}/{name}-seed{seed}: {result['seconds']:.0f} s")


if __name__ == "__main__":
    main()
