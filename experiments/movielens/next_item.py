"""PinnerFormer's encoder with the simplest head: a softmax over all items, as SASRec and its kin are trained.

A check of the encoder against published metrics of sequence models, on logs that have the order of actions but no
times: items are ids with learned vectors (tied input and output embeddings), time is the position alone. Sequences are
oldest first, padded on the right; each position predicts the item after it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from rankstream.features.schema import Floats
from rankstream.models.training.losses import all_items_loss_in_parts, among
from rankstream.models.users.pinnerformer import CausalBlock

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class NextItemConfig:
    """Sizes; what published runs on MovieLens-1M take is behind each."""

    items: int  # their rows are 0..items - 1
    num_actions: int = 200  # newest items that count; 200
    hidden: int = 64  # 64 to 256
    layers: int = 2  # 2
    heads: int = 2  # 1 to 8
    dropout: float = 0.2  # 0.1 to 0.5
    repeats: bool = False  # learn one weight of items already in the context; not in the published models


class NextItemModel(nn.Module):
    """Causal encoder over items, scoring all items at every position."""

    def __init__(self, config: NextItemConfig) -> None:
        super().__init__()
        self.config = config
        self.items = nn.Embedding(config.items + 1, config.hidden, padding_idx=config.items)
        nn.init.normal_(self.items.weight, std=config.hidden**-0.5)
        self.positions = nn.Parameter(0.02 * torch.randn(config.num_actions, config.hidden))
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(
            CausalBlock(config.hidden, config.heads, config.dropout) for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(config.hidden)
        # Below zero where no item occurs twice, above where items are repeated. Attention can't express it for all of
        # 200 items at once: in sums of 200 vectors of 64 dimensions they are not separable.
        self.repeat = nn.Parameter(torch.zeros(())) if config.repeats else None
        self.scale = config.hidden**0.5  # of vectors in, and of the repeat weight: Adam's steps fit scores of about 1

    def forward(self, items: Tensor) -> Tensor:
        """Return a context a position, ``(B, T, H)``, of items ``(B, T)`` int64; padding is item ``config.items``."""
        x = self.items(items) * self.scale + self.positions[: items.shape[1]]
        x = self.dropout(x)
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.norm(x)
        return out

    def scores(self, contexts: Tensor, seen: Tensor) -> Tensor:
        """Return scores of all items, ``(n, items)``, of contexts ``(n, H)`` that have ``seen`` items ``(n, S)``."""
        scores = contexts @ self.items.weight[:-1].T
        weight = self.repeat_weight
        return scores if weight is None else scores + weight * among(seen, self.config.items)

    @property
    def repeat_weight(self) -> Tensor | None:
        """Return what is added to the score of an item already in the context, ``()``."""
        return None if self.repeat is None else self.scale * self.repeat

    def loss(self, items: Tensor, loss_mask: Tensor) -> Tensor:
        """Return the mean cross entropy of items ``(B, 1 + T)`` after each position of ``loss_mask (B, T)``."""
        contexts, seen = self(items[:, :-1])[loss_mask], None  # (P, H)
        weight = self.repeat_weight
        if weight is not None:
            rows, positions = loss_mask.nonzero(as_tuple=True)
            later = torch.arange(loss_mask.shape[1]) > positions.unsqueeze(1)
            seen = items[rows, :-1].masked_fill(later, self.config.items)  # (P, T)
        return all_items_loss_in_parts(contexts, self.items.weight[:-1], items[:, 1:][loss_mask], seen, weight)


@dataclass
class NextItemTask:
    """What a training step samples from: batches of about as many positions, of sequences of about one length."""

    sequences: Sequence[Ints]  # oldest first, of at least two items each
    model: NextItemModel
    positions: int = 8192  # of a batch
    anywhere: float = 0.5  # of long sequences: how often the window ends anywhere, not at the newest item

    @cached_property
    def lengths(self) -> Ints:
        """Return how many positions of each sequence have a target."""
        return np.minimum([len(items) - 1 for items in self.sequences], self.model.config.num_actions)

    def sample_loss(self, rng: np.random.Generator) -> Tensor:
        """Sample a batch and return the mean cross entropy over its positions."""
        items, lengths = self.draw(rng)  # (B, 1 + T)
        loss_mask = torch.from_numpy(np.arange(items.shape[1] - 1) < lengths[:, None])  # (B, T)
        return self.model.loss(torch.from_numpy(items), loss_mask)

    def draw(self, rng: np.random.Generator) -> tuple[Ints, Ints]:
        """Sample windows of one more item than positions, ``(B, 1 + T)``, and how many positions each has."""
        order = np.argsort(
            self.lengths * rng.uniform(0.8, 1.25, len(self.lengths))
        )  # of similar length, but other batches each time
        batches = np.cumsum(self.lengths[order]) // self.positions
        users = order[batches == rng.integers(batches[-1] + 1)]
        lengths = self.lengths[users]
        items = np.full((len(users), 1 + lengths.max()), self.model.config.items)
        for row, user, length in zip(items, users, lengths, strict=True):
            row[: length + 1] = self._window(self.sequences[user], length, rng)
        return items, lengths

    def _window(self, sequence: Ints, length: int, rng: np.random.Generator) -> Ints:
        spare = len(sequence) - 1 - length
        start = rng.integers(spare + 1) if rng.random() < self.anywhere else spare
        return sequence[start : start + length + 1]


@torch.no_grad()
def ranks(model: NextItemModel, sequences: Sequence[Ints], *, exclude_seen: bool = False, batch: int = 256) -> Floats:
    """Return the rank, from 1, of each sequence's last item among all items, predicted from those before it, ``(n,)``.

    ``exclude_seen`` leaves the items before it out of the ranking. Equal scores count half.
    """
    model.eval()
    order = np.argsort([len(items) for items in sequences], kind="stable")
    found = np.zeros(len(sequences), np.float32)
    for at in range(0, len(order), batch):
        part = order[at : at + batch]
        items, lengths = _padded([sequences[user][:-1] for user in part], model.config)
        seen = torch.from_numpy(items)
        contexts = model(seen)[torch.arange(len(part)), torch.from_numpy(lengths - 1)]
        scores = model.scores(contexts, seen)  # (n, items)
        last = torch.tensor([sequences[user][-1] for user in part]).unsqueeze(1)
        of_last = scores.gather(1, last)
        if exclude_seen:
            for row, user in zip(scores, part, strict=True):
                row[torch.from_numpy(np.setdiff1d(sequences[user][:-1], sequences[user][-1:]))] = -torch.inf
        equal = (scores == of_last).sum(1) - 1
        found[part] = ((scores > of_last).sum(1) + equal / 2 + 1).numpy()
    return found


def _padded(sequences: Sequence[Ints], config: NextItemConfig) -> tuple[Ints, Ints]:
    lengths = np.minimum([len(items) for items in sequences], config.num_actions)
    rows = np.full((len(sequences), lengths.max()), config.items)
    for row, items, length in zip(rows, sequences, lengths, strict=True):
        row[:length] = items[len(items) - length :]
    return rows, lengths
