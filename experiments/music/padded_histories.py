"""Padded sequences: how flat models are trained, each user's newest items in one row as long as the longest.

The plain way that HierTCN's queues are measured against: memory grows with the longest history of a batch, and what is
shorter is padding.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from rankstream.events.sequences import UserSequences
from rankstream.features.embeddings.memory import ItemTable
from rankstream.features.schema import Bools, Floats
from rankstream.models.sessions.hiertcn_training import HierTCNTraining, SessionLearner, next_item_loss
from rankstream.models.training.negatives import Ints

LONGEST = 500  # newest items of a user; the official code's


@dataclass(frozen=True)
class PaddedBatch:
    """B users' newest T + 1 items; the item after each of T is the target."""

    items: Ints  # (B, T) rows of the item table, -1 for unknown and padding
    targets: Ints  # (B, T)
    loss_mask: Bools  # (B, T)


@dataclass
class PaddedTask:
    """Everything that a step samples from."""

    sequences: UserSequences
    item_table: ItemTable
    users: Ints  # trained on
    training: HierTCNTraining
    learner: SessionLearner  # of a flat model, ``(B, T, I)`` to ``(B, T, I)``
    longest: int = LONGEST

    @cached_property
    def items(self) -> Tensor:
        """Return item vectors and a row of zeros, ``(items + 1, I)``."""
        return torch.from_numpy(self.item_table.padded)

    def sample_loss(self, rng: np.random.Generator) -> Tensor:
        """Draw users and return the loss over all their next items."""
        batch = self.draw(rng)
        items = self.learner.items_or(self.items)
        vectors = self.learner.model(items[torch.from_numpy(batch.items)])
        mask, targets = torch.from_numpy(batch.loss_mask), torch.from_numpy(batch.targets[batch.loss_mask])
        return next_item_loss(vectors[mask], targets, items, self.learner.temperature, self.training, rng)

    def draw(self, rng: np.random.Generator) -> PaddedBatch:
        """Draw users, each with its newest items."""
        users = rng.choice(self.users, min(self.training.users, len(self.users)), replace=False)
        ends = self.sequences.starts[users + 1]
        starts = np.maximum(self.sequences.starts[users], ends - self.longest - 1)
        rows = starts[:, None] + np.arange(int((ends - starts).max()))
        items = np.where(rows < ends[:, None], self.sequences.item_rows[np.minimum(rows, len(self.sequences) - 1)], -1)
        return PaddedBatch(items[:, :-1], items[:, 1:], items[:, 1:] >= 0)


@torch.no_grad()
def flat_vectors_at(model: nn.Module, sequences: UserSequences, item_table: ItemTable, rows: Ints) -> Floats:
    """Return a flat model's vector after each of these rows, ``(n, I)``, a user's whole history in one pass."""
    items = torch.from_numpy(item_table.padded)
    vectors = np.zeros((len(rows), item_table.dim), np.float32)
    owners = sequences.users[rows]
    for user in np.unique(owners):
        mine = np.flatnonzero(owners == user)
        start, last = sequences.starts[user], rows[mine].max()
        every = model(items[torch.from_numpy(sequences.item_rows[start : last + 1])][None])[0]
        vectors[mine] = every[torch.from_numpy(rows[mine] - start)].numpy()
    return vectors
