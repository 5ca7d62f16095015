"""HierTCN in torch behind ``features.sessions.SessionEncoder``: what training and evaluation hand to the join.

Consecutive requests of a user share almost all closed sessions, and each epoch asks for the same vectors again, so
the encoder remembers what it was asked; ``prepare`` computes many answers at once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from rankstream.features.sessions import Floats
from rankstream.models.sessions.hiertcn import HierTCN
from rankstream.models.training.checkpoints import weights_tag

F = TypeVar("F", bound=Callable[..., Any])


def in_full_precision(function: F) -> F:
    """Let a function compute as serving does, also within a training in mixed precision."""
    exact: F = torch.autocast("cpu", enabled=False)(function)
    return exact


Asked = tuple[Floats, Floats, Floats]  # state (H,), closed sessions (k, I), items of the open one (t, I)


class TorchSessions:
    """The session encoder of a trained HierTCN; the plain twin of the exported graphs."""

    def __init__(self, hiertcn: HierTCN, remembered: int = 200_000) -> None:
        self.hiertcn = hiertcn.eval()
        self.tag = weights_tag(hiertcn)
        self.state_size = hiertcn.config.state_size
        self.dim = hiertcn.config.session_dim
        self.remembered = remembered  # results kept, some 0.5 KB each; forgotten together when there is no more room
        self._results: dict[bytes, Floats] = {}

    def fold(self, states: Floats, pooled: Floats) -> Floats:
        """Step ``(n, H)`` states over a closed session each, ``(n, I)``; row by row, so that no row sees another."""
        if not len(states):
            return states
        return np.stack([self._stepped(state, mean) for state, mean in zip(states, pooled, strict=True)])

    def encode(self, state: Floats, closed: Floats, opened: Floats) -> Floats:
        """Return ``(S,)`` of a state ``(H,)``, closed sessions ``(k, I)`` and the items ``(t, I)`` of the open one."""
        for mean in closed:
            state = self._stepped(state, mean)
        return self._remember(_key(b"encode", state, opened), lambda: self._encoded(state, opened))

    @torch.no_grad()
    @in_full_precision
    def prepare(self, asked: Sequence[Asked]) -> None:
        """Compute what ``encode`` will be asked for, many at a time: one by one it is mostly torch's overhead.

        The same as one by one within 1e-6: sums run in another order.
        """
        if len(self._results) >= self.remembered:
            self._results.clear()
        states = [state for state, _, _ in asked]
        for turn in range(max((len(closed) for _, closed, _ in asked), default=0)):
            due = [(at, closed[turn]) for at, (_, closed, _) in enumerate(asked) if len(closed) > turn]
            new = [(at, mean) for at, mean in due if _key(b"fold", states[at], mean) not in self._results]
            if new:
                folded = self.hiertcn.fold(_stack([states[at] for at, _ in new]), _stack([mean for _, mean in new]))
                for (at, mean), result in zip(new, folded.numpy(), strict=True):
                    self._results[_key(b"fold", states[at], mean)] = result
            for at, mean in due:
                states[at] = self._results[_key(b"fold", states[at], mean)]
        self._prepare_open([(state, opened) for state, (_, _, opened) in zip(states, asked, strict=True)])

    def _prepare_open(self, asked: Sequence[tuple[Floats, Floats]]) -> None:
        new = [(state, opened) for state, opened in asked if _key(b"encode", state, opened) not in self._results]
        if not new:
            return
        started = np.zeros((len(new), 1 + max(len(opened) for _, opened in new), new[0][1].shape[1]), np.float32)
        for row, (_, opened) in zip(started, new, strict=True):
            row[1 : 1 + len(opened)] = opened  # padded on the right: the convolution looks back only
        vectors = self.hiertcn.low_level(_stack([state for state, _ in new]), _tensor(started)).numpy()
        for (state, opened), steps in zip(new, vectors, strict=True):
            self._results[_key(b"encode", state, opened)] = steps[len(opened)].copy()

    def _stepped(self, state: Floats, mean: Floats) -> Floats:
        return self._remember(_key(b"fold", state, mean), lambda: self._folded(state, mean))

    def _remember(self, key: bytes, compute: Callable[[], Floats]) -> Floats:
        result = self._results.get(key)
        if result is None:
            if len(self._results) >= self.remembered:
                self._results.clear()
            result = self._results[key] = compute()
        return result

    @torch.no_grad()
    @in_full_precision
    def _folded(self, state: Floats, mean: Floats) -> Floats:
        folded: Floats = self.hiertcn.fold(_tensor(state)[None], _tensor(mean)[None])[0].numpy()
        return folded

    @torch.no_grad()
    @in_full_precision
    def _encoded(self, state: Floats, opened: Floats) -> Floats:
        started = np.concatenate([np.zeros((1, opened.shape[1]), np.float32), opened])
        vector: Floats = self.hiertcn.encode(_tensor(state)[None], _tensor(started)).numpy()
        return vector


@dataclass(frozen=True)
class GivenSession:
    """The session encoder of one request whose vector is known already (``session_vectors``)."""

    tag: int
    state_size: int
    vector: Floats  # (S,)

    @property
    def dim(self) -> int:
        """S."""
        return len(self.vector)

    def fold(self, states: Floats, pooled: Floats) -> Floats:
        """Refuse: states are made by the encoder itself."""
        raise NotImplementedError("a given session vector folds no states; use TorchSessions")

    def encode(self, state: Floats, closed: Floats, opened: Floats) -> Floats:
        """Return the vector."""
        return self.vector


@torch.no_grad()
def session_vectors(hiertcn: HierTCN, asked: Sequence[Asked]) -> Floats:
    """Return what ``TorchSessions.encode`` gives of each, ``(n, S)``, all at once and remembering nothing."""
    counts = np.array([len(closed) for _, closed, _ in asked])
    order = np.argsort(-counts, kind="stable")  # those with the most sessions first: the rest drop out at the end
    states = _stack([asked[at][0] for at in order])
    width = hiertcn.config.item_dim
    closed = np.zeros((len(asked), int(counts.max(initial=0)), width), np.float32)
    started = np.zeros((len(asked), 1 + max((len(opened) for _, _, opened in asked), default=0), width), np.float32)
    for row, at in enumerate(order):
        closed[row, : counts[at]] = asked[at][1]
        started[row, 1 : 1 + len(asked[at][2])] = asked[at][2]
    for turn in range(closed.shape[1]):
        due = int(np.count_nonzero(counts > turn))
        states[:due] = hiertcn.fold(states[:due], _tensor(closed[:due, turn]))
    steps = hiertcn.low_level(states, _tensor(started)).numpy()
    found = np.zeros((len(asked), steps.shape[2]), np.float32)
    for row, at in enumerate(order):
        found[at] = steps[row, len(asked[at][2])]
    return found


def _tensor(array: Floats) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))


def _key(what: bytes, state: Floats, items: Floats) -> bytes:
    return blake2b(what + state.tobytes() + items.tobytes(), digest_size=16).digest()


def _stack(rows: Sequence[Floats]) -> Tensor:
    return torch.from_numpy(np.stack(rows))
