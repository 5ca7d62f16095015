"""The one training loop: any model whose loss can be sampled.

It knows steps, epochs, clipping, early stopping and what to show (``schedule.py`` has the learning rate); it knows no
model, no data and no paper. A step accumulates the gradients of ``accumulation_steps`` micro-batches, each seeded by
the run's seed, the step and its own number. So a run that was killed and resumed ends with the same weights, bit for
bit, as one that was not (on the same machine and number of threads), and several processes (``distributed.py``) share
a step's micro-batches and end, within rounding, where one process ends::

    step 7, accumulation_steps=4     one process     0 1 2 3     gradients averaged
                                     two processes   0 2 | 1 3   the same average
"""

import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import asdict, dataclass, field
from math import ceil, inf, isfinite
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import Progress
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from rankstream.models.training.average import WeightAverage
from rankstream.models.training.checkpoints import read_whole, write_whole
from rankstream.models.training.distributed import Team, team
from rankstream.models.training.old_names import current_fields
from rankstream.models.training.precision import Precision, compiled_blocks
from rankstream.models.training.progress import Bar, open_train_log
from rankstream.models.training.schedule import (
    Examples,
    evaluation_steps,
    rate_at,
    unvalidated_steps,
)
from rankstream.models.training.time_limit import NO_LIMIT, TimeLimit

LAST = "last.pt"
METRIC = "metric"

ENDS = {
    "steps": "all that it had",
    "epochs": "all that it had",
    "patience": "stopped by patience",
    "time": "stopped by time",
}

SampleLoss = Callable[[np.random.Generator], Tensor]
Evaluate = Callable[[], float]


@dataclass(frozen=True)
class FitConfig:
    """How long and how fast to train: a fixed number of steps, or epochs until the validation stalls."""

    steps: int = 1000  # not read where epochs are given
    epochs: float | None = None  # at most; the same few where there is no validation to stop by
    learning_rate: float = 1e-3  # at the end of the warm-up
    warm_up: int = 50  # steps of linear rise; Adam's first estimates are wild (TransAct: 5,000)
    final_rate: float = 0.05  # share of the learning rate at which the cosine over fixed steps ends
    weight_decay: float = 0.01  # AdamW's; on matrices only
    clip: float = 1.0  # norm of the gradient: one outlier batch must not undo a thousand
    evaluate_every: int = 100  # steps; fewer where an epoch is short
    patience: int = 5  # evaluations without a better one before stopping
    checkpoint_every: int = 200  # steps
    seed: int = 0
    accumulation_steps: int = 1  # micro-batches a step, gradients averaged: larger steps than memory holds, or a team's
    precision: Precision = Precision.FULL
    compiled: bool = False  # see precision.compiled_blocks; the first step then takes long

    def __post_init__(self) -> None:
        if self.accumulation_steps < 1:
            raise ValueError(f"{self.accumulation_steps} accumulation steps; wanted at least one")
        if self.epochs is not None and not self.epochs > 0:
            raise ValueError(f"{self.epochs} epochs; wanted more than 0, or None for a fixed number of steps")


@dataclass(frozen=True)
class _Plan:
    """A config in steps, for a number of examples."""

    steps: int  # at most
    warm_up: int
    evaluate_every: int
    epoch_steps: float | None  # None: nobody said how many examples there are

    @classmethod
    def of(cls, config: FitConfig, examples: Examples | None, validated: bool) -> "_Plan":
        """Return it. Raises ``ValueError`` for epochs of an unknown number of examples."""
        epoch_steps = None if examples is None else examples.epoch_steps(config.accumulation_steps)
        if config.epochs is None:
            return cls(config.steps, config.warm_up, config.evaluate_every, epoch_steps)
        if epoch_steps is None:
            raise ValueError(f"{config.epochs:g} epochs of an unknown number of examples; wanted `examples`, or steps")
        steps = max(1, ceil(config.epochs * epoch_steps))
        if not validated:
            steps = min(steps, unvalidated_steps(epoch_steps))
        every = min(steps, evaluation_steps(epoch_steps, config.evaluate_every))
        return cls(steps, min(config.warm_up, ceil(steps / 5)), every, epoch_steps)


@dataclass
class FitHistory:
    """The course of a training."""

    losses: list[tuple[int, float]] = field(default_factory=list)  # (step, mean loss since the last entry)
    metrics: list[tuple[int, float]] = field(default_factory=list)  # (step, metric)
    best_step: int = 0
    best_metric: float = -inf
    steps: int = 0  # done
    stopped: str = ""  # why: "steps", "epochs", "patience" or "time"
    epoch_steps: float | None = None  # None: nobody said how many examples there are
    examples_seen: int = 0  # by their average in a batch; 0 where nobody said how many there are

    @property
    def epochs(self) -> float | None:
        """Return how many times the examples were seen, on average."""
        return None if self.epoch_steps is None else self.steps / self.epoch_steps

    @property
    def validated(self) -> float:
        """Return the best metric; 0 where there was nothing to validate on."""
        return self.best_metric if self.metrics else 0.0

    @property
    def was_improving(self) -> bool:
        """Return whether the last evaluation was the best of several, when something else than patience ended it."""
        return self.stopped != "patience" and len(self.metrics) > 1 and self.best_step == self.metrics[-1][0]

    def summary(self, title: str) -> str:
        """Return in a line how far the training came: ``HierTCN: 3.2 epochs, stopped by patience (best at 2.4)``."""
        best = "" if not self.metrics else f" (best at {self._in_epochs(self.best_step)})"
        unit = "steps" if self.epochs is None else "epochs"
        return f"{title}: {self._in_epochs(self.steps)} {unit}, {ENDS[self.stopped]}{best}"

    def warning(self, title: str) -> str | None:
        """Return a sentence if the training ended too early, with what to do about it."""
        short = self.epochs is not None and self.epochs < 1 and self.stopped != "patience"
        if not short and not self.was_improving:
            return None
        remedies = {"time": "a higher --minutes", "epochs": "a higher --epochs", "steps": "more steps"}
        remedy = remedies[self.stopped]
        what = f"trained for {self.epochs:.0%} of an epoch" if short else "was still improving when its training ended"
        return f"{title} {what}; train again with {remedy}"

    def _in_epochs(self, steps: int) -> str:
        if self.epoch_steps is None:
            return f"{steps:,}"
        epochs = steps / self.epoch_steps
        return f"{epochs:.2f}" if epochs < 1 else f"{epochs:.1f}"


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
    examples: Examples | None = None,
    checkpoints: Path | None = None,
    limit: TimeLimit = NO_LIMIT,
    progress: Progress | None = None,
    title: str = "training",
    metric_name: str = "metric",
) -> FitHistory:
    """Train ``model`` in place and return the course of it; it ends in eval mode with its best weights.

    ``sample_loss`` draws a batch with the generator handed in and returns its loss. ``evaluate`` returns a metric,
    higher is better; without it the last weights are the best. ``examples`` are what an epoch is counted by.
    ``checkpoints`` is a folder: a run that finds its own last state there continues it, and TensorBoard's events go
    there. ``limit``, with what earlier calls in the same folder used of it, ends a training by epochs for good. One of
    a fixed number of steps is interrupted by it, each call having its own, and the next call continues it. In a team of
    processes (``distributed.joined_team``) all call it alike; the first one evaluates and writes.

    Raises ``ResumeRefusedError`` if the folder holds the state of a run with other settings, ``ValueError`` if the
    processes can't share the micro-batches evenly or epochs have no ``examples``, and ``DivergedError`` for a loss that
    is not finite.
    """
    here = team()
    run = _Run(model, sample_loss, config, evaluate, examples, checkpoints, here)
    devices = sorted({tensor.device.index for tensor in model.parameters() if tensor.device.type == "cuda"})
    fork = torch.random.fork_rng(devices=[index for index in devices if index is not None])
    with fork, compiled_blocks(model, config.compiled):
        run.resume()
        clock = _Clock(limit, run.seconds_before if config.epochs is not None else 0.0)
        log = open_train_log(checkpoints if here.writes and not run.history.stopped else None, run.step)
        steps = run.plan.steps if config.epochs is None else None
        bar = Bar(progress if here.writes else None, title, metric_name, steps, run.plan.epoch_steps or 1.0, run.step)
        with closing(log):
            while not run.history.stopped:
                run.take_step()
                bar.move(run.step, run.recent[-1])
                run.note_time(clock)
                if run.is_due:
                    numbers = run.evaluate()
                    log.write(run.step, {metric_name if name == METRIC else name: numbers[name] for name in numbers})
                    bar.note(run.step, numbers["loss"], numbers.get(METRIC))
                run.note_end()
                if run.step % config.checkpoint_every == 0 or run.history.stopped:
                    run.save(clock.passed())
            bar.end(run.step, run.history.summary(title), run.history.warning(title))
    run.keep_best()
    return run.history


class _Clock:
    """The time that a training has used, and may use."""

    def __init__(self, limit: TimeLimit, before: float) -> None:
        self.seconds, self.now = limit.seconds, limit.clock
        self.begun = self.now() - before

    def passed(self) -> float:
        """Return the seconds since the training began, without interruptions."""
        return self.now() - self.begun

    def share(self) -> float:
        """Return which share of its time has passed."""
        return self.passed() / self.seconds if self.seconds > 0 else 1.0


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
        self,
        model: nn.Module,
        sample_loss: SampleLoss,
        config: FitConfig,
        evaluate: Evaluate | None,
        examples: Examples | None,
        folder: Path | None,
        here: Team,
    ) -> None:
        if config.accumulation_steps % here.size:
            raise ValueError(
                f"{config.accumulation_steps} accumulation steps for {here.size} processes; wanted a multiple"
            )
        self.model, self.config, self.folder, self.team = model, config, folder, here
        self.plan, self.examples = _Plan.of(config, examples, evaluate is not None), examples
        self.evaluation = evaluate
        self.device = next(model.parameters()).device
        self.optimizer = torch.optim.AdamW(_groups(model, config.weight_decay), lr=config.learning_rate)
        self.scaler = config.precision.scaler(self.device)
        self.loss_of: nn.Module = _LossModule(model, sample_loss)
        if here.size > 1:
            self.loss_of = DistributedDataParallel(self.loss_of)
        self.micro_batches = range(here.rank, config.accumulation_steps, here.size)  # this process's
        self.history = FitHistory(epoch_steps=self.plan.epoch_steps)
        self.seconds_before = 0.0  # that earlier calls trained
        self.average = WeightAverage(model)  # none where the rate falls over fixed steps
        self.best: dict[str, Tensor] | None = None
        self.without_better = 0  # evaluations since the best one
        self.time_used = 0.0  # share of the time that the training may take
        self.recent: list[float] = []  # losses since the last entry of the history
        self.gradient_norm = 0.0
        self.evaluated_at, self.evaluated_step = time.monotonic(), 0

    @property
    def step(self) -> int:
        return self.history.steps

    @property
    def is_last(self) -> bool:
        """Return whether the step just taken is the last one by plan."""
        return self.step >= self.plan.steps

    @property
    def is_in_first_epoch(self) -> bool:
        """Return whether a training by epochs has yet to see all examples: a best metric may still be chance."""
        return self.config.epochs is not None and self.step < (self.plan.epoch_steps or 0.0)

    @property
    def is_due(self) -> bool:
        """Return whether an evaluation is due: now and then, and where a training that may not go on ends."""
        over = self.config.epochs is not None and self.time_used >= 1
        return self.step % self.plan.evaluate_every == 0 or self.is_last or over

    def rate(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        falls_until = self.plan.steps if self.config.epochs is None else None
        return self.config.learning_rate * rate_at(step, self.plan.warm_up, falls_until, self.config.final_rate)

    def take_step(self) -> None:
        self.model.train()
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(self.step)
        self.optimizer.zero_grad(set_to_none=True)
        losses = [self.accumulate(micro_batch) for micro_batch in self.micro_batches]
        self.recent.append(sum(losses) / len(losses))
        self.scaler.unscale_(self.optimizer)
        self.gradient_norm = float(nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip))
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.history.steps += 1
        if self.config.epochs is not None:
            self.average.add(self.step)
        if self.examples is not None:
            seen = self.step * self.examples.per_batch * self.config.accumulation_steps
            self.history.examples_seen = round(seen)

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

    def evaluate(self) -> dict[str, float]:
        """Evaluate, keep the best weights, and return the numbers of the steps since the last evaluation."""
        numbers = self.numbers()
        self.history.losses.append((self.step, numbers["loss"]))
        self.recent = []
        if self.evaluation is not None:
            self.model.eval()
            with torch.no_grad(), self.average.applied():
                numbers[METRIC] = self.team.share(self.evaluation() if self.team.writes else 0.0)
                self.keep_if_best(numbers[METRIC])
        self.evaluated_at, self.evaluated_step = time.monotonic(), self.step
        return numbers

    def numbers(self) -> dict[str, float]:
        return {
            "loss": self.team.mean(float(np.mean(self.recent))),
            "learning_rate": self.rate(self.step - 1),
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

    def note_time(self, clock: _Clock) -> None:
        """Note how much of its time the training has used; in a team, by the first process's clock."""
        if clock.seconds < inf:
            self.time_used = self.team.share(clock.share())

    def note_end(self) -> None:
        """Note whether the training has ended, and why."""
        if self.is_last:
            self.history.stopped = "steps" if self.config.epochs is None else "epochs"
        elif self.without_better >= self.config.patience and not self.is_in_first_epoch:
            self.history.stopped = "patience"
        elif self.time_used >= 1:
            self.history.stopped = "time"

    def keep_best(self) -> None:
        if self.best is not None:
            self.model.load_state_dict(self.best)
        else:
            self.average.apply()
        self.model.eval()

    def save(self, seconds: float) -> None:
        """Write the last state after so many seconds of training, and the best weights with it."""
        if self.folder is None or not self.team.writes:
            return
        state = {
            "settings": _settings(self.model, self.config),
            "model": self.model.state_dict(),
            "best": self.best,
            "average": self.average.weights,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "history": asdict(self.history),
            "unjudged": self.without_better,  # under 0.1.0's key, so that its checkpoints resume
            "recent": self.recent,
            "seconds": seconds,
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
        self.average.load(state.get("average", {}))  # 0.1.0 had none
        self.best, self.without_better, self.recent = state["best"], state["unjudged"], state["recent"]
        self.evaluated_step = self.step
        self.seconds_before = state.get("seconds", 0.0)  # 0.1.0 did not keep them
        if self.history.stopped == "time" and self.config.epochs is None:
            self.history.stopped = ""


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
