"""PinnerFormer (KDD'22): a long history as one vector, near the items that the user will act on in weeks to come.

The model takes actions OLDEST FIRST, padded on the right; a history (``features/history.py``) is newest first, and
``tokens_of`` below is the one function that reverses it. Attention is causal, so padding never reaches a real row and
every position is a user vector "as of that action"; the newest one is served::

    history, newest first     e d c b a
    tokens, oldest first      a b c d e .      . = padding
    user vectors              1 2 3 4 5        5 is served; in training each predicts its own future

It knows nothing of losses, sampling or storage.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from rankstream.features.actions import ActionColumns
from rankstream.features.embeddings.base import VectorTable
from rankstream.features.schema import Floats
from rankstream.models.users.time_features import NUM_ANGLES, NUM_LOGS, SINCE_LATEST, time_features

OF_TOKENS = [*range(SINCE_LATEST.start), *range(SINCE_LATEST.stop, NUM_ANGLES)]  # angles without "since latest"
LOGS_OF_TOKENS = [0, 2]  # and logarithms without it


@dataclass(frozen=True)
class PinnerFormerConfig:
    """Sizes; the paper's final ones behind each, ours by default small enough for one core."""

    action_types: int  # of the vocabulary; codes from 1, row 0 of the table is padding
    surfaces: int = 0  # of the vocabulary; row 0 is "none"
    num_actions: int = 100  # M: newest actions that count; 256, but the stream's history keeps 100
    item_dim: int = 32  # I: item vector; 256-d PinSage
    user_dim: int = 64  # U: diminishing returns past 128; 256
    hidden: int = 64  # H; 768
    layers: int = 2  # L; 6, of which 2x256 loses 5 % of recall@10
    heads: int = 4  # "no effect"; 8
    action_dim: int = 16  # action-type embedding; not published
    surface_dim: int = 8  # surface embedding; not published
    dropout: float = 0.1  # not published
    time_in_attention: bool = True  # False: "time since latest" in the tokens, as published; see ``PairTimes``

    def __post_init__(self) -> None:
        if self.hidden % self.heads:
            raise ValueError(f"hidden size {self.hidden} cannot be shared by {self.heads} heads; take a multiple")

    @property
    def token_dim(self) -> int:
        """Width of a token before the projection to ``hidden``."""
        angles, logs = (len(OF_TOKENS), len(LOGS_OF_TOKENS)) if self.time_in_attention else (NUM_ANGLES, NUM_LOGS)
        return self.item_dim + self.action_dim + self.surface_dim + 1 + 2 * angles + logs


class ActionSequences(NamedTuple):
    """What the model sees of a batch of users: B users, T actions, oldest first, padded on the right."""

    item_vectors: Tensor  # (B, T, I)
    action_types: Tensor  # (B, T) int64, 0 is padding
    surfaces: Tensor  # (B, T) int64, 0 is "none"
    log_values: Tensor  # (B, T) log2(1 + value)
    angles: Tensor  # (B, T, 76) of time_features
    logs: Tensor  # (B, T, 3) of time_features


class PinnerFormer(nn.Module):
    """User and item tower into one space, where the dot product of unit vectors is the score."""

    def __init__(self, config: PinnerFormerConfig) -> None:
        super().__init__()
        self.config = config
        self.action_embedding = nn.Embedding(config.action_types + 1, config.action_dim, padding_idx=0)
        self.surface_embedding = nn.Embedding(config.surfaces + 1, config.surface_dim)
        self.item_scale = sqrt(config.item_dim)  # unit vectors' parts are small: 152 time features would drown them
        self.phases = nn.Parameter(torch.zeros(len(OF_TOKENS) if config.time_in_attention else NUM_ANGLES))
        self.project = nn.Linear(config.token_dim, config.hidden)
        self.positions = nn.Parameter(0.02 * torch.randn(config.num_actions, config.hidden))
        self.blocks = nn.ModuleList(
            CausalBlock(config.hidden, config.heads, config.dropout) for _ in range(config.layers)
        )
        self.pair_times = nn.ModuleList(
            PairTimes(config.heads) for _ in range(config.layers if config.time_in_attention else 0)
        )
        self.user_head = nn.Sequential(
            nn.LayerNorm(config.hidden),
            nn.Linear(config.hidden, 4 * config.hidden),
            nn.GELU(),
            nn.Linear(4 * config.hidden, config.user_dim),
        )
        self.item_tower = nn.Sequential(
            nn.Linear(config.item_dim, 4 * config.hidden),
            nn.GELU(),
            nn.Linear(4 * config.hidden, config.user_dim),
        )

    def forward(self, batch: ActionSequences) -> Tensor:
        """Return the user's unit vector as of every action, ``(B, T, U)``."""
        return unit(self.user_head(self.contexts(batch)))

    def encode_at(self, batch: ActionSequences, rows: Tensor, positions: Tensor) -> Tensor:
        """Return the vectors as of some actions only, ``(P, U)``: position ``positions[p]`` of row ``rows[p]``."""
        return unit(self.user_head(self.contexts(batch)[rows, positions]))

    def encode_last(self, batch: ActionSequences, lengths: Tensor | None = None) -> Tensor:
        """Return the vector that is served, as of the newest action, ``(B, U)``.

        ``lengths (B,)``, each at least 1, give each row's newest action; it is the last column without them.
        """
        if lengths is None:
            return unit(self.user_head(self.contexts(batch)[:, -1]))
        return self.encode_at(batch, torch.arange(len(lengths), device=lengths.device), lengths - 1)

    def encode_items(self, item_vectors: Tensor) -> Tensor:
        """Return items' unit vectors in the users' space, ``(..., I)`` -> ``(..., U)``."""
        return unit(self.item_tower(self.item_scale * item_vectors))

    def contexts(self, batch: ActionSequences) -> Tensor:
        """Return the transformer's output before the head, ``(B, T, H)``."""
        x: Tensor = self.project(self.tokens(batch))  # (B, T, H)
        x = x + self.positions[: x.shape[1]]  # counted from the oldest: a later action never moves an earlier one
        if not self.config.time_in_attention:
            for block in self.blocks:
                x = block(x)
            return x
        since = batch.angles[..., SINCE_LATEST]
        for block, pair_times in zip(self.blocks, self.pair_times, strict=True):
            x = block(x, pair_times(since))
        return x

    def tokens(self, batch: ActionSequences) -> Tensor:
        """Return one row an action, ``(B, T, token_dim)`` (section 3.1)."""
        angles, logs = batch.angles, batch.logs
        if self.config.time_in_attention:
            angles, logs = angles[..., OF_TOKENS], logs[..., LOGS_OF_TOKENS]
        turned = angles + self.phases  # (B, T, 44), or 76 as published
        return torch.cat(
            [
                self.item_scale * batch.item_vectors,
                self.action_embedding(batch.action_types),
                self.surface_embedding(batch.surfaces),
                batch.log_values.unsqueeze(-1) / 8,  # log2(1 + value) reaches 16: brought to the size of its neighbours
                torch.cos(turned),
                torch.sin(turned),
                logs,
            ],
            dim=-1,
        )


class PairTimes(nn.Module):
    """How much later one action came than another, as a bias of attention: sines of the time between them.

    The paper puts "time since the latest action" into each token. Serving knows it: the vector is as of the latest
    action. Training takes a loss at many positions of a window, and they share the tokens: counted from the window's
    end the feature leaks to an earlier position how soon later actions come. Between a pair of positions the same sines
    belong to that pair alone, in training as in serving. Bias of a head: ``sum_k c_k cos + s_k sin``.
    """

    def __init__(self, heads: int) -> None:
        super().__init__()
        count = SINCE_LATEST.stop - SINCE_LATEST.start
        self.cosines = nn.Parameter(torch.zeros(heads, 1, count))  # c
        self.sines = nn.Parameter(torch.zeros(heads, 1, count))  # s

    def forward(self, since: Tensor) -> Tensor:
        """Return biases ``(B, heads, T, T)``, minus infinity where a key is later than its query.

        ``since (B, T, 32)`` are angles of the time to any common reference time: only their differences count.
        """
        cos, sin = torch.cos(since).unsqueeze(1), torch.sin(since).unsqueeze(1)  # (B, 1, T, 32)
        queries = torch.cat([self.cosines * cos - self.sines * sin, self.cosines * sin + self.sines * cos], dim=-1)
        biases = queries @ torch.cat([cos, sin], dim=-1).mT  # (B, heads, T, T)
        later = torch.ones(since.shape[1], since.shape[1], dtype=torch.bool, device=since.device).triu(1)
        return biases.masked_fill(later, -torch.inf)


class CausalBlock(nn.Module):
    """Pre-norm transformer block: each position attends to itself and to older ones."""

    def __init__(self, hidden: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(hidden)
        self.queries_keys_values = nn.Linear(hidden, 3 * hidden)
        self.mix = nn.Linear(hidden, hidden)
        self.feed_norm = nn.LayerNorm(hidden)
        self.feed = nn.Sequential(nn.Linear(hidden, 4 * hidden), nn.GELU(), nn.Linear(4 * hidden, hidden))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, biases: Tensor | None = None) -> Tensor:
        """Return ``(B, T, H)`` of ``(B, T, H)``; ``biases (B, heads, T, T)`` bring the mask with them."""
        x = x + self.dropout(self.attend(self.attention_norm(x), biases))
        out: Tensor = x + self.dropout(self.feed(self.feed_norm(x)))
        return out

    def attend(self, x: Tensor, biases: Tensor | None) -> Tensor:
        """Return causal self-attention, ``(B, T, H)``."""
        batch, count, hidden = x.shape
        packed = self.queries_keys_values(x).view(batch, count, 3, self.heads, hidden // self.heads)
        queries, keys, values = packed.permute(2, 0, 3, 1, 4).unbind(0)  # (B, heads, T, H / heads) each
        mixed = functional.scaled_dot_product_attention(queries, keys, values, biases, is_causal=biases is None)
        out: Tensor = self.mix(mixed.transpose(1, 2).reshape(batch, count, hidden))
        return out


def unit(x: Tensor) -> Tensor:
    """Scale vectors in the last dimension to length 1."""
    return functional.normalize(x, dim=-1)


@dataclass(frozen=True)
class Tokens:
    """One user's actions as the model wants them, oldest first, none of them unknown."""

    item_vectors: Floats  # (T, I)
    action_types: npt.NDArray[np.int64]  # (T,)
    surfaces: npt.NDArray[np.int64]  # (T,)
    log_values: Floats  # (T,)
    times_ms: npt.NDArray[np.int64]  # (T,)

    def __len__(self) -> int:
        return len(self.times_ms)


def tokens_of(actions: ActionColumns, items: VectorTable, config: PinnerFormerConfig) -> Tokens:
    """Turn a history's actions, newest first, into tokens, oldest first.

    Actions on items without a vector are dropped (section 3.1), and so are types that the model was not trained with;
    surfaces that it was not trained with count as "none".
    """
    vectors, found = items.look_up(actions.item_keys)
    known = np.flatnonzero(found & (actions.action_types <= config.action_types))
    kept = known[: config.num_actions][::-1]  # the newest, then oldest first
    return Tokens(
        item_vectors=vectors[kept],
        action_types=actions.action_types[kept],
        surfaces=known_surfaces(actions.surfaces[kept], config),
        log_values=actions.log_values[kept],
        times_ms=actions.times_ms[kept],
    )


def known_surfaces(surfaces: npt.NDArray[np.int64], config: PinnerFormerConfig) -> npt.NDArray[np.int64]:
    """Return surfaces with 0, "none", for those that the model was not trained with."""
    return np.where(surfaces <= config.surfaces, surfaces, 0)


def collate(users: Sequence[Tokens]) -> tuple[ActionSequences, Tensor]:
    """Pad users' tokens on the right to the longest; return the batch and lengths ``(B,)``."""
    lengths = np.array([len(user) for user in users], np.int64)
    count = int(lengths.max(initial=1))

    def padded(columns: list[npt.NDArray[np.generic]]) -> npt.NDArray[np.generic]:
        rows = np.zeros((len(columns), count, *columns[0].shape[1:]), columns[0].dtype)
        for row, column in zip(rows, columns, strict=True):
            row[: len(column)] = column
        return rows

    angles, logs = time_features(padded([user.times_ms for user in users]).astype(np.int64), lengths)
    sequences = ActionSequences(
        item_vectors=torch.from_numpy(padded([user.item_vectors for user in users])),
        action_types=torch.from_numpy(padded([user.action_types for user in users])),
        surfaces=torch.from_numpy(padded([user.surfaces for user in users])),
        log_values=torch.from_numpy(padded([user.log_values for user in users])),
        angles=torch.from_numpy(angles),
        logs=torch.from_numpy(logs),
    )
    return sequences, torch.from_numpy(lengths)
