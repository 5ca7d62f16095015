"""HierTCN in torch behind ``features.sessions.SessionEncoder``: what training and evaluation hand to the join.

Consecutive requests of a user share almost all closed sessions, and each epoch asks for the same vectors again, so
the encoder remembers: equal bytes in, equal bytes out, whatever was asked before.
"""

from collections.abc import Callable
from hashlib import blake2b

import numpy as np
import torch
from torch import Tensor, nn

from features.sessions import Floats
from models.hiertcn import HierTCN


def weights_tag(model: nn.Module) -> int:
    """Give 64 bits that name a model's weights: equal weights, equal tags."""
    digest = blake2b(digest_size=8)
    for name, weight in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(weight.detach().cpu().contiguous().numpy().tobytes())
    return int.from_bytes(digest.digest(), "big")


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
        """Give ``(S,)`` of a state ``(H,)``, closed sessions ``(k, I)`` and the items ``(t, I)`` of the open one."""
        for mean in closed:
            state = self._stepped(state, mean)
        return self._remember(b"encode" + state.tobytes() + opened.tobytes(), lambda: self._encoded(state, opened))

    def _stepped(self, state: Floats, mean: Floats) -> Floats:
        return self._remember(b"fold" + state.tobytes() + mean.tobytes(), lambda: self._folded(state, mean))

    def _remember(self, asked: bytes, compute: Callable[[], Floats]) -> Floats:
        key = blake2b(asked, digest_size=16).digest()
        result = self._results.get(key)
        if result is None:
            if len(self._results) >= self.remembered:
                self._results.clear()
            result = self._results[key] = compute()
        return result

    @torch.no_grad()
    def _folded(self, state: Floats, mean: Floats) -> Floats:
        folded: Floats = self.hiertcn.fold(_tensor(state)[None], _tensor(mean)[None])[0].numpy()
        return folded

    @torch.no_grad()
    def _encoded(self, state: Floats, opened: Floats) -> Floats:
        started = np.concatenate([np.zeros((1, opened.shape[1]), np.float32), opened])
        vector: Floats = self.hiertcn.encode(_tensor(state)[None], _tensor(started)).numpy()
        return vector


def _tensor(array: Floats) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))
