"""Small rankers and inputs that tests of the ranker share."""

from typing import Any

import numpy as np
import torch

from rankstream.features.schema import FeatureSizes, ModelInputs, random_inputs
from rankstream.models.ranker.hybrid import HybridRanker, RankerConfig
from rankstream.models.ranker.transact import TransActConfig

torch.set_num_threads(1)  # small tensors: a second thread only waits

SMALL = FeatureSizes(num_actions=12, item_dim=4, user_dim=3, session_dim=2, item_features=2)
NUM_TYPES = 4


class NoItems:
    """A table without vectors: what is learned is told by features alone."""

    dim = 1

    def look_up(self, keys):
        return np.zeros((len(keys), 1), np.float32), np.zeros(len(keys), np.bool_)


def a_config(sizes: FeatureSizes = SMALL, heads: int = 1, **more: Any) -> RankerConfig:
    """A small ranker of two heads (outputs); ``heads`` are those of its attention."""
    layout = {"action_dim": 8, "ffn": 8, "recent_outputs": 5, "layers": 2, "dropout": 0.0, "mask_window_ms": 0}
    layout |= {name: more.pop(name) for name in list(more) if name in layout}
    transact = TransActConfig(num_types=NUM_TYPES, item_dim=sizes.item_dim, heads=heads, **layout)
    return RankerConfig(transact, sizes, **({"heads": ("save", "hide"), "mlp": (16, 8), "cross_rank": 6} | more))


def a_ranker(config: RankerConfig | None = None, seed: int = 0, spread: float = 0.2) -> HybridRanker:
    """A ranker whose every weight was moved from where it starts, biases and norms too; the padding row was not."""
    rng = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    ranker = HybridRanker(config or a_config())
    with torch.no_grad():
        for weight in ranker.parameters():
            weight += spread * torch.randn(weight.shape, generator=rng)
        ranker.transact.actions.weight[0] = 0.0
    return ranker.eval()


def some_inputs(actions: int = 7, candidates: int = 3, seed: int = 0, sizes: FeatureSizes = SMALL) -> ModelInputs:
    return random_inputs(sizes, actions, candidates, NUM_TYPES, seed)


def largest(difference: Any) -> float:
    return float(np.abs(np.asarray(difference)).max())
