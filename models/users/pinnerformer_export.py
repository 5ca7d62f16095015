"""PinnerFormer as an ONNX graph, verified against torch, and as a part of a bundle."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from rankstream.bundles.graphs import open_graph
from rankstream.bundles.parts import BundlePart, Written
from rankstream.bundles.user_vectors import user_vectors_part
from rankstream.models.onnx_graph import export_graph, random_normal, ready, require_finite, verify_vector
from rankstream.models.users.pinnerformer import ActionSequences, PinnerFormer
from rankstream.models.users.time_features import NUM_ANGLES, NUM_LOGS

PINNERFORMER_GRAPH = "pinnerformer.onnx"


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
        """Return the user vector (1, U) of one user's tokens (1, T, ...), oldest first, T of at least 1."""
        return self.pinnerformer.encode_last(
            ActionSequences(item_vectors, action_types, surfaces, log_values, angles, logs)
        )


def bundle_part(pinnerformer: PinnerFormer) -> BundlePart:
    """Return PinnerFormer as the user encoder of a bundle. Raises ``ExportError`` for one that can't be."""
    require_finite(pinnerformer)

    def write(folder: Path) -> Written:
        export_pinnerformer(pinnerformer, folder)
        return Written()

    sizes = {"item_dim": pinnerformer.config.item_dim, "user_dim": pinnerformer.config.user_dim}
    return BundlePart(user_vectors_part(PINNERFORMER_GRAPH, type(pinnerformer).__name__, sizes), write)


def export_pinnerformer(pinnerformer: PinnerFormer, folder: Path) -> None:
    """Write and verify ``pinnerformer.onnx``: inputs named as in ``ActionSequences``, one user, output user_vector."""
    pinnerformer = ready(pinnerformer)
    rng = np.random.default_rng(0)
    length = torch.export.Dim("T", max=pinnerformer.config.num_actions)
    names = ActionSequences._fields
    example = _sequences(pinnerformer, min(5, pinnerformer.config.num_actions), rng)
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
        sequences = _sequences(pinnerformer, count, rng)
        (served,) = graph.run(None, {name: part.numpy() for name, part in zip(names, sequences, strict=True)})
        with torch.no_grad():
            verify_vector(PINNERFORMER_GRAPH, pinnerformer.encode_last(sequences), served)


def _sequences(pinnerformer: PinnerFormer, count: int, rng: np.random.Generator) -> ActionSequences:
    config = pinnerformer.config
    return ActionSequences(
        item_vectors=torch.from_numpy(random_normal(rng, 1, count, config.item_dim)),
        action_types=torch.from_numpy(rng.integers(1, config.action_types + 1, (1, count))),
        surfaces=torch.from_numpy(rng.integers(0, config.surfaces + 1, (1, count))),
        log_values=torch.from_numpy(np.abs(random_normal(rng, 1, count))),
        angles=torch.from_numpy(random_normal(rng, 1, count, NUM_ANGLES)),
        logs=torch.from_numpy(random_normal(rng, 1, count, NUM_LOGS)),
    )
