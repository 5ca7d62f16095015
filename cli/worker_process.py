"""A worker as a process of its own: the very command that people run, with its output in a log file."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from time import monotonic, sleep
from types import TracebackType
from typing import Self

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from rankstream.streams.setting_fields import about, flag
from rankstream.streams.settings import Settings
from rankstream.streams.topics import ACTIONS, TopicNames

STOP_S = 20.0


class WorkerStoppedError(Exception):
    """The worker ended before it should; the message shows its last lines and names its log."""


def worker_flags(settings: Settings) -> list[str]:
    """Return settings as flags of ``rankstream worker``, so that no variable or file changes them; secrets are none."""
    given = {known.name: getattr(settings, known.name) for known in fields(Settings) if not about(known).secret}
    return [_flag(name, value) for name, value in given.items() if value is not None]


def _flag(name: str, value: object) -> str:
    if isinstance(value, bool):
        return flag(name) if value else f"--no-{flag(name)[2:]}"
    return f"{flag(name)}={value}"


class WorkerProcess:
    """``rankstream worker``: ``start``ed, ended at the end of a ``with`` block."""

    def __init__(self, options: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> None:
        self.environment = dict(environment or {})  # besides this process's own
        self.command = [sys.executable, "-m", "rankstream.cli.main", "worker", *options]
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None
        self.exit_code: int | None = None
        self.started_at_s = 0.0

    def start(self) -> None:
        """Start the process; ``with`` ends it."""
        self.started_at_s = monotonic()
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                self.command, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, **self.environment}
            )

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


def wait_applied(
    settings: Settings,
    records: int,
    worker: WorkerProcess,
    deadline_s: float,
    show: Callable[[int], None] = lambda applied: None,
) -> None:
    """Wait until the worker's group has committed so many offsets of ``user-actions``, a topic that began empty.

    ``show`` is told how many. Raises ``WorkerStoppedError`` if the worker ends or takes longer than ``deadline_s``.
    """
    admin = KafkaAdminClient(bootstrap_servers=settings.bootstrap_servers)
    deadline, topic = monotonic() + deadline_s, TopicNames(settings.topic_prefix).of(ACTIONS)
    try:
        while (done := _committed(admin, settings.app_id, topic)) < records:
            show(done)
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
