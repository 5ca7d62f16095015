"""Training of HierTCN: the next item, at every step of every session of some consecutive sessions (WWW'19).

Item vectors may be trained with it (on XING the official code trains them, on Pinterest they are fixed). They keep the
length 1, so that models trained on them afterwards find unit vectors as before.

Sessions are cut by ``features/sessions.py``'s rules over every action, known item or not, as serving cuts them. A long
session's low level sees at most its newest 20 items when it is served, so training shows it windows of 20.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from rich.progress import Progress
from torch import Tensor, nn

from rankstream.events.arrivals import LogError
from rankstream.events.log import EventLog
from rankstream.events.sequences import UserSequences, group_by_user
from rankstream.features.embeddings.memory import Ints, ItemTable
from rankstream.features.schema import Bools, Floats
from rankstream.features.sessions import MAX_SESSION_ITEMS
from rankstream.models.sessions.hiertcn import HierTCN, HierTCNConfig
from rankstream.models.sessions.sessionize import UserSessions, newest_items, session_vectors_at, sessionize
from rankstream.models.training.holdout import Queries, next_item_queries, recall, split_users
from rankstream.models.training.loop import FitConfig, FitHistory, fit
from rankstream.models.training.losses import (
    NextItemLoss,
    all_items_loss_in_parts,
    cross_entropy_loss,
    no_loss,
    sampled_softmax_loss,
)
from rankstream.models.training.negatives import log_pool_rate, uniform_items
from rankstream.models.training.schedule import Examples
from rankstream.models.training.time_limit import NO_LIMIT, TimeLimit

COUNTED_BATCHES = 20  # sampled before training to learn how many targets a batch holds


@dataclass(frozen=True)
class HierTCNTraining:
    """How batches are drawn; the official code's values behind each."""

    users: int = 32  # of a batch; 32
    sessions: int = 10  # in a row of each user: how far back the gradient goes; 10
    loss: NextItemLoss = cross_entropy_loss  # on XING; hinge_logsigmoid_loss in the final Pinterest runs
    negatives: int | None = None  # random ones for each next item; all other items if None; 20 on Pinterest
    pool: int | None = (
        None  # of items that all next items of a batch share as negatives, instead; with log-Q correction
    )
    temperature: float = 0.1  # scores are divided by it: a softmax over cosines would be nearly uniform
    learn_temperature: bool = True  # leave it off for hinges, whose margin has the scores' unit
    held_out_users: float = 0.1  # validated on, never trained on; 10 %
    max_held_out: int = 1000
    max_queries: int = 1000  # of a validation
    exclude_seen: bool = True  # of validation: are items left out that the user acted on before?
    fit: FitConfig = field(default_factory=FitConfig)


class SessionLearner(nn.Module):
    """A session model and what only its training needs: the temperature, and item vectors if they are trained too.

    ``items (items, I)`` is where they start.
    """

    items: nn.Parameter | None

    def __init__(self, model: nn.Module, training: HierTCNTraining, items: Floats | None = None) -> None:
        super().__init__()
        self.model = model
        self.temperature = nn.Parameter(torch.tensor(training.temperature), requires_grad=training.learn_temperature)
        self.register_parameter("items", None if items is None else nn.Parameter(torch.tensor(items)))

    def items_or(self, fixed: Tensor) -> Tensor:
        """Return item vectors and a row of zeros, ``(items + 1, I)``: the learned ones, of length 1, or the fixed."""
        if self.items is None:
            return fixed
        return nn.functional.pad(nn.functional.normalize(self.items, dim=-1), (0, 0, 0, 1))

    def item_table_or(self, fixed: ItemTable) -> ItemTable:
        """Return the items with their current vectors."""
        if self.items is None:
            return fixed
        return ItemTable(fixed.ids, nn.functional.normalize(self.items.detach(), dim=-1).cpu().numpy())


class HierTCNLearner(SessionLearner):
    """HierTCN as it is trained for a bundle."""

    model: HierTCN


@dataclass(frozen=True)
class SessionBatch:
    """B users' N sessions, windows of at most L items of each, and the next item at each of 1 + L steps."""

    pooled: Floats  # (B, N, I)
    opened: Ints  # (B, N, L) rows of the item table, -1 for unknown and padding
    targets: Ints  # (B, N, 1 + L) rows of the item table
    loss_mask: Bools  # (B, N, 1 + L) is there a next item to learn from?
    lengths: Ints  # (B, N) items of the window


@dataclass
class HierTCNTask:
    """Everything that a step draws from."""

    sequences: UserSequences
    item_table: ItemTable
    sessions: UserSessions
    users: Ints  # trained on
    left_out: Ints  # codes of actions that are never a target
    training: HierTCNTraining
    learner: HierTCNLearner
    device: torch.device

    @cached_property
    def items(self) -> Tensor:
        """Return the fixed item vectors and a row of zeros on the device, ``(items + 1, I)``."""
        return torch.from_numpy(self.item_table.padded).to(self.device)

    def sample_loss(self, rng: np.random.Generator) -> Tensor:
        """Draw a batch and return its loss."""
        which = self.draw(self.batch_users(rng), rng)
        batch = self.windows_of(which, rng)
        if not batch.loss_mask.any():  # where few actions are no negatives
            return no_loss(self.learner)
        model, items = self.learner.model, self.learner.items_or(self.items)
        real = batch.loss_mask.any(axis=-1)  # (B, N): the low level has nothing to learn from the other sessions
        states = model.states_before(self.pooled(which, batch, items))  # (B, N, H)
        opened = items[torch.from_numpy(batch.opened[real]).to(self.device)]  # (R, L, I)
        started = nn.functional.pad(opened, (0, 0, 1, 0))  # (R, 1 + L, I)
        vectors = model.low_level(states[torch.from_numpy(real).to(self.device)], started)  # (R, 1 + L, S)
        mask = torch.from_numpy(batch.loss_mask[real]).to(self.device)  # (R, 1 + L)
        targets = torch.from_numpy(batch.targets[batch.loss_mask]).to(self.device)  # (P,)
        if self.training.pool is not None:
            return self.pool_loss(vectors[mask], targets, items, self.training.pool, rng)
        return next_item_loss(vectors[mask], targets, items, self.learner.temperature, self.training, rng)

    def pool_loss(self, vectors: Tensor, targets: Tensor, items: Tensor, pool: int, rng: np.random.Generator) -> Tensor:
        """Return the sampled softmax of vectors ``(P, S)``, whose next items are ``targets (P,)``, against one pool.

        Half of the pool is drawn as often as items are targets, half evenly, with replacement; log Q corrects it. The
        batch's own targets would not do: those of one session would push each other away.
        """
        popular = rng.choice(self.target_rows, pool // 2)
        drawn = np.concatenate([popular, uniform_items(pool - len(popular), len(self.item_table), rng)])
        negatives = torch.from_numpy(drawn).to(self.device)  # (M,)
        return sampled_softmax_loss(
            vectors,
            items[targets],
            items[negatives],
            self.learner.temperature.clamp(min=0.01),
            self.log_q[targets],
            self.log_q[negatives],
            targets.unsqueeze(1) == negatives,
            vectors.new_ones(len(targets)),
        )

    @cached_property
    def log_q(self) -> Tensor:
        """Return log Q of every item in a pool, ``(items,)``."""
        counts, pool = np.bincount(self.target_rows, minlength=len(self.item_table)), self.training.pool or 0
        shares = np.maximum(counts, 1) / max(len(self.target_rows), 1)
        rates = log_pool_rate(shares, pool // 2, pool - pool // 2, len(self.item_table))
        return torch.from_numpy(rates.astype(np.float32)).to(self.device)

    @cached_property
    def examples(self) -> Examples:
        """Return how many targets there are, and how many a batch holds by the mean of some."""
        rng = np.random.default_rng([self.training.fit.seed, 72])
        batches = [self.windows_of(self.draw(self.batch_users(rng), rng), rng) for _ in range(COUNTED_BATCHES)]
        return Examples(len(self.target_rows), float(np.mean([batch.loss_mask.sum() for batch in batches])))

    @cached_property
    def target_rows(self) -> Ints:
        """Return the items, rows of the table, of all actions that may be a target; of each as often as it is one."""
        rows = np.flatnonzero(np.isin(self.sequences.users, self.users) & (self.sequences.item_rows >= 0))
        return self.sequences.item_rows[rows[~np.isin(self.sequences.actions[rows], self.left_out)]]

    def batch_users(self, rng: np.random.Generator) -> Ints:
        """Draw the users of a batch."""
        return rng.choice(self.users, min(self.training.users, len(self.users)), replace=False)

    def draw(self, users: Ints, rng: np.random.Generator) -> Ints:
        """Draw consecutive sessions of each user, ``(B, N)``, oldest first, padded with -1 on the right."""
        starts, ends = self.sessions.user_starts[users], self.sessions.user_starts[users + 1]
        counts = np.minimum(ends - starts, self.training.sessions)
        spare = ends - starts - counts
        firsts = starts + (rng.random(len(users)) * (spare + 1)).astype(np.int64)
        steps = np.arange(int(counts.max(initial=1)))
        return np.where(steps < counts[:, None], firsts[:, None] + steps, -1)

    def windows_of(self, which: Ints, rng: np.random.Generator) -> SessionBatch:
        """Draw a window of each of these sessions ``(B, N)``; -1 is padding."""
        real = which >= 0
        starts = np.where(real, self.sessions.starts[which], 0)
        ends = np.where(real, self.sessions.ends[which], 0)
        spare = np.maximum(ends - starts - MAX_SESSION_ITEMS, 0)  # of long sessions, a window ends anywhere in them
        firsts = starts + (rng.random(which.shape) * (spare + 1)).astype(np.int64)
        lasts = np.minimum(firsts + MAX_SESSION_ITEMS, ends)
        steps = np.arange(int((lasts - firsts).max(initial=1)) + 1)  # 0..L
        rows = firsts[..., None] + steps  # (B, N, 1 + L): the row that follows `step` items of the window
        within = rows < np.minimum(lasts + 1, ends)[..., None]
        safe = np.where(within, rows, 0)
        items = np.where(within, self.sequences.item_rows[safe], -1)
        ignored = np.isin(self.sequences.actions[safe], self.left_out) | self.sequences.again[safe]
        begins = (steps > 0) | (firsts == starts)[..., None]  # a window inside a session has no step before any item
        return SessionBatch(
            pooled=np.where(real[..., None], self.sessions.pooled[which], np.float32(0)),
            opened=np.where(rows < lasts[..., None], items, -1)[..., :-1],
            targets=items,
            loss_mask=within & (items >= 0) & begins & ~ignored,
            lengths=lasts - firsts,
        )

    def pooled(self, which: Ints, batch: SessionBatch, items: Tensor) -> Tensor:
        """Return the mean items ``(B, N, I)`` of sessions by ``items (items + 1, I)``: of the fixed ones, cached."""
        return torch.from_numpy(batch.pooled).to(self.device) if items is self.items else self.pooled_of(which, items)

    def pooled_of(self, which: Ints, items: Tensor) -> Tensor:
        """Return the mean items ``(B, N, I)`` of sessions ``(B, N)``, -1 for padding, by ``items (items + 1, I)``.

        The plain twin of ``UserSessions.pooled``, with a gradient.
        """
        newest, counts = newest_items(self.sessions, self.sequences, which)
        sums = items[torch.from_numpy(newest).to(items.device)].sum(dim=2)
        return sums / torch.from_numpy(np.maximum(counts, 1)).to(items).unsqueeze(-1)


def next_item_loss(
    vectors: Tensor,
    targets: Tensor,
    items: Tensor,
    temperature: Tensor,
    training: HierTCNTraining,
    rng: np.random.Generator,
) -> Tensor:
    """Return the loss of vectors ``(P, S)`` whose next items are ``targets (P,)``, rows of ``items (items + 1, S)``."""
    temperature = temperature.clamp(min=0.01)
    if training.negatives is None and training.loss is cross_entropy_loss:
        return all_items_loss_in_parts(vectors / temperature, items[:-1], targets)
    if training.negatives is None:
        scores = vectors @ items[:-1].T / temperature  # (P, items)
        positives = scores.gather(1, targets.unsqueeze(1)).squeeze(1)
        return training.loss(positives, scores.scatter(1, targets.unsqueeze(1), -torch.inf))
    shape = (len(targets), training.negatives)
    drawn = torch.from_numpy(rng.integers(0, len(items) - 1, shape)).to(items.device)  # (P, K)
    negatives = torch.einsum("ps,pks->pk", vectors, items[drawn]) / temperature
    negatives = negatives.masked_fill(drawn == targets.unsqueeze(1), -torch.inf)
    return training.loss((vectors * items[targets]).sum(-1) / temperature, negatives)


class TrainedHierTCN(NamedTuple):
    """What training returns."""

    model: HierTCN
    history: FitHistory
    item_table: ItemTable  # the items with the vectors that the model was trained on


def train_hiertcn(
    log: EventLog,
    item_table: ItemTable,
    config: HierTCNConfig,
    training: HierTCNTraining,
    *,
    learn_items: bool = False,
    without: Sequence[str] = (),
    checkpoints: Path | None = None,
    limit: TimeLimit = NO_LIMIT,
    progress: Progress | None = None,
    device: torch.device | None = None,
) -> TrainedHierTCN:
    """Train on a log. Actions ``without`` (a hide) are inputs, never targets; ``learn_items`` trains items too.

    Raises ``LogError`` if no action is a target.
    """
    device = device or torch.device("cpu")
    sequences = group_by_user(log, item_table)
    trained, held_out = split_users(sequences, training.held_out_users, training.max_held_out, training.fit.seed)
    torch.manual_seed(training.fit.seed)
    learner = HierTCNLearner(HierTCN(config), training, item_table.vectors if learn_items else None).to(device)
    left_out = log.codes_of(without)
    if not np.any(np.isin(sequences.users, trained) & ~np.isin(sequences.actions, left_out)):
        raise LogError(
            f"the {len(trained):,} users to train on did nothing but {', '.join(without)}, which is never predicted: "
            "give a log with other actions, or name fewer with --negative"
        )
    sessions = sessionize(sequences, item_table)
    task = HierTCNTask(sequences, item_table, sessions, trained, left_out, training, learner, device)
    judged = sequences.of_users(held_out)  # else each evaluation would encode everybody's sessions
    queries = validation_queries(judged, np.arange(judged.num_users), left_out, training)

    def validation() -> float:
        return measure(learner.model, judged, learner.item_table_or(item_table), queries)

    history = fit(
        learner,
        task.sample_loss,
        training.fit,
        evaluate=validation if len(queries) else None,
        examples=task.examples,
        checkpoints=checkpoints,
        limit=limit,
        progress=progress,
        title="HierTCN",
        metric_name="recall@10",
    )
    return TrainedHierTCN(learner.model, history, learner.item_table_or(item_table))


def validation_queries(sequences: UserSequences, users: Ints, left_out: Ints, training: HierTCNTraining) -> Queries:
    """Draw rows of these users that are followed by another item of the same session."""
    rows = np.flatnonzero(np.isin(sequences.users, users))
    rows = rows[(rows + 1 < len(sequences))]
    rows = rows[~np.isin(sequences.actions[rows + 1], left_out)]
    return next_item_queries(sequences, rows, training.exclude_seen).sample(training.max_queries, training.fit.seed)


def measure(model: HierTCN, sequences: UserSequences, item_table: ItemTable, queries: Queries) -> float:
    """Return recall@10 of the next item by the session vectors as of the queries."""
    vectors = session_vectors_at(model, sequences, item_table, queries.rows)
    return recall(vectors, item_table.vectors, queries)
