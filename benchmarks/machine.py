"""Where and when figures were measured: machine, versions, revision, and how busy all of it was."""

import os
import platform
import subprocess
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from rankstream.experiments.runs import machine
from rankstream.experiments.runs import versions as versions_of

PACKAGES = (
    "aiokafka", "bytewax", "confluent-kafka", "faust-streaming", "kafka-python", "lightgbm", "numba", "numpy",
    "onnxruntime", "openvino", "pyarrow", "quixstreams", "rocksdict", "torch",
)  # fmt: skip
BUSY = 0.5  # load a core from which absolute figures say little


@dataclass(frozen=True)
class Machine:
    """What figures depend on."""

    processor: str
    cores: int
    memory_gb: float
    system: str
    revision: str  # of git, with "+" where files were changed since
    versions: dict[str, str] = field(default_factory=dict)

    @classmethod
    def here(cls) -> "Machine":
        """Look at this one."""
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
        about = machine()
        return cls(about["processor"], about["cpus"], round(memory, 1), _system(), _revision(), versions())


def load() -> float:
    """Return how many processes wanted a core, over the last minute."""
    return round(os.getloadavg()[0], 1)


def is_busy(*loads: float) -> bool:
    """Return whether other work had a part in figures that were measured at these loads; our own is one or two."""
    return max(loads) > (os.cpu_count() or 1) * (1 + BUSY)


def now() -> str:
    """Return the time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that are installed."""
    return versions_of(PACKAGES)


def _system() -> str:
    """Return the name of the system: ``Debian GNU/Linux 12 (bookworm), Linux 6.1``."""
    try:
        name = platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        name = platform.system()
    return f"{name}, {platform.system()} {platform.release()}"


def _revision() -> str:
    """Return the commit of the checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+", "--abbrev=10"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
