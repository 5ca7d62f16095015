"""What a training run shows as it goes: a bar on the screen, and numbers in TensorBoard's format.

``tensorboard --logdir run/work/checkpoints`` draws them, a curve a model.
"""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from rich.progress import Progress


class TrainLog(Protocol):
    """Where a run's numbers are logged."""

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Log these numbers as of a step."""

    def close(self) -> None:
        """Flush to disk."""


class NoLog:
    """No log: numbers are dropped."""

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Drop them."""

    def close(self) -> None:
        """Do nothing."""


class TensorBoardLog:
    """An events file in ``folder``, beside those of earlier runs."""

    def __init__(self, folder: Path, resumed_at: int) -> None:
        from torch.utils.tensorboard import SummaryWriter  # an extra: only where it is installed

        # A killed run had gone on after its last checkpoint: readers drop what this run does again.
        self._writer = SummaryWriter(str(folder), purge_step=resumed_at + 1)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Log a scalar each; TensorBoard sees it at once."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        self._writer.close()


def can_log() -> bool:
    """Return whether TensorBoard's writer is installed (``pip install "rankstream[logs]"``)."""
    return find_spec("tensorboard") is not None


def open_train_log(folder: Path | None, resumed_at: int) -> TrainLog:
    """Log into ``folder`` where there is one and TensorBoard's writer is installed."""
    return TensorBoardLog(folder, resumed_at) if folder is not None and can_log() else NoLog()


class Bar:
    """A run's bar with its loss and metric; without a terminal, a line an evaluation instead.

    ``steps`` is None where nobody knows how many there will be; then there are ``epoch_steps`` to count by.
    """

    def __init__(
        self, progress: Progress | None, title: str, metric_name: str, steps: int | None, epoch_steps: float, done: int
    ) -> None:
        self.progress, self.title, self.metric_name = progress, title, metric_name
        self.steps, self.epoch_steps = steps, epoch_steps
        self.task = None if progress is None else progress.add_task(title, total=steps, completed=done)
        self.metric: float | None = None

    def move(self, step: int, loss: float) -> None:
        """Show a step."""
        if self.progress is not None and self.task is not None:
            self.progress.update(self.task, completed=step, description=self._words(loss))

    def note(self, step: int, loss: float, metric: float | None) -> None:
        """Show an evaluation."""
        self.metric = metric
        self.move(step, loss)
        if self.progress is not None and not self.progress.console.is_terminal:
            at = f"epoch {step / self.epoch_steps:.2f}" if self.steps is None else f"step {step}/{self.steps}"
            self.progress.console.print(f"{self._words(loss)}  {at}", highlight=False)

    def end(self, step: int, summary: str, warning: str | None) -> None:
        """Show the end, be it before the last step, and in a line how far the run came."""
        if self.progress is not None and self.task is not None:
            self.progress.update(self.task, completed=step, total=step)
            self.progress.console.print(summary, highlight=False)
            if warning is not None:
                self.progress.console.print(f"[yellow]warning:[/yellow] {warning}", highlight=False, soft_wrap=True)

    def _words(self, loss: float) -> str:
        metric = "" if self.metric is None else f"  {self.metric_name} {self.metric:.4f}"
        return f"{self.title}  loss {loss:.4f}{metric}"
