"""HierTCN's baselines (WWW'19, 5.1): one recurrent level, one convolutional level, two recurrent levels.

Flat models read a user's items as one long sequence, without sessions: ``(B, T, I)`` in, a vector after each item out.
HRNN (arXiv 1706.04148) has HierTCN's two levels, both recurrent, and so can't take sessions but one after the other.
All score items by dot product, as HierTCN does.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from rankstream.models.sessions.hiertcn import CausalConvolution


@dataclass(frozen=True)
class FlatGRUConfig:
    """Sizes: about HierTCN's number of weights."""

    item_dim: int = 64  # I
    hidden: int = 96  # 200 in the official code
    layers: int = 2  # 2


class FlatGRU(nn.Module):
    """One recurrent level over all items."""

    def __init__(self, config: FlatGRUConfig) -> None:
        super().__init__()
        self.config = config
        self.gru = nn.GRU(config.item_dim, config.hidden, config.layers, batch_first=True)
        self.leave = nn.Linear(config.hidden, config.item_dim)

    def forward(self, items: Tensor) -> Tensor:
        """Return the vector after each item, ``(B, T, I)`` of ``(B, T, I)``."""
        return self.stepped(items, None)[0]

    def stepped(self, items: Tensor, states: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return vectors ``(B, T, I)`` and the states after them; from ``states (layers, B, hidden)`` on."""
        hidden, after = self.gru(items, states)
        return functional.normalize(self.leave(hidden), dim=-1), after


@dataclass(frozen=True)
class FlatTCNConfig:
    """Sizes: about HierTCN's number of weights."""

    item_dim: int = 64  # I
    channels: tuple[int, ...] = (64, 64, 64, 64, 64)  # of each block; 4 x 128 and 2 x 256 in the official code
    kernel: int = 5

    @property
    def receptive_field(self) -> int:
        """How many items back a vector sees."""
        return 1 + (self.kernel - 1) * ((1 << len(self.channels)) - 1)


class FlatTCN(nn.Module):
    """One convolutional level over all items."""

    def __init__(self, config: FlatTCNConfig) -> None:
        super().__init__()
        self.config = config
        widths = (config.item_dim, *config.channels)
        self.blocks = nn.Sequential(
            *(CausalConvolution(a, b, config.kernel, 2**depth, 0.0) for depth, (a, b) in enumerate(pairwise(widths)))
        )
        self.leave = nn.Linear(widths[-1], config.item_dim)

    def forward(self, items: Tensor) -> Tensor:
        """Return the vector after each item, ``(B, T, I)`` of ``(B, T, I)``."""
        return functional.normalize(self.leave(self.blocks(items.mT).mT), dim=-1)


@dataclass(frozen=True)
class HRNNConfig:
    """Sizes: about HierTCN's number of weights."""

    item_dim: int = 64  # I
    hidden: int = 80  # of both levels


class HRNN(nn.Module):
    """Two recurrent levels: the user's state starts the session's, the session's last one steps the user's."""

    def __init__(self, config: HRNNConfig) -> None:
        super().__init__()
        self.config = config
        self.start = nn.Linear(config.hidden, config.hidden)
        self.session = nn.GRU(config.item_dim, config.hidden, batch_first=True)
        self.user = nn.GRUCell(config.hidden, config.hidden)
        self.leave = nn.Linear(config.hidden, config.item_dim)

    def low_level(self, states: Tensor, started: Tensor) -> Tensor:
        """Return session vectors ``(N, 1 + T, I)`` of states ``(N, H)`` and started sessions ``(N, 1 + T, I)``."""
        return functional.normalize(self.leave(self.hidden(states, started)), dim=-1)

    def after_session(self, states: Tensor, hidden: Tensor, lengths: Tensor) -> Tensor:
        """Step states ``(N, H)`` over a session of ``lengths (N,)`` items that gave ``hidden (N, 1 + T, H)``."""
        last = hidden[torch.arange(len(lengths), device=hidden.device), lengths]
        out: Tensor = self.user(last, states)
        return out

    def over_sessions(
        self, opened: Tensor, lengths: Tensor, pooled: Tensor, states: Tensor, fresh: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return session vectors ``(B, N, 1 + L, I)`` and states after the last session: a ``ModelOfSessions``."""
        started = functional.pad(opened, (0, 0, 1, 0))
        every = []
        for session, count, new in zip(started.unbind(1), lengths.unbind(1), fresh.unbind(1), strict=True):
            states = states.masked_fill(new.unsqueeze(1), 0.0)
            every.append(self.hidden(states, session))
            states = self.after_session(states, every[-1], count)
        return functional.normalize(self.leave(torch.stack(every, dim=1)), dim=-1), states

    def hidden(self, states: Tensor, started: Tensor) -> Tensor:
        """Return the session GRU's states ``(N, 1 + T, H)``, from the user's states ``(N, H)`` on."""
        hidden: Tensor = self.session(started, torch.tanh(self.start(states)).unsqueeze(0))[0]
        return hidden
