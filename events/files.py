"""The files of a log: what lies at a path, a file, a folder with its subfolders or a pattern, in the order of reading.

::

    logs/dt=2023-11-14/part-0.parquet      read, with the partition dt
    logs/2023-11-15.csv.gz                 read
    logs/_SUCCESS  logs/.part-0.crc        marks of other programs: passed over
    logs/notes.md                          no kind of file that can be read: ``LogFiles.strange``

What a file holds is not looked at here.
"""

import glob
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from rankstream.events.arrivals import LogError

FILE_TYPES = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "text",
    ".tsv": "text",
    ".txt": "text",
    ".dat": "text",  # MovieLens'
    ".data": "text",
    ".inter": "text",  # RecBole's, with columns like user_id:token
    ".item": "text",
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
    ".idomaar": "json",  # 30Music's: JSON after some columns
}
# What is often handed over instead, and the command that makes a file of it that can be read.
UNPACKED_BY = {
    ".zip": "unpack it: unzip {name}",
    ".xz": "unpack it: xz -dk {name}",
    ".bz2": "unpack it: bunzip2 -k {name}",
    ".7z": "unpack it: 7z x {name}",
    ".tar": "unpack it: tar xf {name}",
    ".tgz": "unpack it: tar xf {name}",
    ".xlsx": "save its sheet as CSV UTF-8",
    ".xls": "save its sheet as CSV UTF-8",
    ".ods": "save its sheet as CSV UTF-8",
    ".sql": "let the database write CSV, as psql -c '\\copy (SELECT ...) TO log.csv CSV HEADER'",
    ".dump": "let the database write CSV, as psql -c '\\copy (SELECT ...) TO log.csv CSV HEADER'",
    ".db": "let the database write CSV, as sqlite3 -header -csv {name} 'SELECT ...' > log.csv",
    ".sqlite": "let the database write CSV, as sqlite3 -header -csv {name} 'SELECT ...' > log.csv",
    ".avro": "write Parquet of it",
    ".orc": "write Parquet of it",
    ".feather": "write Parquet of it",
    ".arrow": "write Parquet of it",
    ".pkl": "write Parquet of it: pandas.read_pickle({name!r}).to_parquet('log.parquet')",
}
COMPRESSED = {".gz": "gzip", ".zst": "zstd", "": ""}  # of text and JSON lines; Parquet packs its columns itself
READABLE = ".parquet, .csv, .tsv, .txt and .jsonl can be read, text also as .gz and .zst"
UNKNOWN_VALUE = "__HIVE_DEFAULT_PARTITION__"  # how Hive and Spark write null
MARKS = ("thumbs.db", "desktop.ini")
PATTERN = "*?["


@dataclass(frozen=True)
class PlacedFile:
    """A file of a log, and the partitions of the folders that it lies in."""

    path: Path
    partitions: Mapping[str, str] = field(default_factory=dict)  # of folders called key=value


@dataclass(frozen=True)
class LogFiles:
    """What lies at a path."""

    files: tuple[PlacedFile, ...]  # in the order that they are read: of their names, folder by folder
    strange: tuple[Path, ...] = ()  # files of other kinds


def file_type(path: Path) -> str:
    """Return a file's type by its ending: parquet, text or json. Raises ``LogError`` for others."""
    found = type_by_ending(path)
    if found is None:
        how = UNPACKED_BY.get(".tar" if ".tar" in path.name.lower() else path.suffix.lower(), "")
        remedy = f"; {how.format(name=path.name)}" if how else ""
        raise LogError(f"{path} ends with {''.join(path.suffixes[-2:]) or 'nothing'}; {READABLE}{remedy}")
    return found


def type_by_ending(path: Path) -> str | None:
    """Return a file's type by its ending; None if it can't be read."""
    name = path.name.lower()
    packed = compression(path)
    found = FILE_TYPES.get(Path(name[: -len(Path(name).suffix)] if packed else name).suffix)
    return None if packed and found == "parquet" else found


def compression(path: Path) -> str:
    """Return how a file is packed by its ending: gzip, zstd or not at all."""
    return COMPRESSED.get(path.suffix.lower(), "")


def files_at(path: Path) -> LogFiles:
    """Return the files at a path. Raises ``LogError`` if there is none, or the one that is named can't be read."""
    if path.is_file():
        file_type(path)
        return LogFiles((PlacedFile(path),))
    if path.is_dir():
        return _sorted_out(path, [path])
    elif any(letter in str(path) for letter in PATTERN):
        matches = sorted(map(Path, glob.glob(str(path), recursive=True)))
        if not matches:
            raise LogError(f"no file matches {path}; give a file, a folder or another pattern")
        return _sorted_out(_before_the_pattern(path), matches)
    raise LogError(f"there is no file {path}; name a .parquet, .csv or .jsonl file, or the folder of a log")


def shortened(names: list[str], shown: int = 5) -> str:
    """Return the first names, and how many more there are."""
    rest = f" and {len(names) - shown:,} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + rest


def _sorted_out(root: Path, paths: list[Path]) -> LogFiles:
    files: list[PlacedFile] = []
    strange: list[Path] = []
    for path in dict.fromkeys(file for one in paths for file in _files_below(root, one)):
        if type_by_ending(path) is None:
            strange.append(path)
        else:
            files.append(PlacedFile(path, _partitions(path.relative_to(root).parts[:-1])))
    return LogFiles(tuple(files), tuple(strange))


def _files_below(root: Path, path: Path) -> Iterator[Path]:
    """Yield the files at a path or below it, but for marks and what is hidden or still being written."""
    inside = path.rglob("*") if path.is_dir() else [path]
    for file in sorted(inside, key=lambda one: one.parts):
        if file.is_file() and not any(map(_is_mark, file.relative_to(root).parts)):
            yield file


def _is_mark(name: str) -> bool:
    return name.startswith((".", "_")) or name.lower().endswith(".crc") or name.lower() in MARKS


def _partitions(folders: tuple[str, ...]) -> dict[str, str]:
    """Return key and value of folders called ``key=value``."""
    pairs = [folder.partition("=") for folder in folders]
    return {unquote(key): "" if value == UNKNOWN_VALUE else unquote(value) for key, equals, value in pairs if equals}


def _before_the_pattern(path: Path) -> Path:
    """Return the folder that a pattern starts in."""
    plain = []
    for part in path.parts:
        if any(letter in part for letter in PATTERN):
            break
        plain.append(part)
    return Path(*plain)
