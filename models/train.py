"""The one training loop: any model whose loss can be drawn.

It knows steps, the learning rate's course, clipping, checkpoints, when to stop and what to show; it knows no model, no
data and no paper. A step's chance comes from the seed and the step's number alone, and a checkpoint keeps what else a
step depends on, so a run that was killed and resumed ends with the same weights, bit for bit, as one that was not
(on the same machine and number of threads).
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from math import cos, inf, pi
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import Progress
from torch import Tensor, nn

from models.weights import read_whole, write_whole

LAST = "last.pt"

DrawLoss = Callable[[np.random.Generator], Tensor]
Evaluate = Callable[[], float]


@dataclass(frozen=True)
class FitConfig:
    """How long and how fast to train."""

    steps: int = 1000
    learning_rate: float = 1e-3  # at the end of the warm-up
    warm_up: int = 50  # steps of linear rise; Adam's first estimates are wild (TransAct: 5,000)
    final_rate: float = 0.05  # share of the learning rate that the cosine ends at
    weight_decay: float = 0.01  # AdamW's; on matrices only
    clip: float = 1.0  # norm of the gradient; one odd batch must not undo a thousand
    evaluate_every: int = 100  # steps
    patience: int = 5  # evaluations without a better one before stopping
    checkpoint_every: int = 200  # steps
    seed: int = 0


@dataclass
class FitHistory:
    """What happened."""

    losses: list[tuple[int, float]] = field(default_factory=list)  # (step, mean loss since the last entry)
    metrics: list[tuple[int, float]] = field(default_factory=list)  # (step, metric)
    best_step: int = 0
    best_metric: float = -inf
    steps: int = 0  # done
    stopped: str = ""  # why: "steps", "patience" or "time"


class ResumeRefusedError(ValueError):
    """A checkpoint belongs to another training run."""


def fit(
    model: nn.Module,
    draw_loss: DrawLoss,
    config: FitConfig,
    *,
    evaluate: Evaluate | None = None,
    checkpoints: Path | None = None,
    seconds: float = inf,
    progress: Progress | None = None,
    title: str = "training",
    metric_name: str = "metric",
) -> FitHistory:
    """Train ``model`` in place and give what happened; it ends in eval mode with its best weights.

    ``draw_loss`` draws a batch from the generator handed in and gives its loss. ``evaluate`` gives a metric, higher is
    better; without it the last weights are the best. ``checkpoints`` is a folder: a run that finds its own last state
    there continues it. ``seconds`` stops the run cleanly, to be continued by the next call. Raises
    ``ResumeRefusedError`` if the folder holds the state of a run with other settings.
    """
    run = _Run(model, config, checkpoints)
    deadline = time.monotonic() + seconds
    devices = sorted({tensor.device.index for tensor in model.parameters() if tensor.device.type == "cuda"})
    with torch.random.fork_rng(devices=[index for index in devices if index is not None]):
        torch.manual_seed(config.seed)
        run.resume()
        task = None if progress is None else progress.add_task(title, total=config.steps, completed=run.step)
        while not run.history.stopped:
            run.take_step(draw_loss)
            if evaluate is not None and (run.step % config.evaluate_every == 0 or run.step == config.steps):
                run.judge(evaluate)
            run.note_end(deadline)
            if run.step % config.checkpoint_every == 0 or run.history.stopped:
                run.save()
            if progress is not None and task is not None:
                progress.update(task, completed=run.step, description=run.described(title, metric_name))
        if progress is not None and task is not None:
            progress.update(task, completed=run.step, total=run.step)
    run.keep_best()
    return run.history


class _Run:
    """State of one training run."""

    def __init__(self, model: nn.Module, config: FitConfig, folder: Path | None) -> None:
        self.model, self.config, self.folder = model, config, folder
        self.optimizer = torch.optim.AdamW(_groups(model, config.weight_decay), lr=config.learning_rate)
        self.history = FitHistory()
        self.best: dict[str, Tensor] | None = None
        self.unjudged = 0  # evaluations since the best one
        self.recent: list[float] = []  # losses since the last entry of the history

    @property
    def step(self) -> int:
        return self.history.steps

    def take_step(self, draw_loss: DrawLoss) -> None:
        self.model.train()
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, self.config)
        loss = draw_loss(np.random.default_rng([self.config.seed, self.step]))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        self.optimizer.step()
        self.recent.append(loss.item())
        self.history.steps += 1
        if self.step % self.config.evaluate_every == 0 or self.step == self.config.steps:
            self.history.losses.append((self.step, float(np.mean(self.recent))))
            self.recent = []

    def judge(self, evaluate: Evaluate) -> None:
        self.model.eval()
        with torch.no_grad():
            metric = evaluate()
        self.history.metrics.append((self.step, metric))
        if metric > self.history.best_metric:
            self.history.best_metric, self.history.best_step = metric, self.step
            self.best = _copy(self.model)
            self.unjudged = 0
        else:
            self.unjudged += 1

    def note_end(self, deadline: float) -> None:
        if self.step >= self.config.steps:
            self.history.stopped = "steps"
        elif self.unjudged >= self.config.patience:
            self.history.stopped = "patience"
        elif time.monotonic() >= deadline:
            self.history.stopped = "time"

    def keep_best(self) -> None:
        if self.best is not None:
            self.model.load_state_dict(self.best)
        self.model.eval()

    def described(self, title: str, metric_name: str) -> str:
        loss = self.recent[-1] if self.recent else self.history.losses[-1][1]
        metric = f"  {metric_name} {self.history.metrics[-1][1]:.4f}" if self.history.metrics else ""
        return f"{title}  loss {loss:.4f}{metric}"

    def save(self) -> None:
        """Write the last state, and the best weights with it."""
        if self.folder is None:
            return
        cuda = [tensor for tensor in torch.cuda.get_rng_state_all()] if torch.cuda.is_available() else []
        state = {
            "settings": _settings(self.model, self.config),
            "model": self.model.state_dict(),
            "best": self.best,
            "optimizer": self.optimizer.state_dict(),
            "chance": torch.get_rng_state(),
            "cuda_chance": cuda,
            "history": asdict(self.history),
            "unjudged": self.unjudged,
            "recent": self.recent,
        }
        write_whole(self.folder / LAST, state)

    def resume(self) -> None:
        """Go on from the folder's last state, if there is one."""
        if self.folder is None or not (self.folder / LAST).exists():
            return
        state = read_whole(self.folder / LAST)
        _check_settings(state["settings"], _settings(self.model, self.config), self.folder)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["chance"])
        if state["cuda_chance"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(state["cuda_chance"])
        self.history = FitHistory(**state["history"])
        self.best, self.unjudged, self.recent = state["best"], state["unjudged"], state["recent"]
        if self.history.stopped == "time":
            self.history.stopped = ""


def learning_rate(step: int, config: FitConfig) -> float:
    """Give the rate of a step, counted from 0: a linear warm-up, then half a cosine down to ``final_rate`` of it."""
    if step < config.warm_up:
        return config.learning_rate * (step + 1) / config.warm_up
    done = (step - config.warm_up) / max(config.steps - config.warm_up, 1)
    return config.learning_rate * (config.final_rate + (1 - config.final_rate) * (1 + cos(pi * min(done, 1.0))) / 2)


def pick_device(name: str = "auto") -> torch.device:
    """Give the device of this name; ``auto`` is a GPU where there is one. Raises ``ValueError`` if it is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError("no CUDA device is here; take --device cpu, or auto")
    return device


def _groups(model: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Cut parameters into matrices, which decay, and biases, norms and scales, which do not."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [parameter for parameter in parameters if parameter.ndim > 1], "weight_decay": decay},
        {"params": [parameter for parameter in parameters if parameter.ndim <= 1], "weight_decay": 0.0},
    ]


def _copy(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def _settings(model: nn.Module, config: FitConfig) -> str:
    """Say what a run is: a checkpoint of other settings is not its own."""
    shapes = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    return json.dumps({"config": asdict(config), "weights": shapes}, sort_keys=True)


def _check_settings(found: str, wanted: str, folder: Path) -> None:
    if found == wanted:
        return
    one, other = json.loads(found), json.loads(wanted)
    differing = sorted(name for name in one["config"] if one["config"][name] != other["config"].get(name))
    what = ", ".join(differing) if differing else "the model's sizes"
    raise ResumeRefusedError(
        f"{folder / LAST} belongs to a run with other settings ({what}); continue with the same ones, or delete it"
    )
