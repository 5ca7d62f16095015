"""Any log by its path: which reader reads it, and what training makes of its actions unless it is told otherwise.

A log is recognised by its columns, in a file or in a folder that holds one. A folder of files with the wire's columns
(one a day, say) is one log.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rankstream.events.log import COLUMNS, EventLog, LogRefusedError, event_log
from rankstream.events.public import kuairand, movielens, music30, taobao
from rankstream.events.readers.whole_files import READERS, read_events
from rankstream.features.actions import Vocabulary

HOUR_MS = 3_600_000
OFTEN = 0.05  # share of moments


@dataclass(frozen=True)
class LogKind:
    """A kind of log: how it is told from others, and what is asked of its users' actions."""

    name: str  # of --format
    read: Callable[[Path], EventLog]
    columns: tuple[str, ...]
    positives: tuple[str, ...] = ()  # what users come for: PinnerFormer's labels
    negatives: tuple[str, ...] = ()  # what pushes them away
    heads: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # predicted -> any of these actions; {}: each
    utility: Mapping[str, float] = field(default_factory=dict)  # weight of each head in the score
    repeats: bool = False  # do users act on the same items again and again?
    exposures: bool = False  # does the log tell what was shown and left? Then that is what the ranker learns from
    encoders_share: float = 1.0  # of the actions that encoders learn from, see ``BundleRecipe``
    mask_window_ms: int = HOUR_MS  # of TransAct's random mask; the sitting that a log's actions come in


def read_folder_of_events(path: Path) -> EventLog:
    """Read a file with the wire's columns, or all such files of a folder as one log."""
    if not path.is_dir():
        return read_events(path)
    files = sorted(file for file in path.iterdir() if _of_file(file) is EVENTS)
    if not files:
        raise LogRefusedError(f"the folder {path} holds no file with the columns {', '.join(COLUMNS)}; give another")
    parts = [read_events(file) for file in files]
    return parts[0] if len(parts) == 1 else joined(parts, path)


def joined(parts: list[EventLog], where: Path) -> EventLog:
    """Return several logs as one. Raises ``LogRefusedError`` where one has ids as texts and another as integers."""
    names = list(dict.fromkeys(name for part in parts for name in part.vocabulary.actions))
    surfaces = list(dict.fromkeys(name for part in parts for name in part.vocabulary.surfaces))
    kinds = {(part.user_ids.dtype.kind, part.item_ids.dtype.kind) for part in parts if len(part)}
    if len(kinds) > 1:
        raise LogRefusedError(f"some files of {where} have integers as ids where others have texts; write them alike")
    rows = [message for part in parts for message in part.as_messages()]
    vocabulary = type(parts[0].vocabulary)(tuple(sorted(names)), tuple(sorted(surfaces)))
    return event_log(
        vocabulary,
        np.concatenate([part.user_ids for part in parts]),
        np.concatenate([part.item_ids for part in parts]),
        np.array([vocabulary.action_codes[row["action"]] for row in rows], np.int64),
        np.concatenate([part.times_ms for part in parts]),
        np.array([vocabulary.surface_codes.get(row.get("surface", ""), 0) for row in rows], np.int64),
        np.array([row.get("value", np.nan) for row in rows], np.float64),
    )


MOVIELENS = LogKind(
    "movielens",
    movielens.read_movielens,
    movielens.COLUMNS,
    movielens.POSITIVES,
    movielens.NEGATIVES,
    {"save": ("save",), "click": ("click", "save"), "view": ("view", "click", "save"), "hide": ("hide",)},
    {"click": 1.0, "save": 0.25, "view": 0.25, "hide": -0.25},  # a click or more is what is asked for first
    mask_window_ms=HOUR_MS // 6,  # everybody rates in one sitting: an hour would hide everything
)
KUAIRAND = LogKind(
    "kuairand",
    kuairand.read_kuairand,
    kuairand.COLUMNS,
    kuairand.POSITIVES,
    kuairand.NEGATIVES,
    kuairand.HEADS,
    kuairand.UTILITY,
    exposures=True,
    encoders_share=0.7,
)
TAOBAO = LogKind(
    "taobao",
    taobao.read_taobao,
    taobao.COLUMNS,
    taobao.POSITIVES,
    taobao.NEGATIVES,
    {"view": tuple(taobao.NAMES.values()), "save": ("save",), "cart": ("cart",), "buy": ("buy",)},
    {"view": 1.0, "save": 1.0, "cart": 1.0, "buy": 1.0},  # any action counts once, a rarer one twice
    repeats=True,
)
MUSIC30 = LogKind(
    "30music",
    music30.read_music30,
    music30.COLUMNS,
    music30.POSITIVES,
    music30.NEGATIVES,
    {"play": ("play", "listen"), "listen": ("listen",)},
    {"listen": 1.0, "play": 0.25},  # a song that is left within half a minute was played, too
    repeats=True,
)
EVENTS = LogKind("events", read_folder_of_events, COLUMNS)

KNOWN = {log.name: log for log in (MOVIELENS, KUAIRAND, TAOBAO, MUSIC30, EVENTS)}


def in_words_of(log: EventLog, vocabulary: Vocabulary) -> tuple[EventLog, int]:
    """Return a log in a model's vocabulary, without the actions that the model does not know, and their number.

    A log that was read by itself has codes of its own.
    """
    if log.vocabulary == vocabulary:
        return log, 0
    codes = np.array([0, *(vocabulary.action_codes.get(name, 0) for name in log.vocabulary.actions)], np.int64)
    places = np.array([0, *(vocabulary.surface_codes.get(name, 0) for name in log.vocabulary.surfaces)], np.int64)
    actions = codes[log.actions]
    kept = np.flatnonzero(actions)
    surfaces = None if log.surfaces is None else places[log.surfaces[kept]]
    values = None if log.values is None else log.values[kept]
    known = EventLog(
        vocabulary, log.user_ids[kept], log.item_ids[kept], actions[kept], log.times_ms[kept], surfaces, values
    )
    return known, len(log) - len(known)


def open_log(path: Path, name: str | None = None) -> tuple[EventLog, LogKind]:
    """Read a log; ``name`` is one of ``KNOWN``, or none to tell by the columns. Raises ``LogRefusedError``."""
    if not path.exists():
        raise LogRefusedError(f"there is no file {path}; give the path of the log")
    known, file = (KNOWN[name], path) if name else recognise(path)
    log = known.read(file)
    if not len(log):
        raise LogRefusedError(f"{path} holds no action; give a log with some")
    return log, replace(known, repeats=users_return(log)) if known is EVENTS else known


def users_return(log: EventLog) -> bool:
    """Return whether users act on items that they acted on at an earlier moment, more often than now and then."""
    pairs = [np.unique(ids, return_inverse=True)[1].reshape(-1) for ids in (log.user_ids, log.item_ids)]
    moments = np.unique(np.stack([*pairs, log.times_ms], axis=1), axis=0)
    different = np.unique(moments[:, :2], axis=0)
    return bool(1 - len(different) / max(len(moments), 1) > OFTEN)


def recognise(path: Path) -> tuple[LogKind, Path]:
    """Return the kind of the log in a file or folder, and the file or folder to read."""
    if not path.is_dir():
        return _of_file(path) or EVENTS, path
    found = {file: log for file in sorted(path.iterdir()) if (log := _of_file(file))}
    others = {file: log for file, log in found.items() if log is not EVENTS}
    if len(others) == 1:
        return next((log, file) for file, log in others.items())
    if others:
        names = ", ".join(file.name for file in others)
        raise LogRefusedError(f"the folder {path} holds several logs ({names}); give the file itself")
    if found:
        return EVENTS, path
    files = ", ".join(sorted(file.name for file in path.iterdir())[:5])
    raise LogRefusedError(
        f"the folder {path} holds no log that is known ({files or 'nothing'}); give a file, or say --format "
        f"{'|'.join(KNOWN)}"
    )


def _of_file(file: Path) -> LogKind | None:
    """Tell a log by its columns; None for a file that is no log."""
    if file.suffix == ".inter":
        return MOVIELENS
    if file.suffix != ".parquet":
        return EVENTS if file.suffix in READERS else None
    try:
        names = set(pq.read_schema(file).names)
    except (pa.ArrowInvalid, OSError):
        return None
    return next((log for log in KNOWN.values() if set(log.columns) <= names), None)
