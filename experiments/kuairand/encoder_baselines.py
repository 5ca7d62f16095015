"""What TransAct is compared with: other encoders of the same history, other ways to pass their outputs on.

Each can stand in for ``models.ranker.transact.TransAct`` (``models.ranker.hybrid.SequenceEncoder``); none can be
served.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from rankstream.models.layers import PostNormLayer, is_kept
from rankstream.models.ranker.transact import TransAct, TransActConfig


def masked_mean(rows: Tensor, keep: Tensor) -> Tensor:
    """Return the mean (B, D) of the kept rows (B, T, D)."""
    kept = keep[:, :, None].to(rows.dtype)
    return (rows * kept).sum(1) / kept.sum(1)


def masked_max(rows: Tensor, keep: Tensor) -> Tensor:
    """Return the largest (B, D) of the kept rows (B, T, D)."""
    return rows.masked_fill(~keep[:, :, None], float("-inf")).amax(1)


class NoSequence(nn.Module):
    """Nothing of what the user just did: Pinnability before TransAct."""

    width = 0

    def __init__(self, config: TransActConfig) -> None:
        super().__init__()

    def forward(self, action_types: Tensor, action_items: Tensor, candidate_items: Tensor) -> Tensor:
        """Return (B, 0)."""
        return candidate_items[:, :0]


class AverageItems(nn.Module):
    """The mean item vector of the history: "WDL + average pooling" (tables 1 and 3)."""

    def __init__(self, config: TransActConfig) -> None:
        super().__init__()
        self.width = config.item_dim

    def forward(self, action_types: Tensor, action_items: Tensor, candidate_items: Tensor) -> Tensor:
        """Return (B, I)."""
        return masked_mean(action_items, is_kept(action_types))


class TypedRows(nn.Module):
    """An action type's embedding beside the item's vector: the rows of what does not see the candidate."""

    def __init__(self, config: TransActConfig) -> None:
        super().__init__()
        self.actions = nn.Embedding(config.num_types + 1, config.action_dim, padding_idx=0)
        self.row = config.action_dim + config.item_dim

    def rows(self, action_types: Tensor, action_items: Tensor) -> Tensor:
        """Return (B, T, A + I)."""
        return torch.cat([self.actions(action_types), action_items], dim=-1)


class AverageRows(TypedRows):
    """The mean of action types and items: average pooling that knows the action types."""

    def __init__(self, config: TransActConfig) -> None:
        super().__init__(config)
        self.width = self.row

    def forward(self, action_types: Tensor, action_items: Tensor, candidate_items: Tensor) -> Tensor:
        """Return (B, A + I)."""
        return masked_mean(self.rows(action_types, action_items), is_kept(action_types))


class Convolution(TypedRows):
    """Two convolutions over the history, then the largest of each channel."""

    def __init__(self, config: TransActConfig, channels: int = 96, kernel: int = 3) -> None:
        super().__init__(config)
        self.first = nn.Conv1d(self.row, channels, kernel, padding=kernel // 2)
        self.second = nn.Conv1d(channels, channels, kernel, padding=kernel // 2)
        self.width = channels

    def forward(self, action_types: Tensor, action_items: Tensor, candidate_items: Tensor) -> Tensor:
        """Return (B, channels)."""
        keep = is_kept(action_types)
        rows = self.rows(action_types, action_items) * keep[:, :, None]
        inner = torch.relu(self.first(rows.mT)) * keep[:, None]
        return masked_max(torch.relu(self.second(inner)).mT, keep)


class Recurrent(TypedRows):
    """A recurrent network from the oldest action to the newest; its last state."""

    network: type[nn.RNN] | type[nn.LSTM] | type[nn.GRU]

    def __init__(self, config: TransActConfig, hidden: int = 96) -> None:
        super().__init__(config)
        self.cells = self.network(self.row, hidden, batch_first=True)
        self.width = hidden

    def forward(self, action_types: Tensor, action_items: Tensor, candidate_items: Tensor) -> Tensor:
        """Return (B, hidden)."""
        lengths = is_kept(action_types).sum(1)
        steps = torch.arange(action_types.shape[1], device=action_types.device)
        reverse = (lengths[:, None] - 1 - steps).clamp(min=0)  # newest first -> oldest first
        rows = self.rows(action_types, action_items)
        rows = rows.gather(1, reverse[:, :, None].expand_as(rows))
        packed = pack_padded_sequence(rows, lengths.cpu(), batch_first=True, enforce_sorted=False)
        _, state = self.cells(packed)
        return (state[0] if isinstance(state, tuple) else state)[-1]  # type: ignore[no-any-return]


class Rnn(Recurrent):
    """A plain recurrent network."""

    network = nn.RNN


class Lstm(Recurrent):
    """An LSTM."""

    network = nn.LSTM


class ItemTransformer(nn.Module):
    """A transformer of the items alone, no action types, no candidate: table 3's vanilla one; first K and max."""

    def __init__(self, config: TransActConfig) -> None:
        super().__init__()
        self.config = replace(config, action_dim=0)
        self.layers = nn.ModuleList(
            PostNormLayer(config.item_dim, config.heads, config.ffn, config.dropout) for _ in range(config.layers)
        )
        self.width = (config.recent_outputs + 1) * config.item_dim

    def forward(self, action_types: Tensor, action_items: Tensor, candidate_items: Tensor) -> Tensor:
        """Return (B, (K + 1) * I)."""
        rows, keep = action_items, is_kept(action_types)
        for layer in self.layers:
            rows = layer(rows, keep)
        return first_and_max(rows, keep, self.config.recent_outputs)


class Append(TypedRows):
    """BST's fusion: the candidate as one more row, of a type of its own, in front; outputs passed on as TransAct's."""

    def __init__(self, config: TransActConfig) -> None:
        super().__init__(replace(config, num_types=config.num_types + 1))
        self.candidate_type, self.recent = config.num_types + 1, config.recent_outputs
        self.layers = nn.ModuleList(
            PostNormLayer(self.row, config.heads, config.ffn, config.dropout) for _ in range(config.layers)
        )
        self.width = (config.recent_outputs + 1) * self.row

    def forward(self, action_types: Tensor, action_items: Tensor, candidate_items: Tensor) -> Tensor:
        """Return (B, (K + 1) * (A + I))."""
        types = torch.cat([torch.full_like(action_types[:, :1], self.candidate_type), action_types], dim=1)
        rows = self.rows(types, torch.cat([candidate_items[:, None], action_items], dim=1))
        keep = types > 0
        for layer in self.layers:
            rows = layer(rows, keep)
        return first_and_max(rows, keep, self.recent)


class Untyped(TransAct):
    """TransAct without action types: every action has the same one."""

    def forward(self, action_types: Tensor, action_items: Tensor, candidate_items: Tensor) -> Tensor:
        """Return TransAct's output for actions of one type."""
        return super().forward(action_types.clamp(max=1), action_items, candidate_items)


# --- Ways to pass the outputs on (table 4): rows (B, T, D), which are kept (B, T), how many -> (B, n * D) ---


def first(rows: Tensor, keep: Tensor, count: int) -> Tensor:
    """Return the newest ``count`` rows, zeros where there are fewer."""
    shown = rows.masked_fill(~keep[:, :, None], 0.0)[:, :count]
    return nn.functional.pad(shown, (0, 0, 0, count - shown.shape[1])).flatten(1)


def largest(rows: Tensor, keep: Tensor, count: int) -> Tensor:
    """Return the max over the kept rows."""
    return masked_max(rows, keep)


def first_and_max(rows: Tensor, keep: Tensor, count: int) -> Tensor:
    """Return the newest ``count`` rows and the max over all."""
    return torch.cat([first(rows, keep, count), masked_max(rows, keep)], dim=-1)


def random_rows(rows: Tensor, keep: Tensor, count: int) -> Tensor:
    """Return ``count`` random rows in their order; the same ones for the same shape, so that scores can be repeated."""
    rng = torch.Generator().manual_seed(rows.shape[0] * 1000 + rows.shape[1])
    priorities = torch.rand(keep.shape, generator=rng).to(rows).masked_fill(~keep, 2.0)
    indices = priorities.argsort(1)[:, :count].sort(1).values
    return first(rows.gather(1, indices[:, :, None].expand(-1, -1, rows.shape[2])), keep.gather(1, indices), count)


@dataclass(frozen=True)
class Compression:
    """How outputs are passed on, and how many rows wide that is."""

    apply: Callable[[Tensor, Tensor, int], Tensor]
    count: int  # rows that ``apply`` is called for
    more: int = 0  # rows that it adds
    alone: bool = False  # returns one row, whatever ``count`` is

    @property
    def rows(self) -> int:
        """How many rows wide the result is."""
        return 1 if self.alone else self.count + self.more


class Compressed(TransAct):
    """TransAct whose outputs are passed on in another way; without the linear behind the max-pool."""

    def __init__(self, config: TransActConfig, compression: Compression) -> None:
        super().__init__(config)
        self.compression = compression
        del self.pool

    @property
    def width(self) -> int:
        """Width of what is passed on."""
        return self.compression.rows * self.config.width

    def compress(self, rows: Tensor, keep: Tensor) -> Tensor:
        """Pass the outputs on."""
        return self.compression.apply(rows, keep, self.compression.count)
