"""The worker's part of a deployment: it hands some of its requests to the process that ranks them by both bundles.

::

    answered, sampled -> a queue of WAITING, else skipped -> pipe -> shadow_process.py -> a report -> deploy

Answers never wait for it: a full queue drops what comes, and packing and writing are done in a thread of its own. In an
experiment each of the two folders of bundles has its own deployments, shadowed on the requests of its own users.
"""

import logging
import os
import random
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from queue import Empty, Full, Queue
from typing import Any

import msgspec

from rankstream.features.ids import id_bytes
from rankstream.features.user_state import UserState
from rankstream.ranking.deployment import Deployment, DeploymentError, read_deployment
from rankstream.ranking.experiment import CONTROL, TREATMENT
from rankstream.ranking.request import RankingRequest
from rankstream.ranking.shadow.report import Tally, write_report
from rankstream.streams.pipeline import wall_clock_ms
from rankstream.streams.settings import Settings
from rankstream.streams.worker.open_serving import assignment_of
from rankstream.streams.worker.shadow_process import Sampled, Task, frame

WAITING = 64  # requests, each with its user's 2 KB
WAIT_S = 0.2  # until the writing thread sees that it is to end
ENDS_S = 2.0  # for a last report
COMMAND = (sys.executable, "-m", "rankstream.streams.worker.shadow_process")

log = logging.getLogger(__name__)

Waiting = tuple[RankingRequest, UserState, int]


class Shadows:
    """Those of a worker: of the folder of bundles, and in an experiment of the treatment's."""

    def __init__(self, settings: Settings) -> None:
        self._of = {CONTROL: Shadow(settings)}
        if settings.variant is not None:
            self._of[TREATMENT] = Shadow(settings, TREATMENT)

    def sample(self, request: RankingRequest, state: UserState, asked_ms: int) -> None:
        """Hand on a request that was answered, or not; from any thread."""
        for shadow in self._of.values():
            shadow.sample(request, state, asked_ms)

    def follow(self) -> None:
        """See whether a deployment has begun, gone on or ended; to be called each second."""
        for shadow in self._of.values():
            shadow.follow()

    def stop(self) -> None:
        """End the processes beside this one."""
        for shadow in self._of.values():
            shadow.stop()

    def told(self) -> dict[str, Any]:
        """Return what the worker's page shows; of the treatment under its name."""
        of_treatment = {name: one.told() for name, one in self._of.items() if name != CONTROL}
        return self._of[CONTROL].told() | of_treatment


class Shadow:
    """Follows the deployments of a folder of bundles that this worker serves a variant's users from."""

    def __init__(
        self,
        settings: Settings,
        variant: str = CONTROL,
        clock: Callable[[], int] = wall_clock_ms,
        rng: random.Random | None = None,
    ) -> None:
        self.deployment: Deployment | None = None  # the last one
        self._settings = settings
        self._variant = variant
        self._bundles = settings.bundle if settings.variant is None or variant == CONTROL else settings.variant
        self._assignment = assignment_of(settings)
        self._clock = clock
        self._rng = rng or random.Random()
        self._pair: RankingPair | None = None
        self._is_first_look = True
        self._error = ""  # told last

    def sample(self, request: RankingRequest, state: UserState, asked_ms: int) -> None:
        """Hand on a request that was answered, or not; from any thread.

        Those of the other variant are not: the bundles of this folder have folded none of their users' sessions.
        """
        pair = self._pair
        if pair is not None and self._rng.random() < pair.deployment.share and self._is_of_the_variant(request):
            pair.offer((request, state, asked_ms))

    def _is_of_the_variant(self, request: RankingRequest) -> bool:
        return self._assignment is None or self._assignment.variant_of(id_bytes(request.user_id)) == self._variant

    def follow(self) -> None:
        """See whether a deployment has begun, gone on or ended; to be called each second."""
        try:
            now = read_deployment(self._bundles)
        except (OSError, DeploymentError) as exc:
            self._tell_error(str(exc))
            return
        before, self.deployment = self.deployment, now
        if not self._is_first_look and now is not None and now.has_ended_since(before):
            tell(now)
        self._is_first_look = False
        self._run_or_end(now)

    def _tell_error(self, error: str) -> None:
        if error != self._error:
            log.error("deployments are not followed: %s", error)
        self._error = error

    def _run_or_end(self, now: Deployment | None) -> None:
        wanted = None if now is None or not now.is_shadow(self._clock()) else now
        if self._pair is not None and (wanted is None or self._pair.deployment.id != wanted.id):
            self.stop()
        if wanted is not None and self._pair is None:
            self._begin(wanted)
        if self._pair is not None:
            self._pair.look(self._clock())

    def _begin(self, wanted: Deployment) -> None:
        try:
            self._pair = RankingPair(wanted, self._bundles, self._settings)
        except OSError as exc:  # no memory for another process, say; the command misses the report
            self._tell_error(f"no process can be started that ranks by {wanted.bundle}: {exc}")

    def stop(self) -> None:
        """End the process beside this one."""
        pair, self._pair = self._pair, None
        if pair is not None:
            pair.stop()

    def told(self) -> dict[str, Any]:
        """Return what the worker's page shows."""
        pair = self._pair
        counts = None if pair is None else {"sampled": pair.sampled, "skipped": pair.skipped, "failed": pair.failed}
        return {"deployment": msgspec.to_builtins(self.deployment), "shadow": counts}


class RankingPair:
    """The process that ranks by both bundles, and what waits for it."""

    def __init__(self, deployment: Deployment, bundles: Path, settings: Settings) -> None:
        self.deployment = deployment
        self.sampled = self.skipped = 0
        self.failed: str | None = None
        self._reports = deployment.reports(bundles)
        self._worker = f"{socket.gethostname()}-{os.getpid()}"
        self._waiting: Queue[Waiting | None] = Queue(WAITING)
        self._is_ending = False
        self._process = subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        self._writing = threading.Thread(target=self._write_all, args=(self._task(bundles, settings),), daemon=True)
        self._writing.start()
        share, before = 100 * deployment.share, deployment.before
        log.info("%g %% of the requests are ranked by %s and by %s, beside", share, before, deployment.bundle)

    def _task(self, bundles: Path, settings: Settings) -> Task:
        deployed = self.deployment
        serving = bundles / (deployed.before or "")
        return Task(self._worker, serving, bundles / deployed.bundle, self._reports, settings)

    def offer(self, one: Waiting) -> None:
        """Put a request behind those that wait, or drop it."""
        self.sampled += 1
        try:
            self._waiting.put_nowait(one)
        except Full:
            self.skipped += 1

    def look(self, now_ms: int) -> None:
        """Show a sign of life to the process, and report where it has died."""
        with suppress(Full):
            self._waiting.put_nowait(None)
        code = self._process.poll()
        if not code or self.failed is not None:  # it goes on, or the command has seen enough
            return
        self.failed = f"it ended the process that ranks by it, with {how_ended(code)}"
        log.error("deployment of %s: %s; this worker goes on as before", self.deployment.bundle, self.failed)
        if code < 0:  # else it has reported itself
            self._report_failure(now_ms)

    def _report_failure(self, now_ms: int) -> None:
        try:
            write_report(self._reports, Tally(self._worker).report(now_ms, self.failed))
        except OSError as exc:
            log.error("deployment of %s: no report can be written: %s", self.deployment.bundle, exc)

    def _write_all(self, task: Task) -> None:
        """Pack and write what waits; at the end of the input the process writes its last report."""
        pipe = self._process.stdin
        if pipe is None:
            raise RuntimeError("the process was started without a pipe")
        with suppress(OSError), pipe:  # a broken pipe: ``look`` sees why
            pipe.write(frame(task))
            while not self._is_ending:
                with suppress(Empty):
                    pipe.write(frame(self._packed(self._waiting.get(timeout=WAIT_S))))
                    pipe.flush()

    def _packed(self, one: Waiting | None) -> Sampled:
        if one is None:
            return Sampled(self.skipped)
        request, state, asked_ms = one
        return Sampled(self.skipped, request, state.pack(), asked_ms)

    def stop(self) -> None:
        """Let the process write a last report, and end it."""
        self._is_ending = True
        try:
            self._process.wait(ENDS_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._writing.join(ENDS_S)


def how_ended(code: int) -> str:
    """Return how a process ended, in words."""
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def tell(deployment: Deployment) -> None:
    """Write the stage of a deployment to the log."""
    level = logging.WARNING if deployment.reason else logging.INFO
    reason = f": {deployment.reason}" if deployment.reason else ""
    log.log(level, "deployment of %s: %s%s", deployment.bundle, deployment.stage, reason)
