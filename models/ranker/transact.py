"""TransAct: a transformer over a user's newest actions, each seen beside the candidate (KDD'23, section 3.3).

::

    newest first       action 32 | item 32 | candidate 32        one row an action, T rows, no positional encoding
                       -> 2 post-norm layers, 1 head, feed-forward 32
                       -> the first K = 10 rows | linear(max over all rows)                  (K + 1) * 96 wide

Against the published module, which is partly a warning: padded rows take no part in anything, the max-pool included;
type 0 is padding and no action's; the time-window mask draws from a generator that is handed in.

A user without actions is one row of type 0 with a zero item: attended to, pooled, first of the K.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from rankstream.features.schema import PADDING_TYPE
from rankstream.models.layers import PostNormLayer, is_kept

HOUR_MS = 3_600_000


@dataclass(frozen=True)
class TransActConfig:
    """Sizes of the encoder; the defaults are the paper's."""

    num_types: int  # action types of the vocabulary; their codes are 1..num_types
    item_dim: int = 32  # width of an item vector; PinSage's in the paper
    action_dim: int = 32  # width of an action type's embedding
    layers: int = 2  # 4 with a feed-forward of 384 were best (fig. 5), for 30 % more latency
    heads: int = 1  # the paper's; the published code's default is 2, and serving 1 costs a fifth less
    ffn: int = 32
    dropout: float = 0.1
    recent_outputs: int = 10  # K: rows passed on beside the max-pool (table 4: more gain little)
    mask_window_ms: int = 24 * HOUR_MS  # 24 h in the paper, 1 h in the published code; shorter for logs of one sitting

    @property
    def width(self) -> int:
        """D: width of a row."""
        return self.action_dim + 2 * self.item_dim

    @property
    def output(self) -> int:
        """Width of what is passed on: (K + 1) * D."""
        return (self.recent_outputs + 1) * self.width


class TransAct(nn.Module):
    """Encodes pairs of a history and a candidate."""

    def __init__(self, config: TransActConfig) -> None:
        super().__init__()
        self.config = config
        self.actions = nn.Embedding(config.num_types + 1, config.action_dim, padding_idx=PADDING_TYPE)
        self.layers = nn.ModuleList(
            PostNormLayer(config.width, config.heads, config.ffn, config.dropout) for _ in range(config.layers)
        )
        self.pool = nn.Linear(config.width, config.width)  # in the published code only, on the max-pool alone

    @property
    def width(self) -> int:
        """Width of what is passed on."""
        return self.config.output

    def forward(self, action_types: Tensor, action_items: Tensor, candidate_items: Tensor) -> Tensor:
        """Return (B, (K + 1) * D) of types (B, T), items (B, T, I) and candidates (B, I), T of at least 1."""
        keep = is_kept(action_types)  # (B, T)
        beside = candidate_items[:, None].expand(-1, action_types.shape[1], -1)
        rows = torch.cat([self.actions(action_types), action_items, beside], dim=-1)  # (B, T, D)
        for layer in self.layers:
            rows = layer(rows, keep)
        return self.compress(rows, keep)

    def of_requests(
        self, action_types: Tensor, action_items: Tensor, candidate_items: Tensor, request_of: Tensor
    ) -> Tensor:
        """Return ``forward`` of histories (R, T), each beside the candidates (B,) that are of its request.

        The first layer's projections, two thirds of the work, are a part that only the history knows, made once a
        request, and one that only the candidate knows, the same in all rows.
        """
        first: PostNormLayer = self.layers[0]  # type: ignore[assignment]
        history = torch.cat([self.actions(action_types), action_items], dim=-1)  # (R, T, A + I)
        of_history, of_candidate = first.project.weight.split([history.shape[-1], self.config.item_dim], dim=1)
        projected = functional.linear(history, of_history, first.project.bias).index_select(0, request_of)
        projected = projected + functional.linear(candidate_items, of_candidate)[:, None]  # (B, T, 3 D)
        beside = candidate_items[:, None].expand(-1, action_types.shape[1], -1)
        rows = torch.cat([history.index_select(0, request_of), beside], dim=-1)
        keep = is_kept(action_types)[request_of]
        rows = first(rows, keep, projected)
        for layer in list(self.layers)[1:]:
            rows = layer(rows, keep)
        return self.compress(rows, keep)

    def compress(self, rows: Tensor, keep: Tensor) -> Tensor:
        """Return the first K kept rows, zeros where there are fewer, and the linear of the max over the kept ones."""
        missing = ~keep[:, :, None]
        pooled = self.pool(rows.masked_fill(missing, float("-inf")).amax(1))  # (B, D)
        recent = rows.masked_fill(missing, 0.0)[:, : self.config.recent_outputs]  # (B, up to K, D)
        short = self.config.recent_outputs - recent.shape[1]
        recent = nn.functional.pad(recent, (0, 0, 0, short)).flatten(1)  # (B, K * D)
        return torch.cat([recent, pooled], dim=-1)


def hide_recent(
    action_types: Tensor, action_items: Tensor, action_ages_ms: Tensor, hidden_ms: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Take away the actions younger than ``hidden_ms`` (R,): the time-window mask (section 3.3.4).

    The rows left move up, as if the hidden actions had not arrived yet::

        types [3 1 2 2 0], ages [1 5 9 20 -] s, hidden 6 s  ->  types [2 2 0 0 0]

    The published module only keeps hidden rows from being attended to: their own outputs still stand among the first
    K, and its newest row is never hidden, although it drives the loss of diversity that the mask is for. Here the
    first K rows are the newest *visible* ones, what this encoder would see that much earlier, and a user all of whose
    actions are hidden is to it a user without actions. The session vector and the context stay as they are.
    """
    length = action_types.shape[1]
    places = torch.arange(length, device=action_types.device)
    actions = action_types != PADDING_TYPE  # (R, T)
    hidden = (actions & (action_ages_ms < hidden_ms[:, None])).sum(1, keepdim=True)  # newest first: a run in front
    source = places + hidden  # (R, T): index that each row comes from
    empty = source >= actions.sum(1, keepdim=True)
    source = source.clamp(max=length - 1)
    types = action_types.gather(1, source).masked_fill(empty, PADDING_TYPE)
    items = action_items.gather(1, source[:, :, None].expand_as(action_items)).masked_fill(empty[:, :, None], 0.0)
    return types, items, action_ages_ms.gather(1, source).masked_fill(empty, 0)


def draw_hidden_ms(requests: int, window_ms: int, rng: torch.Generator) -> Tensor:
    """Draw how much to hide from each request: T ~ U(0, window), (R,) int64.

    One draw a request; the published code draws once a batch, which makes batches of unlike difficulty.
    """
    return torch.randint(0, window_ms + 1, (requests,), generator=rng)
