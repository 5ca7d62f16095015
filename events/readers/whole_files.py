"""Any log with the wire's columns: JSON lines, Parquet or CSV.

``user_id, item_id, action, timestamp_ms`` and, if there are any, ``surface`` and ``value``.
"""

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rankstream.events.log import (
    COLUMNS,
    OPTIONAL_COLUMNS,
    VOCABULARY_KEY,
    EventLog,
    LogRefusedError,
    event_log,
    require_columns,
    whole_milliseconds,
)
from rankstream.features.actions import Vocabulary

Columns = Mapping[str, Sequence[Any]]


def read_events(path: Path, vocabulary: Vocabulary | None = None) -> EventLog:
    """Read a log by the ending of its name: ``.jsonl``, ``.ndjson``, ``.json``, ``.parquet`` or ``.csv``.

    Without a vocabulary the file's own is taken: a Parquet file of ours names it; otherwise the action and surface
    names that occur, sorted. Raises ``LogRefusedError``, one sentence, for anything that cannot be understood.
    """
    reader = READERS.get(path.suffix)
    if reader is None:
        raise LogRefusedError(f"{path}: unknown ending {path.suffix!r}; wanted one of {', '.join(READERS)}")
    if not path.exists():
        raise LogRefusedError(f"there is no file {path}; give the path of the log")
    columns, written_with = reader(path)
    require_columns(list(columns), COLUMNS, str(path))
    vocabulary = vocabulary or written_with or _names_in(columns, str(path))
    where = str(path)
    return event_log(
        vocabulary,
        _ids(columns["user_id"], "user_id", where),
        _ids(columns["item_id"], "item_id", where),
        _codes(columns["action"], vocabulary.action_codes, "action", where),
        whole_milliseconds(_numbers(columns["timestamp_ms"], "timestamp_ms", where), 1, where),
        _surfaces(columns, vocabulary, where),
        _numbers(columns["value"], "value", where) if "value" in columns else None,
    )


def _names_in(columns: Columns, where: str) -> Vocabulary:
    for name in ("action", "surface"):
        strange = [given for given in columns.get(name, ()) if given is not None and not isinstance(given, str)]
        if strange:
            raise LogRefusedError(f"{where}: {name} {strange[0]!r} is no text; give names")
    surfaces = {name for name in columns.get("surface", ()) if name}
    try:
        return Vocabulary(tuple(sorted({str(name) for name in columns["action"]})), tuple(sorted(surfaces)))
    except ValueError as exc:
        raise LogRefusedError(f"{where}: {exc}") from exc


def _codes(names: Sequence[Any], codes: Mapping[str, int], what: str, where: str) -> Any:
    unknown = {name for name in names if name not in codes}
    if unknown:
        raise LogRefusedError(f"{where}: unknown {what} {sorted(map(str, unknown))[0]!r}; wanted {', '.join(codes)}")
    return np.array([codes[name] for name in names], np.int64)


def _surfaces(columns: Columns, vocabulary: Vocabulary, where: str) -> Any:
    """Return surface codes; a surface that the vocabulary lacks is "none", as it is on the wire."""
    if "surface" not in columns:
        return None
    codes = vocabulary.surface_codes
    return np.array([codes.get(name, 0) if name else 0 for name in columns["surface"]], np.int64)


def _ids(ids: Sequence[Any], what: str, where: str) -> Any:
    """Return ids; decimal text in a CSV file was made an integer when it was read."""
    wrong = [row for row, given in enumerate(ids) if not isinstance(given, (int, str, np.integer)) or given == ""]
    if wrong:
        raise LogRefusedError(f"{where}: {what} {ids[wrong[0]]!r} in row {wrong[0]}; give texts or integers")
    return ids


def _numbers(numbers: Sequence[Any], what: str, where: str) -> Any:
    """Return floats, NaN for none."""
    try:
        return np.array([np.nan if given in (None, "") else float(given) for given in numbers], np.float64)
    except (TypeError, ValueError) as exc:
        raise LogRefusedError(f"{where}: {what} must be numbers ({exc})") from exc


def _read_json_lines(path: Path) -> tuple[Columns, None]:
    columns: dict[str, list[Any]] = {name: [] for name in (*COLUMNS, *OPTIONAL_COLUMNS)}
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                message = _message(line, f"{path}, line {number}")
                for name, column in columns.items():
                    column.append(message.get(name))
    for name in OPTIONAL_COLUMNS:
        if all(given is None for given in columns[name]):
            del columns[name]
    return columns, None


def _message(line: str, where: str) -> dict[str, Any]:
    try:
        message = json.loads(line)
    except ValueError as exc:
        raise LogRefusedError(f"{where} is not JSON ({exc}); give one message a line") from exc
    if not isinstance(message, dict):
        raise LogRefusedError(f"{where} is no JSON object; give one message a line")
    require_columns(list(message), COLUMNS, where)
    return message


def _read_parquet(path: Path) -> tuple[Columns, Vocabulary | None]:
    try:
        table = pq.read_table(path)
    except pa.ArrowInvalid as exc:
        raise LogRefusedError(f"{path} is not a Parquet file ({exc}); give one") from exc
    written = (table.schema.metadata or {}).get(VOCABULARY_KEY)
    vocabulary = None
    if written:
        names = json.loads(written)
        vocabulary = Vocabulary(tuple(names["actions"]), tuple(names["surfaces"]))
    wanted = [name for name in (*COLUMNS, *OPTIONAL_COLUMNS) if name in table.column_names]
    return {name: table[name].to_pylist() for name in wanted}, vocabulary


def _read_csv(path: Path) -> tuple[Columns, None]:
    with path.open(encoding="utf-8", newline="") as lines:
        rows = csv.DictReader(lines)
        names = list(rows.fieldnames or ())
        columns: dict[str, list[Any]] = {name: [] for name in (*COLUMNS, *OPTIONAL_COLUMNS) if name in names}
        for number, row in enumerate(rows, start=2):
            if None in row or None in row.values():
                raise LogRefusedError(f"{path}, line {number}: its number of fields is not the heading's")
            for name, column in columns.items():
                column.append(row[name])
    for name in ("user_id", "item_id"):
        if name in columns and all(given.isascii() and given.isdecimal() for given in columns[name]):
            columns[name] = [int(given) for given in columns[name]]
    return columns, None


READERS: dict[str, Callable[[Path], tuple[Columns, Vocabulary | None]]] = {
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
    ".json": _read_json_lines,
    ".parquet": _read_parquet,
    ".csv": _read_csv,
}
