"""PinnerFormer's encoder with a next-item softmax on MovieLens-1M, leave-one-out: a check of the encoder.

Every user's last item is the test, the one before it validation; each is ranked among all 3,416 items, none sampled.
The epoch is chosen on validation. ``python -m rankstream.experiments.movielens.leave_one_out --data DIR``
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
import torch

from rankstream.events.public.movielens import read_sequences
from rankstream.experiments.movielens.next_item import NextItemConfig, NextItemModel, NextItemTask, ranks
from rankstream.experiments.options import options, refusals
from rankstream.experiments.progress import shown
from rankstream.experiments.runs import Runs, stop_politely
from rankstream.metrics.bootstrap import bootstrap_interval
from rankstream.models.training.loop import FitConfig, fit

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class MovieLensRun:
    """One training and its test."""

    users: int | None  # the first so many; all if None
    hidden: int = 64
    dropout: float = 0.2
    num_actions: int = 200
    positions: int = 4096  # of a batch
    repeats: bool = False
    fit: FitConfig = field(  # an epoch is 158 steps
        default_factory=lambda: FitConfig(
            steps=5600, learning_rate=2e-3, warm_up=300, evaluate_every=320, checkpoint_every=160, patience=6
        )
    )


SMALL = MovieLensRun(
    users=500, num_actions=50, fit=FitConfig(steps=200, learning_rate=3e-3, evaluate_every=50, checkpoint_every=50)
)
FULL = MovieLensRun(users=None)
SIZES = {"small": SMALL, "full": FULL}
ROWS = {"repeats": True, "plain": False}  # learn one weight for items that are in the context already?


def measured(ranked: npt.NDArray[np.float32]) -> dict[str, Any]:
    """Return recall and NDCG of ranks from 1, with intervals over users (one case each)."""
    values = {
        "recall@10": (ranked <= 10).astype(np.float64),
        "ndcg@10": np.where(ranked <= 10, 1 / np.log2(ranked + 1), 0.0).astype(np.float64),
    }
    users = list(range(len(ranked)))
    return {
        name: {"value": float(value.mean()), "interval": bootstrap_interval(value, users, seed=0)}
        for name, value in values.items()
    } | {"recall@1": float(np.mean(ranked <= 1)), "recall@5": float(np.mean(ranked <= 5)), "cases": len(ranked)}


def ndcg(ranked: npt.NDArray[np.float32]) -> float:
    """Return NDCG@10 of ranks from 1, one relevant item each."""
    return float(np.mean(np.where(ranked <= 10, 1 / np.log2(ranked + 1), 0.0)))


def popularity_ranks(sequences: Sequence[Ints], items: int, *, exclude_seen: bool) -> npt.NDArray[np.float32]:
    """Return the rank of each last item by how often it occurs in what is trained on."""
    counts = np.bincount(np.concatenate([row[:-2] for row in sequences]), minlength=items).astype(np.float64)
    ranked = []
    for row in sequences:
        scores = counts.copy()
        if exclude_seen:
            scores[np.setdiff1d(row[:-1], row[-1:])] = -inf
        of_last = scores[row[-1]]
        ranked.append((scores > of_last).sum() + ((scores == of_last).sum() - 1) / 2 + 1)
    return np.array(ranked, np.float32)


def train_and_test(config: MovieLensRun, folder: Path, sequences: list[Ints]) -> dict[str, Any]:
    """Train on all but two items of each user, choose on the last but one, test on the last."""
    kept = sequences[: config.users]
    items = 1 + max(int(row.max()) for row in sequences)
    torch.manual_seed(config.fit.seed)
    model = NextItemModel(
        NextItemConfig(items, config.num_actions, config.hidden, dropout=config.dropout, repeats=config.repeats)
    )
    task = NextItemTask([row[:-2] for row in kept], model, config.positions)
    validation = [row[:-1] for row in kept]
    with shown() as progress:
        history = fit(
            model,
            task.sample_loss,
            config.fit,
            evaluate=lambda: ndcg(ranks(model, validation)),
            checkpoints=folder,
            progress=progress,
            title="MovieLens-1M",
            metric_name="ndcg@10",
        )
    return {
        "epochs": history.steps * config.positions / int(task.lengths.sum()),
        "best_step": history.best_step,
        "validation_ndcg": history.metrics,
        "repeat_weight": None if model.repeat_weight is None else float(model.repeat_weight),
        "parameters": sum(weights.numel() for weights in model.parameters()),
        "encoder": measured(ranks(model, kept)),
        "encoder_seen_hidden": measured(ranks(model, kept, exclude_seen=True)),
        "popularity": measured(popularity_ranks(kept, items, exclude_seen=False)),
        "popularity_seen_hidden": measured(popularity_ranks(kept, items, exclude_seen=True)),
    }


@click.command()
@click.option(
    "--data", type=click.Path(exists=True, path_type=Path), required=True, help="sequences.parquet, or its folder."
)
@options(SIZES, "full", ROWS)
def main(data: Path, size: str, only: tuple[str, ...], work: Path, results: Path) -> None:
    """Train and test the encoder on MovieLens-1M; a run that was stopped goes on."""
    torch.set_num_threads(1)
    stop_politely()
    with refusals():
        sequences = read_sequences(data)
    runs = Runs(results, work)
    for row in only or ROWS:
        run = replace(SIZES[size], repeats=ROWS[row])
        result = runs.run(f"movielens/{size}-{row}", run, lambda run, at: train_and_test(run, at, sequences))
        click.echo(f"movielens/{size}-{row}: {result['metrics']['encoder']} in {result['seconds']:.0f} s")


if __name__ == "__main__":
    main()
