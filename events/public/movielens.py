"""MovieLens ratings as actions: 5 is a save, 4 a click, 3 a view, 1 and 2 a hide.

Reads RecBole's ``ml-100k.inter`` (tab-separated text with typed headings) and any Parquet file with the columns
``user_id, item_id, rating, timestamp`` (seconds).
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rankstream.events.log import EventLog, LogRefusedError, event_log, read_parquet_columns, require_columns
from rankstream.events.log import whole_milliseconds as milliseconds
from rankstream.features.actions import Vocabulary

VOCABULARY = Vocabulary(("view", "click", "save", "hide"))
POSITIVES = ("click", "save")
NEGATIVES = ("hide",)
CODE_OF_STARS = np.array([0, 4, 4, 1, 2, 3], np.int64)  # of 0..5 stars; MovieLens gives 1..5
COLUMNS = ("user_id", "item_id", "rating", "timestamp")


def read_movielens(path: Path) -> EventLog:
    """Read a ``.inter`` or ``.parquet`` file of ratings. Raises ``LogRefusedError`` for anything else."""
    if path.is_dir():
        path = _only_log_in(path)
    columns = read_parquet_columns(path, COLUMNS) if path.suffix == ".parquet" else _read_inter(path)
    return event_log(
        VOCABULARY,
        columns["user_id"],
        columns["item_id"],
        actions_of(columns["rating"], str(path)),
        milliseconds(columns["timestamp"], 1000, str(path)),
    )


def actions_of(ratings: npt.NDArray[Any], where: str) -> npt.NDArray[np.int64]:
    """Return the action codes of 1 to 5 stars."""
    stars = np.asarray(ratings, np.float64)
    wrong = np.flatnonzero((stars != np.round(stars)) | (stars < 1) | (stars > 5))
    if len(wrong):
        raise LogRefusedError(f"{where}: a rating of {stars[wrong[0]]} in row {wrong[0]}; wanted whole stars, 1 to 5")
    return CODE_OF_STARS[stars.astype(np.int64)]


def _only_log_in(folder: Path) -> Path:
    for name in ("inter.parquet", "ml-100k.inter"):
        if (folder / name).exists():
            return folder / name
    raise LogRefusedError(f"{folder} holds neither inter.parquet nor ml-100k.inter; give the file itself")


def _read_inter(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Read RecBole's text: ``user_id:token  item_id:token  rating:float  timestamp:float``."""
    if not path.exists():
        raise LogRefusedError(f"there is no file {path}; give the path of a .inter or .parquet file")
    with path.open(encoding="utf-8") as lines:
        names = [heading.split(":")[0] for heading in lines.readline().strip("\r\n").split("\t")]
        require_columns(names, COLUMNS, str(path))
        rows = [line.rstrip("\r\n").split("\t") for line in lines if line.strip()]
    for number, row in enumerate(rows, start=2):
        if len(row) != len(names):
            raise LogRefusedError(f"{path}, line {number}: {len(row)} fields, but the heading has {len(names)}")
    table = dict(zip(names, zip(*rows, strict=True), strict=True)) if rows else {name: () for name in names}
    try:
        return {
            "user_id": _tokens(table["user_id"]),
            "item_id": _tokens(table["item_id"]),
            "rating": np.array(table["rating"], np.float64),
            "timestamp": np.array(table["timestamp"], np.float64),
        }
    except ValueError as exc:
        raise LogRefusedError(f"{path}: {exc}; ratings and timestamps must be numbers") from exc


def _tokens(tokens: tuple[str, ...]) -> npt.NDArray[Any]:
    """Return int64 if every token is a decimal number, else the strings."""
    if all(token.isascii() and token.isdecimal() for token in tokens):
        return np.array(tokens, np.int64)
    return np.array(tokens, object)


def read_sequences(path: Path) -> list[npt.NDArray[np.int64]]:
    """Read each user's items in the order of their ratings, as rows 0, 1, ...: MovieLens-1M as SASRec's file has it.

    ``path`` is ``sequences.parquet`` or its folder, with ``sas_user, sas_item`` (from 1) and ``position`` (0 first).
    """
    file = path / "sequences.parquet" if path.is_dir() else path
    columns = read_parquet_columns(file, ("sas_user", "sas_item", "position"))
    users, items, places = (np.asarray(columns[name], np.int64) for name in ("sas_user", "sas_item", "position"))
    order = np.lexsort((places, users))
    starts = np.flatnonzero(np.diff(users[order])) + 1
    return np.split(items[order] - 1, starts)
