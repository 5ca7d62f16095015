"""Blocks shared by several models; they know nothing of users, items or time."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class PostNormLayer(nn.Module):
    """One transformer encoder layer, norms after the residuals; ``nn.TransformerEncoderLayer`` written out.

    Plain, because torch's own has a fast path in ``eval()`` (an even number of heads, a padding mask) that returns
    zeros in padded rows where ``train()`` returns numbers: a difference between training and serving.
    """

    def __init__(self, width: int, heads: int, ffn: int, dropout: float) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"a width of {width} can't be split into {heads} heads")
        self.heads = heads
        self.dropout = dropout
        self.project = nn.Linear(width, 3 * width)  # queries, keys, values
        self.output = nn.Linear(width, width)
        self.norm_attention = nn.LayerNorm(width)
        self.expand = nn.Linear(width, ffn)
        self.contract = nn.Linear(ffn, width)
        self.norm_ffn = nn.LayerNorm(width)
        nn.init.xavier_uniform_(self.project.weight)
        nn.init.zeros_(self.project.bias)
        nn.init.zeros_(self.output.bias)

    def forward(self, rows: Tensor, keep: Tensor, projected: Tensor | None = None) -> Tensor:
        """Encode ``rows`` (B, T, D); only rows of ``keep`` (B, T) are attended to, at least one in each example.

        ``projected`` is ``project(rows)`` (B, T, 3 D), where it was made more cheaply.
        """
        projected = self.project(rows) if projected is None else projected
        rows = self.norm_attention(rows + self._drop(self.attend(projected, keep)))
        return self.norm_ffn(rows + self._drop(self.contract(self._drop(F.relu(self.expand(rows))))))  # type: ignore[no-any-return]

    def attend(self, projected: Tensor, keep: Tensor) -> Tensor:
        """Mix the kept rows into each row: queries, keys and values (B, T, 3 D) -> (B, T, D)."""
        batch, length, width = projected.shape[0], projected.shape[1], projected.shape[2] // 3
        split = (batch, length, self.heads, width // self.heads)
        queries, keys, values = (part.reshape(split).transpose(1, 2) for part in projected.chunk(3, -1))
        mixed = F.scaled_dot_product_attention(  # (B, heads, T, D / heads)
            queries, keys, values, keep[:, None, None, :], dropout_p=self.dropout if self.training else 0.0
        )
        return self.output(mixed.transpose(1, 2).reshape(batch, length, width))  # type: ignore[no-any-return]

    def _drop(self, rows: Tensor) -> Tensor:
        return F.dropout(rows, self.dropout, self.training)


class CrossLayer(nn.Module):
    """DCN v2's cross (arXiv 2008.13535, equation 1): ``x0 * (W x + b) + x``, W full or of rank ``rank``."""

    def __init__(self, width: int, rank: int | None) -> None:
        super().__init__()
        self.down = None if rank is None else nn.Linear(width, rank, bias=False)
        self.up = nn.Linear(width if rank is None else rank, width)

    def forward(self, first: Tensor, rows: Tensor) -> Tensor:
        """Cross ``rows`` (B, X) with the network's input ``first`` (B, X)."""
        return first * self.up(rows if self.down is None else self.down(rows)) + rows  # type: ignore[no-any-return]


class Mlp(nn.Module):
    """Linear layers with a ReLU after each."""

    def __init__(self, widths: Sequence[int], dropout: float = 0.0) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(wide, narrow) for wide, narrow in pairwise(widths))
        self.dropout = dropout

    def forward(self, rows: Tensor) -> Tensor:
        """Return (B, widths[-1]) of (B, widths[0])."""
        for layer in self.layers:
            rows = F.dropout(F.relu(layer(rows)), self.dropout, self.training)
        return rows


def is_kept(action_types: Tensor) -> Tensor:
    """Return which rows of ``action_types`` (B, T) count: actions, and row 0 of a user without any."""
    first = torch.arange(action_types.shape[1], device=action_types.device) == 0
    return (action_types > 0) | first
