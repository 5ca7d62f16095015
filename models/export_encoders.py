"""HierTCN and PinnerFormer as ONNX graphs, each proved against torch."""

from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from features.golden import EncodeCase, FoldCase
from features.manifest import PINNERFORMER_GRAPH, SESSION_ENCODE_GRAPH, SESSION_FOLD_GRAPH
from features.schema import Floats
from features.sessions import MAX_SESSION_ITEMS
from models.graphs import ExportError, export_graph, open_graph, ready
from models.hiertcn import HierTCN
from models.pinnerformer import ActionSequences, PinnerFormer
from models.time_features import NUM_ANGLES, NUM_LOGS

MAX_VECTOR_ERROR = 1e-4  # of session and user vectors, whose entries reach 1


class Fold(nn.Module):
    """``HierTCN.fold`` as a graph."""

    def __init__(self, hiertcn: HierTCN) -> None:
        super().__init__()
        self.hiertcn = hiertcn

    def forward(self, states: Tensor, pooled: Tensor) -> Tensor:
        """Give new states (n, H) of states (n, H) and mean items (n, I)."""
        return self.hiertcn.fold(states, pooled)


class Encode(nn.Module):
    """``HierTCN.encode`` as a graph."""

    def __init__(self, hiertcn: HierTCN) -> None:
        super().__init__()
        self.hiertcn = hiertcn

    def forward(self, state: Tensor, opened: Tensor) -> Tensor:
        """Give the session vector (S,) of a state (1, H) and items (1 + t, I), the first of them zeros."""
        return self.hiertcn.encode(state, opened)


def export_sessions(hiertcn: HierTCN, folder: Path) -> tuple[list[FoldCase], list[EncodeCase]]:
    """Write and prove ``session_fold.onnx`` and ``session_encode.onnx``; give golden cases made with them."""
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
    chance = np.random.default_rng(0)
    fold_cases = [_fold_case(hiertcn, fold, count, chance) for count in (1, 2, 65)]
    shapes = [(0, 0), (0, 1), (1, 0), (3, 4), (1, MAX_SESSION_ITEMS)]
    return fold_cases, [_encode_case(hiertcn, fold, encode, closed, opened, chance) for closed, opened in shapes]


def _fold_case(
    hiertcn: HierTCN, fold: onnxruntime.InferenceSession, count: int, chance: np.random.Generator
) -> FoldCase:
    states = np.tanh(_normal(chance, count, hiertcn.config.state_size))
    pooled = _normal(chance, count, hiertcn.config.item_dim)
    (stepped,) = fold.run(None, {"states": states, "pooled": pooled})
    with torch.no_grad():
        _prove(SESSION_FOLD_GRAPH, hiertcn.fold(torch.from_numpy(states), torch.from_numpy(pooled)), stepped)
    return FoldCase(states, pooled, stepped)


def _encode_case(
    hiertcn: HierTCN,
    fold: onnxruntime.InferenceSession,
    encode: onnxruntime.InferenceSession,
    num_closed: int,
    num_opened: int,
    chance: np.random.Generator,
) -> EncodeCase:
    config = hiertcn.config
    state = np.tanh(_normal(chance, config.state_size))
    closed, opened = _normal(chance, num_closed, config.item_dim), _normal(chance, num_opened, config.item_dim)
    now = state[None]
    for pooled in closed:
        (now,) = fold.run(None, {"states": now, "pooled": pooled[None]})
    started = np.concatenate([np.zeros((1, config.item_dim), np.float32), opened])
    (vector,) = encode.run(None, {"state": now, "opened": started})
    with torch.no_grad():
        _prove(SESSION_ENCODE_GRAPH, hiertcn.encode(torch.from_numpy(now), torch.from_numpy(started)), vector)
    return EncodeCase(state, closed, opened, vector)


class NewestVector(nn.Module):
    """``PinnerFormer.encode_last`` of one user as a graph."""

    def __init__(self, pinnerformer: PinnerFormer) -> None:
        super().__init__()
        self.pinnerformer = pinnerformer

    def forward(
        self,
        item_vectors: Tensor,
        action_types: Tensor,
        surfaces: Tensor,
        log_values: Tensor,
        angles: Tensor,
        logs: Tensor,
    ) -> Tensor:
        """Give the user vector (1, U) of one user's tokens (1, T, ...), oldest first, T of at least 1."""
        return self.pinnerformer.encode_last(
            ActionSequences(item_vectors, action_types, surfaces, log_values, angles, logs)
        )


def export_pinnerformer(pinnerformer: PinnerFormer, folder: Path) -> None:
    """Write and prove ``pinnerformer.onnx``: inputs named as in ``ActionSequences``, one user, output user_vector."""
    pinnerformer = ready(pinnerformer)
    chance = np.random.default_rng(0)
    length = torch.export.Dim("T", max=pinnerformer.config.num_actions)
    names = ActionSequences._fields
    example = _sequences(pinnerformer, min(5, pinnerformer.config.num_actions), chance)
    export_graph(
        NewestVector(pinnerformer),
        list(example),
        folder / PINNERFORMER_GRAPH,
        names,
        ("user_vector",),
        {name: {1: length} for name in names},
    )
    graph = open_graph(folder / PINNERFORMER_GRAPH)
    for count in sorted({1, 2, pinnerformer.config.num_actions}):
        sequences = _sequences(pinnerformer, count, chance)
        (served,) = graph.run(None, {name: part.numpy() for name, part in zip(names, sequences, strict=True)})
        with torch.no_grad():
            _prove(PINNERFORMER_GRAPH, pinnerformer.encode_last(sequences), served)


def _sequences(pinnerformer: PinnerFormer, count: int, chance: np.random.Generator) -> ActionSequences:
    config = pinnerformer.config
    return ActionSequences(
        item_vectors=torch.from_numpy(_normal(chance, 1, count, config.item_dim)),
        action_types=torch.from_numpy(chance.integers(1, config.action_types + 1, (1, count))),
        surfaces=torch.from_numpy(chance.integers(0, config.surfaces + 1, (1, count))),
        log_values=torch.from_numpy(np.abs(_normal(chance, 1, count))),
        angles=torch.from_numpy(_normal(chance, 1, count, NUM_ANGLES)),
        logs=torch.from_numpy(_normal(chance, 1, count, NUM_LOGS)),
    )


def _normal(chance: np.random.Generator, *shape: int) -> Floats:
    return chance.standard_normal(shape).astype(np.float32)


def _prove(graph: str, wanted: Tensor, served: Floats) -> None:
    """Raise ``ExportError`` if a graph's output is not torch's."""
    error = float(np.abs(wanted.numpy() - served).max())
    if not error < MAX_VECTOR_ERROR:
        raise ExportError(f"{graph} differs from torch by {error:.1e}; wanted less than {MAX_VECTOR_ERROR:.0e}")
