"""The average of a model's newest weights: worth what a fallen learning rate is worth, at any step.

Weights of a rate that is held are noisy; their average is steady, and generalises better (Izmailov et al., UAI'18). It
is made of a share of all steps, the newest, so that it forgets the beginning however long the training gets (Karras et
al., CVPR'24, 3.1).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

AVERAGED = 0.2  # share of the steps that the average is made of


def newest_share(step: int) -> float:
    """Return the weight in the average of what step number ``step``, counted from 1, left."""
    return min(1.0, 1 / (AVERAGED * step))


class WeightAverage:
    """The average of a model's parameters over the newest steps; without a step there is none."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.weights: dict[str, Tensor] = {}

    @torch.no_grad()
    def add(self, step: int) -> None:
        """Take in what step number ``step``, counted from 1, left."""
        for name, weight in self.model.named_parameters():
            if name not in self.weights:
                self.weights[name] = weight.detach().clone()
            self.weights[name].lerp_(weight.detach(), newest_share(step))

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Go on from a saved average."""
        devices = {name: weight.device for name, weight in self.model.named_parameters()}
        self.weights = {name: weight.to(devices[name]) for name, weight in weights.items()}

    def apply(self) -> None:
        """Give the average to the model, if there is one."""
        self.model.load_state_dict(self.weights, strict=False)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Let the model have the average, if there is one, inside the block."""
        now = {name: weight.detach().clone() for name, weight in self.model.named_parameters() if name in self.weights}
        self.apply()
        yield
        self.model.load_state_dict(now, strict=False)
