"""HierTCN on 30Music: the next item of a session against flat and hierarchical baselines, losses, and the cost of each.

All models have about as many weights and the same item vectors.
``python -m rankstream.experiments.music.hiertcn --music DIR --size small`` takes minutes;
``medium`` some two minutes a row, ``full`` ten; each row is kept as it is done, and a run that was stopped goes on.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from torch import Tensor, nn

from rankstream.events.sequences import UserSequences, group_by_user
from rankstream.experiments.music.data import MusicSplit, read_split
from rankstream.experiments.music.next_items import (
    NextItems,
    baseline_ranks,
    hrnn_vectors_at,
    next_items,
    outcome,
    ranks_of_vectors,
)
from rankstream.experiments.music.padded_histories import PaddedTask, flat_vectors_at
from rankstream.experiments.music.session_baselines import (
    HRNN,
    FlatGRU,
    FlatGRUConfig,
    FlatTCN,
    FlatTCNConfig,
    HRNNConfig,
)
from rankstream.experiments.music.session_costs import data_cost, serving_cost, training_cost
from rankstream.experiments.music.session_parity import parity
from rankstream.experiments.music.session_queues import QueueLearner, QueueTask, SessionQueues
from rankstream.experiments.options import options, refusals, seeds_option
from rankstream.experiments.progress import shown
from rankstream.experiments.runs import Runs, stop_politely
from rankstream.features.embeddings.memory import ItemTable
from rankstream.features.schema import Floats
from rankstream.models.items.cooccurrence import ItemVectorConfig, train_item_vectors
from rankstream.models.sessions.hiertcn import HierTCN, HierTCNConfig
from rankstream.models.sessions.hiertcn_training import (
    HierTCNLearner,
    HierTCNTask,
    HierTCNTraining,
    SessionLearner,
    validation_queries,
)
from rankstream.models.sessions.sessionize import UserSessions, session_vectors_at, sessionize
from rankstream.models.training.holdout import split_users
from rankstream.models.training.loop import FitConfig, fit
from rankstream.models.training.losses import bpr_loss, hinge_logsigmoid_loss, hinge_loss, hinge_sigmoid_loss, nce_loss
from rankstream.models.training.negatives import Ints

SIZES = {"small": 1500, "medium": None, "full": None}  # users of the log
STEPS = {"small": 60, "medium": 300, "full": 1500}
MODELS = ("hiertcn", "hrnn", "flat-gru", "flat-tcn")
USERS = {"hiertcn": 16, "hrnn": 16, "flat-gru": 50, "flat-tcn": 50}  # of a batch: about 1,000 next items each
COST_STEPS = {"small": 5, "medium": 30, "full": 30}
ITEM_DIM = 64


@dataclass(frozen=True)
class SessionRun:
    """One training."""

    users: int | None
    model: str
    training: HierTCNTraining


@dataclass(frozen=True)
class LearnedItemsRun(SessionRun):
    """A training in which item vectors learn too, from the fixed ones on."""

    learned_items: bool = (
        True  # never read: it makes the config differ from the fixed one's in results and work folders
    )


def learning_items(model: str) -> Callable[[str, int], SessionRun]:
    """Return a model's run with item vectors that learn."""

    def made(size: str, seed: int) -> SessionRun:
        run = standard(size, seed, model)
        return LearnedItemsRun(run.users, run.model, run.training)

    return made


def standard(size: str, seed: int, model: str = "hiertcn") -> SessionRun:
    """Return the run of a model with the loss of the first table."""
    steps = STEPS[size]
    training = HierTCNTraining(
        users=USERS[model],
        exclude_seen=False,  # in music the same songs come again
        max_held_out=600,
        fit=FitConfig(steps=steps, learning_rate=3e-3, evaluate_every=steps // 5, checkpoint_every=50, seed=seed),
    )
    return SessionRun(SIZES[size], model, training)


def with_loss(**changes: Any) -> Callable[[str, int], SessionRun]:
    """Return HierTCN's run with another loss, on 20 random negatives as in the official code."""

    def made(size: str, seed: int) -> SessionRun:
        run = standard(size, seed)
        return replace(run, training=replace(run.training, negatives=20, **changes))

    return made


HINGE: Mapping[str, Any] = {"temperature": 1.0, "learn_temperature": False}  # the margin of 0.1 has the scores' unit
ROWS: Mapping[str, Callable[[str, int], SessionRun]] = {  # the most important first
    "hiertcn": standard,
    "flat-gru": lambda size, seed: standard(size, seed, "flat-gru"),
    "flat-tcn": lambda size, seed: standard(size, seed, "flat-tcn"),
    "hrnn": lambda size, seed: standard(size, seed, "hrnn"),
    **{f"{model}-learned-items": learning_items(model) for model in MODELS},
    "loss-hinge-logsigmoid": with_loss(loss=hinge_logsigmoid_loss, **HINGE),
    "loss-cross-entropy-20": with_loss(),
    "loss-nce": with_loss(loss=nce_loss),
    "loss-bpr": with_loss(loss=bpr_loss),
    "loss-hinge-linear": with_loss(loss=hinge_loss, **HINGE),
    "loss-hinge-sigmoid": with_loss(loss=hinge_sigmoid_loss, **HINGE),
}

VectorsAt = Callable[[nn.Module, UserSequences, ItemTable, Ints], Floats]


def build(name: str) -> nn.Module:
    """Return an untrained model; about 105,000 weights each."""
    if name == "hiertcn":
        return HierTCN(HierTCNConfig(item_dim=ITEM_DIM))
    if name == "hrnn":
        return HRNN(HRNNConfig(item_dim=ITEM_DIM))
    return FlatGRU(FlatGRUConfig(ITEM_DIM)) if name == "flat-gru" else FlatTCN(FlatTCNConfig(ITEM_DIM))


VECTORS_AT: Mapping[str, VectorsAt] = {
    "hiertcn": session_vectors_at,  # type: ignore[dict-item]
    "hrnn": hrnn_vectors_at,  # type: ignore[dict-item]
    "flat-gru": flat_vectors_at,
    "flat-tcn": flat_vectors_at,
}


@dataclass(frozen=True)
class Prepared:
    """A model, its learner and how it samples a loss."""

    model: nn.Module
    learner: nn.Module
    sample_loss: Callable[[np.random.Generator], Tensor]
    task: QueueTask | PaddedTask


@dataclass(frozen=True)
class Music:
    """What all rows share; computed once, kept in memory."""

    split: MusicSplit

    @cached_property
    def item_table(self) -> ItemTable:
        """Item vectors, from what is trained on alone."""
        return train_item_vectors(self.split.trained, ItemVectorConfig(dim=ITEM_DIM))

    @cached_property
    def trained(self) -> UserSequences:
        """The sequences trained on."""
        return group_by_user(self.split.trained, self.item_table)

    @cached_property
    def sessions(self) -> UserSessions:
        """Their sessions."""
        return sessionize(self.trained, self.item_table)

    @cached_property
    def all_users(self) -> UserSequences:
        """All users' sequences."""
        return group_by_user(self.split.all_users, self.item_table)

    @cached_property
    def queries(self) -> NextItems:
        """The test queries."""
        return next_items(self.all_users, self.split)

    def prepare(self, run: SessionRun) -> tuple[Prepared, Ints]:
        """Return a model ready to train, and the users held out for validation."""
        training, seed = run.training, run.training.fit.seed
        users, held_out = split_users(self.trained, training.held_out_users, training.max_held_out, seed)
        torch.manual_seed(seed)
        model = build(run.model)
        items = self.item_table.vectors if isinstance(run, LearnedItemsRun) else None
        if isinstance(model, HierTCN | HRNN):
            size = model.config.state_size if isinstance(model, HierTCN) else model.config.hidden
            learner = QueueLearner(model, size, training, items)
            base = HierTCNTask(
                self.trained, self.item_table, self.sessions, users, np.zeros(0, np.int64), training,
                HierTCNLearner(HierTCN(HierTCNConfig(item_dim=ITEM_DIM)), training), torch.device("cpu"),
            )  # fmt: skip
            queues = SessionQueues(self.sessions, users, training.users, training.sessions, seed)
            queued = QueueTask(base, queues, learner)
            return Prepared(model, learner, queued.sample_loss, queued), held_out
        padded = PaddedTask(self.trained, self.item_table, users, training, SessionLearner(model, training, items))
        return Prepared(model, padded.learner, padded.sample_loss, padded), held_out

    def work(self, run: SessionRun, folder: Path) -> dict[str, Any]:
        """Train one row and evaluate it."""
        prepared, held_out = self.prepare(run)
        queries = validation_queries(self.trained, held_out, np.zeros(0, np.int64), run.training)
        validation = NextItems(np.arange(len(queries)), queries.rows, np.concatenate(queries.relevant))
        vectors_at = VECTORS_AT[run.model]

        def evaluate() -> float:
            item_table = prepared.task.learner.item_table_or(self.item_table)
            vectors = vectors_at(prepared.model, self.trained, item_table, validation.rows)
            return float(np.mean(ranks_of_vectors(vectors, item_table, validation) <= 10))

        with shown() as progress:
            history = fit(
                prepared.learner,
                prepared.sample_loss,
                run.training.fit,
                evaluate=evaluate,
                checkpoints=folder,
                progress=progress,
                title=run.model,
                metric_name="recall@10",
            )
        item_table = prepared.task.learner.item_table_or(self.item_table)
        vectors = vectors_at(prepared.model, self.all_users, item_table, self.queries.rows)
        same = {"parity": self.parity(prepared.model, item_table)} if isinstance(prepared.model, HierTCN) else {}
        return {
            **same,
            **outcome(ranks_of_vectors(vectors, item_table, self.queries), self.queries),
            "parameters": sum(weights.numel() for weights in prepared.model.parameters()),
            "best_step": history.best_step,
            "validation": history.metrics,
            "losses": history.losses,
        }

    def parity(self, model: HierTCN, item_table: ItemTable) -> dict[str, float]:
        """Step the longest histories and some others through the stream's state."""
        by_length = np.argsort(-np.diff(self.all_users.starts), kind="stable")
        return parity(model, self.all_users, item_table, np.concatenate([by_length[:10], by_length[10:1000:25]]))

    def costs(self, run: "Costs", folder: Path) -> dict[str, Any]:
        """Measure what each model costs, one after the other."""
        measured = {}
        for name in MODELS:
            standing = standard(next(iter(STEPS)), 0, name)
            sampled = replace(standing.training, loss=hinge_logsigmoid_loss, negatives=run.negatives, **HINGE)
            prepared, _ = self.prepare(standing)
            light, _ = self.prepare(replace(standing, training=sampled))
            measured[name] = {
                **data_cost(prepared.task),
                "training_us_a_next_item": training_cost(prepared.learner, prepared.task, run.steps),
                "training_us_with_few_negatives": training_cost(light.learner, light.task, run.steps),
                "serving_us_an_action": serving_cost(prepared.model, self.all_users, self.item_table),
                "parameters": sum(weights.numel() for weights in prepared.model.parameters()),
            }
        return measured

    def baselines(self, run: "Baselines", folder: Path) -> dict[str, Any]:
        """Evaluate the baselines without training."""
        ranks = baseline_ranks(self.all_users, self.item_table, self.split, self.queries)
        return {
            "rows": {name: outcome(row, self.queries) for name, row in ranks.items()},
            "items": len(self.item_table),
            "sessions_trained_on": len(self.sessions),
        }


@dataclass(frozen=True)
class Costs:
    """What is measured: CPU time of one thread."""

    users: int | None
    steps: int
    negatives: int = (
        20  # of the light loss: beside 10,000 items' softmax, which costs all the same, encoders look alike
    )


@dataclass(frozen=True)
class Baselines:
    """The rows without training."""

    users: int | None


@click.command()
@click.option("--music", type=click.Path(exists=True, path_type=Path), required=True, help="30Music: plays.parquet.")
@options(SIZES, "small", ROWS)
@seeds_option(2)
def main(music: Path, size: str, seeds: int, only: tuple[str, ...], work: Path, results: Path) -> None:
    """Train HierTCN and its baselines on 30Music, and measure what each costs."""
    torch.set_num_threads(1)
    stop_politely()
    with refusals():
        shared = Music(read_split(music, SIZES[size]))
    runs, table = Runs(results, work), f"hiertcn-{size}"
    runs.run(f"{table}/baselines", Baselines(SIZES[size]), shared.baselines)
    runs.run(f"{table}/costs", Costs(SIZES[size], COST_STEPS[size]), shared.costs)
    for seed in range(seeds):
        for name in only or ROWS:
            result = runs.run(f"{table}/{name}-seed{seed}", ROWS[name](size, seed), shared.work)
            click.echo(f"{table}/{name}-seed{seed}: {result['seconds']:.0f} s")


if __name__ == "__main__":
    main()
