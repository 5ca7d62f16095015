"""Workers forked from a process that has imported what a worker imports, which is most of the CPU time of a start.

``worker.py`` is run in the child as it is in a process of its own, with the environment, output and folder that are its
own there too. What the child shares with others is the seed of Python's hashes; and nothing is done ``atexit`` there.
"""

import os
import runpy
import signal
import subprocess
from collections.abc import Mapping
from multiprocessing import forkserver, get_context
from pathlib import Path

ROOT = Path(__file__).parents[2]
WORKER = ROOT / "tests" / "kafka" / "worker.py"
FORKS = get_context("forkserver")
# Imported once, before the first fork. None of these starts a thread, of which a child would see locks and no more.
FORKS.set_forkserver_preload(
    ["rankstream.streams.app", "rankstream.streams.worker.open_serving", "tests.builders.actions", __name__]
)


class Forked:
    """A forked worker, with the names that ``subprocess.Popen`` has for a process."""

    def __init__(self, environment: Mapping[str, str], log: Path) -> None:
        log.touch()  # it is looked at before there is a child
        self._process = FORKS.Process(target=work, args=(dict(environment), log), daemon=True)
        self._process.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(str(WORKER), timeout or 0)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def stop_forking() -> None:
    """End the process that forks: from now on the CPU time of its children counts as this one's children."""
    forkserver._forkserver._stop()  # a private name, but there is no other


def work(environment: Mapping[str, str], log: Path) -> None:
    """Be a worker, in the child."""
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for stream in (1, 2):
        os.dup2(output, stream)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(ROOT)
    runpy.run_path(str(WORKER), run_name="__main__")
