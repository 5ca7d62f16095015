"""Benchmarks one after the other, each in a process of its own: what was measured is kept, what failed is told.

::

    .benchmarks/quick/
        engine.json     the outcome: figures, load, time, and the digest of what it was measured with
        engine.txt      what it printed
        report.md  report.svg

An outcome belongs to its digest: of the code of all rooms, the versions of the libraries, the bundle and the arguments.
With another digest the benchmark runs again.
"""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from time import monotonic

import msgspec

from benchmarks.entries import Entry, Given, missing
from benchmarks.figures import Figure, read_figures
from benchmarks.machine import load, now, versions
from rankstream.features.files import whole_file

ROOT = Path(__file__).resolve().parent.parent
APART = ("tests", "chaos", "fuzz")  # nothing that is measured is in them
STOP_S = 15.0  # for brokers and workers to be ended
LAST_LINES = 5
MEASURED, KEPT, FAILED, SKIPPED = "measured", "kept", "failed", "skipped"


@dataclass(frozen=True)
class Outcome:
    """What became of one benchmark."""

    name: str
    state: str  # one of the four above
    reason: str = ""  # why it failed or was skipped
    command: str = ""
    figures: list[Figure] = field(default_factory=list)
    load_before: float = 0.0
    load_after: float = 0.0
    seconds: float = 0.0
    measured_at: str = ""  # UTC
    digest: str = ""


@dataclass(frozen=True)
class Suite:
    """How the list is run."""

    folder: Path
    given: Given
    quick: bool
    again: bool = False  # also what is there
    tell: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True)

    def run(self, entries: Sequence[Entry]) -> Iterator[Outcome]:
        """Yield what became of each as it ends; a benchmark that fails doesn't keep the others from running."""
        self.folder.mkdir(parents=True, exist_ok=True)
        code = code_digest()
        for number, entry in enumerate(entries, 1):
            outcome = self._outcome(entry, code)
            self.tell(f"[{number}/{len(entries)}] {entry.name}: {_in_short(outcome)}")
            yield outcome

    def _outcome(self, entry: Entry, code: str) -> Outcome:
        reason = "it is in the full list alone" if self.quick and entry.quick is None else missing(entry, self.given)
        if reason:
            return Outcome(entry.name, SKIPPED, reason)
        arguments = entry.arguments(self.given, self.quick)
        digest, path = self.digest(entry, code), self.folder / f"{entry.name}.json"
        kept = None if self.again else outcome_at(path)
        if kept is not None and kept.digest == digest:
            return replace(kept, state=KEPT)
        self.tell(f"{entry.name} runs: python -m {entry.module} {' '.join(arguments)}")
        outcome = self._measured(entry, arguments, digest)
        if outcome.state == MEASURED:
            with whole_file(path) as beside:
                beside.write_bytes(msgspec.json.format(msgspec.json.encode(outcome)) + b"\n")
        return outcome

    def digest(self, entry: Entry, code: str) -> str:
        """Return what an outcome must have been measured with, to be kept."""
        uses_bundle = entry.bundle_flag is not None and self.given.bundle is not None
        manifest = (self.given.bundle / "manifest.json").read_text() if uses_bundle and self.given.bundle else ""
        about = [code, versions(), entry.arguments(self.given, self.quick), manifest]
        return blake2b(msgspec.json.encode(about, order="sorted"), digest_size=8).hexdigest()

    def _measured(self, entry: Entry, arguments: Sequence[str], digest: str) -> Outcome:
        """Run it; what it prints goes to a file."""
        begun, before, printed = monotonic(), load(), self.folder / f"{entry.name}.txt"
        with tempfile.TemporaryDirectory() as name:
            figures = Path(name) / "figures.json"
            command = [sys.executable, "-m", entry.module, *arguments]
            problem = _run([*command, "--json", str(figures)], printed, entry.limit_s)
            found: list[Figure] = []
            if not problem:
                try:
                    found = read_figures(figures)
                except (OSError, msgspec.DecodeError) as exc:
                    problem = f"it ended well and left no figures: {exc}"
        shown = " ".join(["python", *command[1:]])
        state = FAILED if problem else MEASURED
        return Outcome(
            entry.name, state, problem, shown, found, before, load(), round(monotonic() - begun, 1), now(), digest
        )


def _run(command: Sequence[str], printed: Path, limit_s: float) -> str:
    """Run to the end, in a session of its own, of which nothing is left; return what went wrong, or ''."""
    with printed.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=ROOT, start_new_session=True)
        try:
            code = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            _stop(process)
            return f"it did not end within {limit_s:g} s; {_last_lines(printed)}"
        except BaseException:  # Ctrl-C, which a session of its own is not told
            _stop(process)
            raise
        finally:
            _kill_session(process.pid)
    return f"exit code {code}; {_last_lines(printed)}" if code else ""


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """Have it end its brokers and workers, and itself."""
    process.send_signal(signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_S)
    _kill_session(process.pid)
    process.wait()


def _kill_session(pid: int) -> None:
    """Kill what is left of its processes."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _last_lines(printed: Path) -> str:
    lines = [line for line in printed.read_text(errors="replace").splitlines() if line.strip()]
    return f"its last lines ({printed}):\n" + "\n".join(f"    {line}" for line in lines[-LAST_LINES:])


def _in_short(outcome: Outcome) -> str:
    if outcome.state == MEASURED:
        return f"{len(outcome.figures)} figures in {outcome.seconds:.0f} s"
    if outcome.state == KEPT:
        return f"{len(outcome.figures)} figures are there, of {outcome.measured_at}; --again measures anew"
    return f"{outcome.state}: {outcome.reason}"


def outcome_at(path: Path) -> Outcome | None:
    """Return what an earlier run left, or None where it is nothing that can be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Outcome)
    except (OSError, msgspec.DecodeError):
        return None


def code_digest(root: Path = ROOT) -> str:
    """Return a digest of all code that may be measured."""
    digest = blake2b(digest_size=8)
    rooms = sorted(path.parent for path in root.glob("*/__init__.py") if path.parent.name not in APART)
    for room in [*rooms, root / "benchmarks"]:
        for path in sorted(room.rglob("*.py")):
            digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()
