"""MovieLens-100K for the demo: from a given folder, or out of the RecBole wheel, taken with pip but not installed.

Beside the log lie the films, from which a file of items is made: for the live page, and to place new films.
"""

import csv
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from rankstream.events.readers.rows import open_rows
from rankstream.features.files import whole_file

WHEEL = "recbole==1.2.1"
INSIDE = "recbole/dataset_example/ml-100k/"
LOG_NAME, FILMS_NAME = "ml-100k.inter", "ml-100k.item"
ITEMS_NAME = "items.csv"


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
    """Download the wheel with this Python's pip and unpack the log, and the films beside it."""
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
            texts = {name: wheel.read(INSIDE + name) for name in (FILMS_NAME, LOG_NAME)}
    target.parent.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        with whole_file(target.with_name(name)) as beside:
            beside.write_bytes(text)


def write_items(log: Path, folder: Path) -> Path | None:
    """Write the films that lie beside a log as a file of items, and return it; None where none do."""
    films = next((path for path in (log.with_name(FILMS_NAME), log.with_name("item.parquet")) if path.is_file()), None)
    if films is None:
        return None
    target = folder / ITEMS_NAME
    with whole_file(target) as beside, beside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "title", "category", "collections"))
        for row in open_rows(films).rows:
            item, title, year, genres = row.values()
            names = str(genres).split(" ")
            writer.writerow((item, f"{title} ({year})", names[0], "|".join(names)))
    return target
