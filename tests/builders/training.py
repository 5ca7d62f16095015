"""A small model with randomness of its own, and losses sampled for it; also for processes that tests start."""

import torch
from torch import nn


class Lights(nn.Module):
    """A small model with dropout, so that forgotten random state shows."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.5)), nn.Linear(8, 1)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x)
        return x[:, 0]


def a_model(seed: int = 0) -> Lights:
    torch.manual_seed(seed)
    return Lights()


class Killed(Exception):
    """The power failed."""


def drawing(model, killed_at=None, die=None):
    """Return a function that samples the loss of a regression; it dies at call ``killed_at``."""
    calls = iter(range(10_000))

    def draw(rng):
        if next(calls) == killed_at:
            if die is not None:
                die()
            raise Killed
        x = torch.from_numpy(rng.standard_normal((16, 4))).float()
        return ((model(x).float() - x.sum(dim=1)) ** 2).mean()

    return draw


def evaluating(model):
    x = torch.linspace(-1, 1, 40).reshape(10, 4)
    return lambda: -((model(x) - x.sum(dim=1)) ** 2).mean().item()
