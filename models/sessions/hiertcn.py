"""HierTCN (WWW'19): closed sessions in a recurrent state, the open session in a causal convolution over its items.

::

    closed sessions, mean item each     p1   p2   p3
                                         |    |    |
    high level, GRU                 0 -> h1 -> h2 -> h3 ------------ at every step ---.
                                                              |    |    |    |
    low level, dilated causal TCN       open session:         0    a    b    c        0 = start row, zeros
                                                              |    |    |    |
    session vector                                            s0   s1   s2   s3       s3 is served

The session vector lies in the items' space: its dot product with an item's vector is the item's score as the next one.
Which actions make a session (a gap of 30 minutes, the newest 20 items) is decided in ``features/sessions.py``.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class HierTCNConfig:
    """Sizes; the official code's behind each."""

    item_dim: int = 32  # I: item vector in, session vector out; 512 on Pinterest
    hidden: int = 64  # the shared item layer and what enters the TCN; 128
    state_layers: int = 1  # of the GRU; 2, but each costs every user's record its states
    layer_state: int = 64  # of one GRU layer; 128
    channels: tuple[int, ...] = (64, 64, 64)  # of each TCN block; 4 x 128 in Pinterest's runs, 2 x 128 on XING
    kernel: int = 5  # with 3 blocks 1 + 4 * (2**3 - 1) = 29 steps are seen: a session's 20 items and more
    dropout: float = 0.0  # as published
    normalise: bool = True  # L2 norm of the session vector: as published for every loss but l2 and cross-entropy

    @property
    def state_size(self) -> int:
        """H: width of a user's recurrent state, the layers' side by side."""
        return self.state_layers * self.layer_state

    @property
    def session_dim(self) -> int:
        """S: width of the session vector."""
        return self.item_dim

    @property
    def receptive_field(self) -> int:
        """How many steps back, its own included, a session vector sees."""
        return 1 + (self.kernel - 1) * ((1 << len(self.channels)) - 1)


class HierTCN(nn.Module):
    """The two levels; ``fold`` and ``encode`` are what serving calls, ``forward`` is both over users' sessions."""

    def __init__(self, config: HierTCNConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Linear(config.item_dim, config.hidden, bias=False)  # shared by both levels
        inputs = [config.hidden] + [config.layer_state] * (config.state_layers - 1)
        self.cells = nn.ModuleList(nn.GRUCell(width, config.layer_state) for width in inputs)
        self.enter = nn.Linear(config.hidden + config.state_size, config.hidden)
        widths = (config.hidden, *config.channels)
        self.blocks = nn.ModuleList(
            CausalConvolution(before, after, config.kernel, 2**depth, config.dropout)
            for depth, (before, after) in enumerate(pairwise(widths))
        )
        self.leave = nn.Linear(widths[-1], config.session_dim)

    def fold(self, states: Tensor, pooled: Tensor) -> Tensor:
        """Step states ``(N, H)`` over a closed session each, its mean item ``(N, I)``; return ``(N, H)``."""
        x = self.embed(pooled)  # (N, hidden)
        stepped = []
        for cell, state in zip(self.cells, states.split(self.config.layer_state, dim=-1), strict=True):
            x = cell(x, state)
            stepped.append(x)
        return torch.cat(stepped, dim=-1)

    def encode(self, state: Tensor, opened: Tensor) -> Tensor:
        """Return the session vector ``(S,)`` after the last item of the open session.

        ``state (1, H)``; ``opened (1 + T, I)``, its first row the start row, zeros.
        """
        return self.low_level(state, opened.unsqueeze(0))[0, -1]

    def low_level(self, states: Tensor, opened: Tensor) -> Tensor:
        """Return session vectors ``(N, 1 + T, S)`` of states ``(N, H)`` and started sessions ``(N, 1 + T, I)``."""
        steps = opened.shape[1]
        tiled = states.unsqueeze(1).expand(-1, steps, -1)  # the state at every step, not only at the first
        x = self.enter(torch.cat([self.embed(opened), tiled], dim=-1))  # (N, 1 + T, hidden)
        x = x.transpose(1, 2)  # (N, hidden, 1 + T)
        for block in self.blocks:
            x = block(x)
        x = self.leave(x.transpose(1, 2))  # (N, 1 + T, S)
        return functional.normalize(x, dim=-1) if self.config.normalise else x

    def forward(self, pooled: Tensor, opened: Tensor, states: Tensor | None = None) -> Tensor:
        """Return session vectors ``(B, N, 1 + T, S)`` of B users' N sessions in a row, oldest first.

        ``pooled (B, N, I)`` is each session's mean item, ``opened (B, N, T, I)`` its items, padded on the right in both
        N and T; ``states (B, H)`` is what came before, zeros by default. Session n sees the sessions before it through
        the state, and its own items one by one: nothing later.
        """
        users, sessions, items, _ = opened.shape
        before = self.states_before(pooled, states)  # (B, N, H)
        started = functional.pad(opened, (0, 0, 1, 0))  # (B, N, 1 + T, I): the start row
        vectors = self.low_level(before.flatten(0, 1), started.flatten(0, 1))
        return vectors.view(users, sessions, 1 + items, -1)

    def states_before(self, pooled: Tensor, states: Tensor | None = None) -> Tensor:
        """Return the recurrent state before each session, ``(B, N, H)``, of mean items ``(B, N, I)``."""
        state = pooled.new_zeros(len(pooled), self.config.state_size) if states is None else states
        return self.states_around(pooled, state, torch.zeros(pooled.shape[:2], dtype=torch.bool))[0]

    def states_around(self, pooled: Tensor, states: Tensor, fresh: Tensor) -> tuple[Tensor, Tensor]:
        """Return the states before each session, ``(B, N, H)``, and after the last, ``(B, H)``.

        ``fresh (B, N)`` is true where a session is its user's first: the state before it is zeros.
        """
        before = []
        for session, new in zip(pooled.unbind(1), fresh.unbind(1), strict=True):
            states = states.masked_fill(new.unsqueeze(1), 0.0)
            before.append(states)
            states = self.fold(states, session)
        return torch.stack(before, dim=1), states

    def over_sessions(
        self, opened: Tensor, lengths: Tensor, pooled: Tensor, states: Tensor, fresh: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return session vectors ``(B, N, 1 + L, S)`` and last states ``(B, H)``: a ``ModelOfSessions``.

        All sessions' convolutions run at once: what they need of each other is the high level's alone.
        """
        before, after = self.states_around(pooled, states, fresh)
        started = functional.pad(opened, (0, 0, 1, 0)).flatten(0, 1)
        return self.low_level(before.flatten(0, 1), started).unflatten(0, opened.shape[:2]), after


class CausalConvolution(nn.Module):
    """One TCN block: dilated causal convolution, ReLU, dropout, residual, ReLU; no gate, one convolution a block."""

    def __init__(self, before: int, after: int, kernel: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.reach = (kernel - 1) * dilation
        self.convolution = nn.Conv1d(before, after, kernel, dilation=dilation)
        self.dropout = nn.Dropout(dropout)
        self.residual = nn.Identity() if before == after else nn.Conv1d(before, after, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(N, after, T)`` of ``(N, before, T)``."""
        convolved = self.convolution(functional.pad(x, (self.reach, 0)))  # only the past is padded: causal
        out: Tensor = functional.relu(self.dropout(functional.relu(convolved)) + self.residual(x))
        return out
