"""How long a training may take, and by which clock.

Minutes that somebody asks for are those of the wall: who says "half an hour" has a meeting after it. Limits that nobody
asked for are minutes of work: by the wall, a machine with other work would end a training after fewer steps, and the
same command would make a poorer model.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from time import monotonic, thread_time

import torch


@dataclass(frozen=True)
class TimeLimit:
    """So many seconds of a clock; infinite ones have no end."""

    seconds: float = inf
    clock: Callable[[], float] = monotonic


NO_LIMIT = TimeLimit()


def seconds_of_work(seconds: float, device: torch.device | None) -> TimeLimit:
    """Return a limit by what the training's own thread works, on a CPU (``None``); a GPU's work only the wall times."""
    on_cpu = device is None or device.type == "cpu"
    return TimeLimit(seconds, thread_time if on_cpu else monotonic)
