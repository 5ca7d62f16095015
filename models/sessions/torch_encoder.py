"""HierTCN in torch behind ``features.sessions.SessionEncoder``: what training and evaluation hand to the join.

Consecutive requests of a user share almost all closed sessions, and each epoch needs the same vectors again, so the
encoder caches its results; ``prepare`` computes many of them in one batch.
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
    """Let a function compute in float32, as serving does, also within a training in mixed precision."""
    exact: F = torch.autocast("cpu", enabled=False)(function)
    return exact


AT_ONCE = 1_024  # open sessions encoded in one batch: what each layer makes of them is 20 MB

SessionInputs = tuple[Floats, Floats, Floats]  # state (H,), closed sessions (k, I), items of the open one (t, I)


class TorchSessions:
    """The session encoder of a trained HierTCN; the plain twin of the exported graphs."""

    def __init__(self, hiertcn: HierTCN, remembered: int = 200_000) -> None:
        self.hiertcn = hiertcn.eval()
        self.tag = weights_tag(hiertcn)
        self.state_size = hiertcn.config.state_size
        self.dim = hiertcn.config.session_dim
        self.remembered = remembered  # results cached, some 0.5 KB each; the cache is cleared when it is full
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
    def prepare(self, inputs: Sequence[SessionInputs]) -> None:
        """Compute what ``encode`` will be called with, in one batch: one by one it is mostly torch's overhead.

        Equal to one by one within 1e-6: sums run in another order.
        """
        if len(self._results) >= self.remembered:
            self._results.clear()
        states = [state for state, _, _ in inputs]
        for turn in range(max((len(closed) for _, closed, _ in inputs), default=0)):
            active = [(at, closed[turn]) for at, (_, closed, _) in enumerate(inputs) if len(closed) > turn]
            new = [(at, mean) for at, mean in active if _key(b"fold", states[at], mean) not in self._results]
            if new:
                folded = self.hiertcn.fold(_stack([states[at] for at, _ in new]), _stack([mean for _, mean in new]))
                for (at, mean), result in zip(new, folded.numpy(), strict=True):
                    self._results[_key(b"fold", states[at], mean)] = result
            for at, mean in active:
                states[at] = self._results[_key(b"fold", states[at], mean)]
        self._prepare_open([(state, opened) for state, (_, _, opened) in zip(states, inputs, strict=True)])

    def _prepare_open(self, inputs: Sequence[tuple[Floats, Floats]]) -> None:
        new = [(state, opened) for state, opened in inputs if _key(b"encode", state, opened) not in self._results]
        for start in range(0, len(new), AT_ONCE):
            some = new[start : start + AT_ONCE]
            started = np.zeros((len(some), 1 + max(len(opened) for _, opened in some), some[0][1].shape[1]), np.float32)
            for row, (_, opened) in zip(started, some, strict=True):
                row[1 : 1 + len(opened)] = opened  # padded on the right: the convolution looks back only
            vectors = self.hiertcn.low_level(_stack([state for state, _ in some]), _tensor(started)).numpy()
            for (state, opened), steps in zip(some, vectors, strict=True):
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
def session_vectors(hiertcn: HierTCN, inputs: Sequence[SessionInputs]) -> Floats:
    """Return what ``TorchSessions.encode`` returns for each, ``(n, S)``, in one batch and without a cache."""
    counts = np.array([len(closed) for _, closed, _ in inputs])
    order = np.argsort(-counts, kind="stable")  # those with the most sessions first: the others are done earlier
    states = _stack([inputs[at][0] for at in order])
    width = hiertcn.config.item_dim
    closed = np.zeros((len(inputs), int(counts.max(initial=0)), width), np.float32)
    started = np.zeros((len(inputs), 1 + max((len(opened) for _, _, opened in inputs), default=0), width), np.float32)
    for row, at in enumerate(order):
        closed[row, : counts[at]] = inputs[at][1]
        started[row, 1 : 1 + len(inputs[at][2])] = inputs[at][2]
    for turn in range(closed.shape[1]):
        active = int(np.count_nonzero(counts > turn))
        states[:active] = hiertcn.fold(states[:active], _tensor(closed[:active, turn]))
    steps = hiertcn.low_level(states, _tensor(started)).numpy()
    found = np.zeros((len(inputs), steps.shape[2]), np.float32)
    for row, at in enumerate(order):
        found[at] = steps[row, len(inputs[at][2])]
    return found


def _tensor(array: Floats) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))


def _key(what: bytes, state: Floats, items: Floats) -> bytes:
    return blake2b(what + state.tobytes() + items.tobytes(), digest_size=16).digest()


def _stack(rows: Sequence[Floats]) -> Tensor:
    return torch.from_numpy(np.stack(rows))
