"""HierTCN in torch behind ``features.sessions.SessionEncoder``: what training and evaluation hand to the join."""

from hashlib import blake2b

import numpy as np
import torch
from torch import nn

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

    def __init__(self, hiertcn: HierTCN) -> None:
        self.hiertcn = hiertcn.eval()
        self.tag = weights_tag(hiertcn)
        self.state_size = hiertcn.config.state_size
        self.dim = hiertcn.config.session_dim

    @torch.no_grad()
    def fold(self, states: Floats, pooled: Floats) -> Floats:
        """Step ``(n, H)`` states over a closed session each, ``(n, I)``; row by row, so that no row sees another."""
        if not len(states):
            return states
        rows = zip(torch.from_numpy(states).split(1), torch.from_numpy(pooled).split(1), strict=True)
        stepped: Floats = torch.cat([self.hiertcn.fold(state, mean) for state, mean in rows]).numpy()
        return stepped

    @torch.no_grad()
    def encode(self, state: Floats, closed: Floats, opened: Floats) -> Floats:
        """Give ``(S,)`` of a state ``(H,)``, closed sessions ``(k, I)`` and the items ``(t, I)`` of the open one."""
        now = torch.from_numpy(state)[None]
        for pooled in torch.from_numpy(closed).split(1):
            now = self.hiertcn.fold(now, pooled)
        started = np.concatenate([np.zeros((1, opened.shape[1]), np.float32), opened])
        vector: Floats = self.hiertcn.encode(now, torch.from_numpy(started)).numpy()
        return vector
