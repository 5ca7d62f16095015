"""Several processes that train one model together (data parallel): rank, size, which one writes, shared decisions.

A process is one of a team if torchrun started it (``torchrun --nproc-per-node 2 -m rankstream.cli.main train ...``) or
``launch`` did, which sets the same variables: ``RANK``, ``LOCAL_RANK``, ``WORLD_SIZE``, ``MASTER_ADDR``,
``MASTER_PORT``. GPUs use NCCL, CPUs Gloo. Only the process of rank 0 writes; what it decides, all do.
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
FAREWELL_S = 10.0  # for the other processes to print why they end, once one has

T = TypeVar("T")


class TeamLostError(RuntimeError):
    """Another process of the team ended."""


@dataclass(frozen=True)
class Team:
    """The rank of the current process among those that train the same model."""

    rank: int = 0
    size: int = 1

    @property
    def writes(self) -> bool:
        """Return whether this is the process that writes files and shows progress."""
        return self.rank == 0

    def share(self, value: T) -> T:
        """Return the first process's value in all processes; plain values and tensors."""
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
    """Return the team that this process has joined; a team of one if it joined none."""
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
                "another process of this training ended; see its output, and start the same command again: "
                "it resumes from the last checkpoint"
            ) from exc
        raise
    finally:
        distributed.destroy_process_group()


def launch(processes: int, command: Sequence[str]) -> int:
    """Run a command in so many processes of one team on this machine; return its exit code.

    Only the first one's output is shown. If one fails the others are terminated, and unless the first has failed too,
    the stderr of the others is shown.
    """
    address = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    with tempfile.TemporaryFile() as stderr:
        running = [
            _start(command, address | {"RANK": str(rank), "LOCAL_RANK": str(rank)}, stderr if rank else None)
            for rank in range(processes)
        ]
        try:
            codes = _wait(running)
        finally:
            _end(running)
        if any(codes) and not codes[0]:
            stderr.seek(0)
            os.write(2, stderr.read())
    return next((code for code in codes if code), 0)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _start(command: Sequence[str], variables: Mapping[str, str], stderr: IO[bytes] | None) -> "subprocess.Popen[bytes]":
    silent = None if stderr is None else subprocess.DEVNULL
    return subprocess.Popen(command, env={**os.environ, **variables}, stdout=silent, stderr=stderr)


def _wait(running: "Sequence[subprocess.Popen[bytes]]") -> list[int]:
    """Wait for all, or, once one has failed, a little for the others; return the codes of those that ended."""
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
