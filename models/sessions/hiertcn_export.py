"""HierTCN as two ONNX graphs, verified against torch, and as a part of a bundle."""

from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from rankstream.bundles.golden import arrays_of
from rankstream.bundles.graphs import open_graph
from rankstream.bundles.parts import BundlePart, Written
from rankstream.bundles.sessions import (
    ENCODE_CASE,
    FOLD_CASE,
    SESSION_ENCODE_GRAPH,
    SESSION_FOLD_GRAPH,
    EncodeCase,
    FoldCase,
    SessionSizes,
    sessions_part,
)
from rankstream.features.sessions import MAX_SESSION_ITEMS
from rankstream.models.onnx_graph import export_graph, random_normal, ready, require_finite, verify_vector
from rankstream.models.sessions.hiertcn import HierTCN
from rankstream.models.training.checkpoints import weights_tag


class Fold(nn.Module):
    """``HierTCN.fold`` as a graph."""

    def __init__(self, hiertcn: HierTCN) -> None:
        super().__init__()
        self.hiertcn = hiertcn

    def forward(self, states: Tensor, pooled: Tensor) -> Tensor:
        """Return new states (n, H) of states (n, H) and mean items (n, I)."""
        return self.hiertcn.fold(states, pooled)


class Encode(nn.Module):
    """``HierTCN.encode`` as a graph."""

    def __init__(self, hiertcn: HierTCN) -> None:
        super().__init__()
        self.hiertcn = hiertcn

    def forward(self, state: Tensor, opened: Tensor) -> Tensor:
        """Return the session vector (S,) of a state (1, H) and items (1 + t, I), the first of them zeros."""
        return self.hiertcn.encode(state, opened)


def bundle_part(hiertcn: HierTCN) -> BundlePart:
    """Return HierTCN as the session encoder of a bundle. Raises ``ExportError`` for one that can't be."""
    require_finite(hiertcn)
    config = hiertcn.config
    encoder = SessionSizes(tag=weights_tag(hiertcn), state_size=config.state_size, dim=config.session_dim)

    def write(folder: Path) -> Written:
        folds, encodes = export_sessions(hiertcn, folder)
        return Written({FOLD_CASE: list(map(arrays_of, folds)), ENCODE_CASE: list(map(arrays_of, encodes))})

    return BundlePart(sessions_part(encoder, type(hiertcn).__name__, {"item_dim": config.item_dim}), write)


def export_sessions(hiertcn: HierTCN, folder: Path) -> tuple[list[FoldCase], list[EncodeCase]]:
    """Write and verify ``session_fold.onnx`` and ``session_encode.onnx``; return golden cases made with them."""
    hiertcn = ready(hiertcn)
    config = hiertcn.config
    states, pooled = torch.zeros(3, config.state_size), torch.zeros(3, config.item_dim)
    count, steps = torch.export.Dim("n"), torch.export.Dim("steps", max=1 + MAX_SESSION_ITEMS)
    export_graph(
        Fold(hiertcn),
        [states, pooled],
        folder / SESSION_FOLD_GRAPH,
        ("states", "pooled"),
        ("new_states",),
        {"states": {0: count}, "pooled": {0: count}},
    )
    export_graph(
        Encode(hiertcn),
        [states[:1], torch.zeros(5, config.item_dim)],
        folder / SESSION_ENCODE_GRAPH,
        ("state", "opened"),
        ("session_vector",),
        {"opened": {0: steps}},
    )
    fold, encode = open_graph(folder / SESSION_FOLD_GRAPH), open_graph(folder / SESSION_ENCODE_GRAPH)
    rng = np.random.default_rng(0)
    fold_cases = [_fold_case(hiertcn, fold, count, rng) for count in (1, 2, 65)]
    shapes = [(0, 0), (0, 1), (1, 0), (3, 4), (1, MAX_SESSION_ITEMS)]
    return fold_cases, [_encode_case(hiertcn, fold, encode, closed, opened, rng) for closed, opened in shapes]


def _fold_case(hiertcn: HierTCN, fold: onnxruntime.InferenceSession, count: int, rng: np.random.Generator) -> FoldCase:
    states = np.tanh(random_normal(rng, count, hiertcn.config.state_size))
    pooled = random_normal(rng, count, hiertcn.config.item_dim)
    (stepped,) = fold.run(None, {"states": states, "pooled": pooled})
    with torch.no_grad():
        verify_vector(SESSION_FOLD_GRAPH, hiertcn.fold(torch.from_numpy(states), torch.from_numpy(pooled)), stepped)
    return FoldCase(states, pooled, stepped)


def _encode_case(
    hiertcn: HierTCN,
    fold: onnxruntime.InferenceSession,
    encode: onnxruntime.InferenceSession,
    num_closed: int,
    num_opened: int,
    rng: np.random.Generator,
) -> EncodeCase:
    config = hiertcn.config
    state = np.tanh(random_normal(rng, config.state_size))
    closed, opened = (
        random_normal(rng, num_closed, config.item_dim),
        random_normal(rng, num_opened, config.item_dim),
    )
    now = state[None]
    for pooled in closed:
        (now,) = fold.run(None, {"states": now, "pooled": pooled[None]})
    started = np.concatenate([np.zeros((1, config.item_dim), np.float32), opened])
    (vector,) = encode.run(None, {"state": now, "opened": started})
    with torch.no_grad():
        verify_vector(SESSION_ENCODE_GRAPH, hiertcn.encode(torch.from_numpy(now), torch.from_numpy(started)), vector)
    return EncodeCase(state, closed, opened, vector)
