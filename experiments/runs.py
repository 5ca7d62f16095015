"""The registry of runs: a finished run is skipped, a killed one resumed, its time and memory recorded.

::

    results/<table>/<run>.json     small, committed: the tables are made from them
    .experiments/<table>/<run>/    checkpoints and caches, outside git

A result belongs to its config: with another config the run is repeated, in a work folder of its own.
"""

import json
import os
import platform
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from rankstream.features.files import whole_file
from rankstream.models.training.old_names import current_fields

Config = TypeVar("Config")
Work = Callable[[Config, Path], Mapping[str, Any]]  # (config, folder of its own) -> metrics, as JSON

RESULTS = Path(__file__).parent / "results"
WORK = Path(".experiments")
SECONDS = "seconds.json"  # of a run that was stopped, in its work folder
PACKAGES = ("numpy", "torch", "pyarrow", "lightgbm")
DIGITS = 6  # of a number in a result: more are noise, and make diffs


@dataclass(frozen=True)
class Runs:
    """The folders of results and of work."""

    results: Path = RESULTS
    work: Path = WORK

    def run(self, name: str, config: Config, work: Work[Config]) -> dict[str, Any]:
        """Return the result of the run ``<table>/<run>`` with this config (a dataclass); work only if there is none.

        ``work`` gets a folder in which it finds what it left there when it was killed. Its seconds are those of all
        its parts; a part that ended by SIGKILL, which Python can't catch, is not counted.
        """
        settings = plain(asdict(config))  # type: ignore[call-overload]
        finished = self.result(name)
        if finished is not None and current_fields(finished["config"]) == settings:
            return finished
        folder = self.work / name / _digest(settings)
        folder.mkdir(parents=True, exist_ok=True)
        with _measured(folder) as measured:
            metrics = work(config, folder)
        result = {
            "name": name,
            "config": settings,
            "metrics": plain(metrics),
            "seconds": round(measured["seconds"], 1),
            "peak_rss_mb": round(measured["peak_rss_mb"]),
            "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            "versions": versions(),
        }
        _write_whole(self.results / f"{name}.json", json.dumps(result, indent=1) + "\n")
        (folder / SECONDS).unlink(missing_ok=True)
        return result

    def result(self, name: str) -> dict[str, Any] | None:
        """Return a run's result, if it is there."""
        path = self.results / f"{name}.json"
        return json.loads(path.read_text()) if path.exists() else None

    def results_of(self, table: str) -> list[dict[str, Any]]:
        """Return all results of a table, by name."""
        return [json.loads(path.read_text()) for path in sorted((self.results / table).glob("*.json"))]


def stop_politely() -> None:
    """Let SIGTERM end this process like Ctrl-C does, so that the time a run took so far is recorded."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


@contextmanager
def _measured(folder: Path) -> Iterator[dict[str, float]]:
    """Measure the time and memory of the block; add those of earlier parts of the same run."""
    path = folder / SECONDS
    before = json.loads(path.read_text()) if path.exists() else {"seconds": 0.0, "peak_rss_mb": 0.0}
    measured = dict(before)
    forget_peak_rss()
    start = time.monotonic()
    try:
        yield measured
    finally:
        measured["seconds"] = before["seconds"] + time.monotonic() - start
        measured["peak_rss_mb"] = max(before["peak_rss_mb"], peak_rss_mb())
        _write_whole(path, json.dumps(measured))


def forget_peak_rss() -> None:
    """Reset the high-water mark of memory, where Linux allows it."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak_rss_mb() -> float:
    """Return the peak resident memory of this process since ``forget_peak_rss``, in MB."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def machine() -> dict[str, Any]:
    """Return the machine this runs on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        processor = platform.processor()
    return {"processor": processor, "cpus": os.cpu_count(), "system": platform.system()}


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Return the versions of what numbers depend on: Python, and those of these packages that are installed."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def plain(value: Any) -> Any:
    """Return a value after a round trip through JSON, numbers rounded."""
    return json.loads(json.dumps(_rounded(value), default=_name))


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _rounded(part) for key, part in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _rounded(value.tolist())
    if isinstance(value, list | tuple):
        return [_rounded(part) for part in value]
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def _name(value: Any) -> str:
    """Return the name of a value that JSON lacks: a function or a class in a config."""
    return f"{value.__module__}.{value.__qualname__}" if hasattr(value, "__qualname__") else str(value)


def _digest(settings: Any) -> str:
    return blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=6).hexdigest()


def _write_whole(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as beside:
        beside.write_text(text)
