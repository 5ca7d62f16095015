"""Several processes that train one model together: who is here, who writes, and how all come to know the same.

A process is one of a team if torchrun started it (``torchrun --nproc-per-node 2 -m rankstream.cli.main train ...``) or
``launch`` did, which sets the same variables: ``RANK``, ``LOCAL_RANK``, ``WORLD_SIZE``, ``MASTER_ADDR``,
``MASTER_PORT``. GPUs speak through NCCL, CPUs through Gloo. Only the first process writes; what it decides, all do.
"""

import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import IO, TypeVar, cast

import torch
from torch import distributed

PATIENCE = timedelta(hours=1)  # the others wait while the first one evaluates or reads
FAREWELL_S = 10.0  # for processes to say why they end, once one of them has

T = TypeVar("T")


class TeamLostError(RuntimeError):
    """Another process of the team ended."""


@dataclass(frozen=True)
class Team:
    """Say which process we are of those that train the same model."""

    rank: int = 0
    size: int = 1

    @property
    def writes(self) -> bool:
        """Return whether this is the process that writes files and shows progress."""
        return self.rank == 0

    def share(self, value: T) -> T:
        """Return all processes the first one's value; plain values and tensors."""
        if self.size == 1:
            return value
        box: list[object] = [value]
        distributed.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return cast(T, box[0])

    def mean(self, value: float) -> float:
        """Return the mean of all processes' values."""
        if self.size == 1:
            return value
        total = torch.tensor(value, dtype=torch.float64)
        distributed.all_reduce(total)
        return float(total) / self.size


def team() -> Team:
    """Return the team that this process has joined; a team of one if none."""
    if distributed.is_available() and distributed.is_initialized():
        return Team(distributed.get_rank(), distributed.get_world_size())
    return Team()


def team_size(environment: Mapping[str, str] | None = None) -> int:
    """Return how many processes were started together."""
    return int((os.environ if environment is None else environment).get("WORLD_SIZE", "1"))


@contextmanager
def joined_team(environment: Mapping[str, str] | None = None) -> Iterator[Team]:
    """Join the processes that were started together; alone where there are none.

    Raises ``TeamLostError`` if another one ended meanwhile.
    """
    variables = os.environ if environment is None else environment
    if team_size(variables) == 1:
        yield Team()
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(variables["LOCAL_RANK"]) % torch.cuda.device_count())
    distributed.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=PATIENCE)
    try:
        yield team()
    except RuntimeError as exc:
        if isinstance(exc, distributed.DistError) or "gloo" in str(exc):
            raise TeamLostError(
                "another process of this training ended; see what it said, and start the same command again: "
                "it goes on from the last checkpoint"
            ) from exc
        raise
    finally:
        distributed.destroy_process_group()


def launch(processes: int, command: Sequence[str]) -> int:
    """Run a command in so many processes of one team on this machine; give its exit code.

    The first one speaks for all. If one fails the others are ended, and where the first had nothing to say of it, the
    failed one's words are shown.
    """
    address = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    with tempfile.TemporaryFile() as words:
        running = [
            _start(command, address | {"RANK": str(rank), "LOCAL_RANK": str(rank)}, words if rank else None)
            for rank in range(processes)
        ]
        try:
            codes = _wait(running)
        finally:
            _end(running)
        if any(codes) and not codes[0]:
            words.seek(0)
            os.write(2, words.read())
    return next((code for code in codes if code), 0)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _start(command: Sequence[str], variables: Mapping[str, str], words: IO[bytes] | None) -> "subprocess.Popen[bytes]":
    silent = None if words is None else subprocess.DEVNULL
    return subprocess.Popen(command, env={**os.environ, **variables}, stdout=silent, stderr=words)


def _wait(running: "Sequence[subprocess.Popen[bytes]]") -> list[int]:
    """Wait for all, or, once one has failed, a little for the others; give the codes of those that ended."""
    deadline = None
    while any(process.poll() is None for process in running):
        if deadline is None and any(process.returncode for process in running):
            deadline = time.monotonic() + FAREWELL_S
        if deadline is not None and time.monotonic() > deadline:
            break
        time.sleep(0.05)
    return [abs(process.returncode or 0) for process in running]


def _end(running: "Sequence[subprocess.Popen[bytes]]") -> None:
    for process in running:
        if process.poll() is None:
            process.terminate()
    for process in running:
        try:
            process.wait(FAREWELL_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
