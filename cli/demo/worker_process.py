"""The demo's worker: the very command that people run, as a process of its own with its log beside the report."""

import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep
from types import TracebackType
from typing import Self

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

STOP_S = 20.0


class WorkerStoppedError(Exception):
    """The worker ended before it should; the message shows its last lines and names its log."""


class WorkerProcess:
    """``rankstream worker``: ``start``ed, ended at the end of a ``with`` block."""

    def __init__(self, options: Sequence[str], log: Path) -> None:
        self.command = [sys.executable, "-m", "rankstream.cli.main", "worker", *options]
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None
        self.exit_code: int | None = None
        self.started_at_s = 0.0

    def start(self) -> None:
        """Start the process; ``with`` ends it."""
        self.started_at_s = monotonic()
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=subprocess.STDOUT)

    def stop(self) -> None:
        """End it as an operator would, and keep the exit code."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.exit_code = self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.exit_code = self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def check(self) -> None:
        """Raise ``WorkerStoppedError`` if the worker is gone."""
        if self.process is not None and self.process.poll() is not None:
            lines = self.log.read_text(errors="replace").strip().splitlines()[-3:]
            code = self.process.returncode
            raise WorkerStoppedError(
                f"the worker ended with exit code {code}; its log {self.log} ends: {' / '.join(lines)}"
            )


def wait_applied(servers: str, group: str, topic: str, records: int, worker: WorkerProcess, deadline_s: float) -> None:
    """Wait until the group has committed ``records`` offsets of a topic that began empty.

    Raises ``WorkerStoppedError`` if the worker ends or takes longer than ``deadline_s``.
    """
    admin = KafkaAdminClient(bootstrap_servers=servers)
    deadline = monotonic() + deadline_s
    try:
        while (done := _committed(admin, group, topic)) < records:
            worker.check()
            if monotonic() > deadline:
                raise WorkerStoppedError(
                    f"the worker applied {done:,} of {records:,} actions in {deadline_s:.0f} s; see {worker.log}"
                )
            sleep(0.02)
    finally:
        admin.close()


def _committed(admin: KafkaAdminClient, group: str, topic: str) -> int:
    """Sum the group's committed offsets of a topic; 0 while the group has no coordinator."""
    with suppress(KafkaError):
        offsets = admin.list_group_offsets(group)[group]
        return sum(max(0, int(at.offset)) for partition, at in offsets.items() if partition.topic == topic)
    return 0
