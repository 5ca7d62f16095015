"""The one training loop: any model whose loss can be sampled.

It knows steps, the learning-rate schedule, clipping, early stopping and what to show; it knows no model, no data and no
paper. A step accumulates the gradients of ``accumulation_steps`` micro-batches, each seeded by the run's seed,
the step and its own number. So a run that was killed and resumed ends with the same weights, bit for bit, as one that
was not (on the same machine and number of threads), and several processes (``distributed.py``) share a step's
micro-batches and end, within rounding, where one process ends::

    step 7, accumulation_steps=4     one process     0 1 2 3     gradients averaged
                                     two processes   0 2 | 1 3   the same average
"""

import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from math import cos, inf, isfinite, pi
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import Progress
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from rankstream.models.training.checkpoints import read_whole, write_whole
from rankstream.models.training.distributed import Team, team
from rankstream.models.training.old_names import current_fields
from rankstream.models.training.precision import Precision, compiled_blocks
from rankstream.models.training.progress import Bar, open_train_log

LAST = "last.pt"
METRIC = "metric"

SampleLoss = Callable[[np.random.Generator], Tensor]
Evaluate = Callable[[], float]


@dataclass(frozen=True)
class FitConfig:
    """How long and how fast to train."""

    steps: int = 1000
    learning_rate: float = 1e-3  # at the end of the warm-up
    warm_up: int = 50  # steps of linear rise; Adam's first estimates are wild (TransAct: 5,000)
    final_rate: float = 0.05  # share of the learning rate at which the cosine ends
    weight_decay: float = 0.01  # AdamW's; on matrices only
    clip: float = 1.0  # norm of the gradient: one outlier batch must not undo a thousand
    evaluate_every: int = 100  # steps
    patience: int = 5  # evaluations without a better one before stopping
    checkpoint_every: int = 200  # steps
    seed: int = 0
    accumulation_steps: int = 1  # micro-batches a step, gradients averaged: larger steps than memory holds, or a team's
    precision: Precision = Precision.FULL
    compiled: bool = False  # see precision.compiled_blocks; the first step then takes long

    def __post_init__(self) -> None:
        if self.accumulation_steps < 1:
            raise ValueError(f"{self.accumulation_steps} accumulation steps; wanted at least one")


@dataclass
class FitHistory:
    """The course of a training."""

    losses: list[tuple[int, float]] = field(default_factory=list)  # (step, mean loss since the last entry)
    metrics: list[tuple[int, float]] = field(default_factory=list)  # (step, metric)
    best_step: int = 0
    best_metric: float = -inf
    steps: int = 0  # done
    stopped: str = ""  # why: "steps", "patience" or "time"


class ResumeRefusedError(ValueError):
    """A checkpoint belongs to another training run."""


class DivergedError(ArithmeticError):
    """Training diverged; the message says what to change."""


def fit(
    model: nn.Module,
    sample_loss: SampleLoss,
    config: FitConfig,
    *,
    evaluate: Evaluate | None = None,
    checkpoints: Path | None = None,
    seconds: float = inf,
    progress: Progress | None = None,
    title: str = "training",
    metric_name: str = "metric",
) -> FitHistory:
    """Train ``model`` in place and return the course of it; it ends in eval mode with its best weights.

    ``sample_loss`` draws a batch with the generator handed in and returns its loss. ``evaluate`` returns a metric,
    higher is better; without it the last weights are the best. ``checkpoints`` is a folder: a run that finds its own
    last state there continues it, and TensorBoard's events go there. ``seconds`` stops the run cleanly, to be continued
    by the next call. In a team of processes (``distributed.joined_team``) all call it alike; the first one evaluates
    and writes. Raises ``ResumeRefusedError`` if the folder holds the state of a run with other settings, ``ValueError``
    if the processes can't share the micro-batches evenly, and ``DivergedError`` for a loss that is not finite.
    """
    here = team()
    run = _Run(model, sample_loss, config, checkpoints, here)
    deadline = time.monotonic() + seconds
    devices = sorted({tensor.device.index for tensor in model.parameters() if tensor.device.type == "cuda"})
    fork = torch.random.fork_rng(devices=[index for index in devices if index is not None])
    with fork, compiled_blocks(model, config.compiled):
        run.resume()
        log = open_train_log(checkpoints if here.writes and not run.history.stopped else None, run.step)
        bar = Bar(progress if here.writes else None, title, metric_name, config.steps, run.step)
        while not run.history.stopped:
            run.take_step()
            bar.move(run.step, run.recent[-1])
            if run.step % config.evaluate_every == 0 or run.step == config.steps:
                numbers = run.evaluate(evaluate)
                log.write(run.step, {metric_name if name == METRIC else name: numbers[name] for name in numbers})
                bar.note(run.step, numbers["loss"], numbers.get(METRIC))
            run.note_end(deadline)
            if run.step % config.checkpoint_every == 0 or run.history.stopped:
                run.save()
        bar.end(run.step)
        log.close()
    run.keep_best()
    return run.history


class _LossModule(nn.Module):
    """The loss of a micro-batch as a module around the model: the form that DDP takes."""

    def __init__(self, model: nn.Module, sample_loss: SampleLoss) -> None:
        super().__init__()
        self.model = model
        self.sample_loss = sample_loss

    def forward(self, rng: np.random.Generator) -> Tensor:
        return self.sample_loss(rng)


class _Run:
    """State of one training run."""

    def __init__(
        self, model: nn.Module, sample_loss: SampleLoss, config: FitConfig, folder: Path | None, here: Team
    ) -> None:
        if config.accumulation_steps % here.size:
            raise ValueError(
                f"{config.accumulation_steps} accumulation steps for {here.size} processes; wanted a multiple"
            )
        self.model, self.config, self.folder, self.team = model, config, folder, here
        self.device = next(model.parameters()).device
        self.optimizer = torch.optim.AdamW(_groups(model, config.weight_decay), lr=config.learning_rate)
        self.scaler = config.precision.scaler(self.device)
        self.loss_of: nn.Module = _LossModule(model, sample_loss)
        if here.size > 1:
            self.loss_of = DistributedDataParallel(self.loss_of)
        self.micro_batches = range(here.rank, config.accumulation_steps, here.size)  # this process's
        self.history = FitHistory()
        self.best: dict[str, Tensor] | None = None
        self.without_better = 0  # evaluations since the best one
        self.recent: list[float] = []  # losses since the last entry of the history
        self.gradient_norm = 0.0
        self.evaluated_at, self.evaluated_step = time.monotonic(), 0

    @property
    def step(self) -> int:
        return self.history.steps

    def take_step(self) -> None:
        self.model.train()
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, self.config)
        self.optimizer.zero_grad(set_to_none=True)
        losses = [self.accumulate(micro_batch) for micro_batch in self.micro_batches]
        self.recent.append(sum(losses) / len(losses))
        self.scaler.unscale_(self.optimizer)
        self.gradient_norm = float(nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip))
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.history.steps += 1

    def accumulate(self, micro_batch: int) -> float:
        """Add a micro-batch's share of the step's gradient; return its loss."""
        seed = [self.config.seed, self.step, micro_batch]
        rng = np.random.default_rng(seed)
        torch.manual_seed(int(np.random.default_rng([*seed, 1]).integers(1 << 62)))
        with self.synchronised_at_the_last(micro_batch):
            with self.config.precision.autocast(self.device):
                loss = self.loss_of(rng)
            self.scaler.scale(loss / len(self.micro_batches)).backward()
        value = float(loss.item())
        if not isfinite(value):
            raise DivergedError(f"the loss of step {self.step + 1} is {value}; train with a smaller learning rate")
        return value

    def synchronised_at_the_last(self, micro_batch: int) -> AbstractContextManager[Any]:
        """Let processes exchange gradients once a step, with its last micro-batch."""
        if isinstance(self.loss_of, DistributedDataParallel) and micro_batch != self.micro_batches[-1]:
            return self.loss_of.no_sync()
        return nullcontext()

    def evaluate(self, evaluate: Evaluate | None) -> dict[str, float]:
        """Evaluate, keep the best weights, and return the numbers of the steps since the last evaluation."""
        numbers = self.numbers()
        self.history.losses.append((self.step, numbers["loss"]))
        self.recent = []
        if evaluate is not None:
            self.model.eval()
            with torch.no_grad():
                numbers[METRIC] = self.team.share(evaluate() if self.team.writes else 0.0)
            self.keep_if_best(numbers[METRIC])
        self.evaluated_at, self.evaluated_step = time.monotonic(), self.step
        return numbers

    def numbers(self) -> dict[str, float]:
        return {
            "loss": self.team.mean(float(np.mean(self.recent))),
            "learning_rate": learning_rate(self.step - 1, self.config),
            "gradient_norm": self.gradient_norm,
            "steps_per_second": (self.step - self.evaluated_step) / (time.monotonic() - self.evaluated_at),
        }

    def keep_if_best(self, metric: float) -> None:
        self.history.metrics.append((self.step, metric))
        if metric > self.history.best_metric:
            self.history.best_metric, self.history.best_step = metric, self.step
            self.best = _copy(self.model)
            self.without_better = 0
        else:
            self.without_better += 1

    def note_end(self, deadline: float) -> None:
        if self.step >= self.config.steps:
            self.history.stopped = "steps"
        elif self.without_better >= self.config.patience:
            self.history.stopped = "patience"
        elif deadline < inf and self.team.share(time.monotonic() >= deadline):
            self.history.stopped = "time"

    def keep_best(self) -> None:
        if self.best is not None:
            self.model.load_state_dict(self.best)
        self.model.eval()

    def save(self) -> None:
        """Write the last state, and the best weights with it."""
        if self.folder is None or not self.team.writes:
            return
        state = {
            "settings": _settings(self.model, self.config),
            "model": self.model.state_dict(),
            "best": self.best,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "history": asdict(self.history),
            "unjudged": self.without_better,  # under 0.1.0's key, so that its checkpoints resume
            "recent": self.recent,
        }
        write_whole(self.folder / LAST, state)

    def resume(self) -> None:
        """Resume from the folder's last state, if there is one; the first process reads it for all."""
        if self.folder is None or not self.team.share((self.folder / LAST).exists()):
            return
        state = self.team.share(read_whole(self.folder / LAST) if self.team.writes else {})
        _check_settings(state["settings"], _settings(self.model, self.config), self.folder)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.history = FitHistory(**state["history"])
        self.best, self.without_better, self.recent = state["best"], state["unjudged"], state["recent"]
        self.evaluated_step = self.step
        if self.history.stopped == "time":
            self.history.stopped = ""


def learning_rate(step: int, config: FitConfig) -> float:
    """Return the rate of a step, counted from 0: a linear warm-up, then half a cosine down to ``final_rate`` of it."""
    if step < config.warm_up:
        return config.learning_rate * (step + 1) / config.warm_up
    done = (step - config.warm_up) / max(config.steps - config.warm_up, 1)
    return config.learning_rate * (config.final_rate + (1 - config.final_rate) * (1 + cos(pi * min(done, 1.0))) / 2)


def pick_device(name: str = "auto") -> torch.device:
    """Return the device of this name; ``auto`` is a GPU if there is one. Raises ``ValueError`` for one that is not."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError("no CUDA device is here; take --device cpu, or auto")
    return device


def _groups(model: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Group parameters: matrices, which decay, and biases, norms and scales, which do not."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [parameter for parameter in parameters if parameter.ndim > 1], "weight_decay": decay},
        {"params": [parameter for parameter in parameters if parameter.ndim <= 1], "weight_decay": 0.0},
    ]


def _copy(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def _settings(model: nn.Module, config: FitConfig) -> str:
    """Return what identifies a run: a checkpoint with other settings belongs to another."""
    shapes = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    return json.dumps({"config": asdict(config), "weights": shapes}, sort_keys=True)


def _check_settings(found: str, wanted: str, folder: Path) -> None:
    one, other = current_fields(json.loads(found)), json.loads(wanted)
    if one == other:
        return
    differing = sorted(name for name in one["config"] if one["config"][name] != other["config"].get(name))
    what = ", ".join(differing) if differing else "the model's sizes"
    raise ResumeRefusedError(
        f"{folder / LAST} belongs to a run with other settings ({what}); continue with the same ones, or delete it"
    )
