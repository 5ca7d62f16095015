"""Public logs with columns of their own, brought to the wire's: KuaiRand, Taobao, MovieLens, 30Music.

``models.datasets`` says what their rows mean; these read the same a batch at a time, so that what a model was trained
on is what is replayed. Tests hold the two together.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rankstream.events.arrivals import LogError
from rankstream.events.log import EventLog
from rankstream.events.public import kuairand, movielens, music30, taobao
from rankstream.events.readers.arrow_batch import Batch
from rankstream.events.readers.columns import Translate
from rankstream.features.actions import Vocabulary

Floats = npt.NDArray[np.float64]
REMEMBERED = 4096  # impressions in which a repetition is looked for


@dataclass(frozen=True)
class PublicLog:
    """A public log: how it is recognised and read."""

    name: str
    columns: tuple[str, ...]
    vocabulary: Vocabulary
    files: tuple[str, ...]  # names in its folder
    translation: Callable[[], Translate]  # a new one for each pass


def known_by(columns: Sequence[str]) -> PublicLog | None:
    """Recognise a log by its columns; None for one that is not known."""
    return next((log for log in KNOWN if set(log.columns) <= set(columns)), None)


def whole_kuairand(folder: Path) -> EventLog | None:
    """Return the impressions with what users saw before, which a second file of the folder tells; None without it."""
    if not all((folder / name).is_file() for name in (kuairand.IMPRESSIONS, kuairand.HISTORY)):
        return None
    return kuairand.read_kuairand_whole(folder)


def log_in(folder: Path) -> Path:
    """Return the file of a known log's folder. Raises ``LogError``."""
    names = [name for log in KNOWN for name in log.files]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise LogError(f"the folder {folder} holds no log that is known ({', '.join(names)}); name the file itself")


class _KuaiRand:
    """Impressions to actions as ``events.public.kuairand`` has them; repetitions count once."""

    def __init__(self) -> None:
        self._seen = np.empty((0, 3), np.int64)  # the last impressions: repetitions follow within a few rows

    def __call__(self, batch: Batch) -> Batch:
        once = self._first_of_each(np.stack([_whole(batch, name) for name in ("user_id", "video_id", "time_ms")], 1))
        tabs = _whole(batch, "tab")
        if len(tabs) and (tabs.min() < 0 or tabs.max() >= kuairand.NUM_TABS):
            raise LogError(f"tabs from {tabs.min()} to {tabs.max()}; KuaiRand's are 0 to {kuairand.NUM_TABS - 1}")
        done = np.stack([_whole(batch, name)[once] > 0 for name in kuairand.ACTION_COLUMNS.values()], axis=1)
        at, codes = kuairand.actions_done(done, _whole(batch, "play_time_ms")[once])
        rows = once[at]
        return _wire(
            user_id=_whole(batch, "user_id")[rows],
            item_id=_whole(batch, "video_id")[rows],
            action=_named(codes - 1, kuairand.VOCABULARY.actions),
            timestamp_ms=_whole(batch, "time_ms")[rows],
            surface=_named(tabs[rows], kuairand.VOCABULARY.surfaces),
            value=_whole(batch, "play_time_ms")[rows] / 1000,
        )

    def _first_of_each(self, triples: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        known = len(self._seen)
        both = np.concatenate([self._seen, triples])
        self._seen = both[-REMEMBERED:]
        first = np.sort(np.unique(both, axis=0, return_index=True)[1])
        return (first[first >= known] - known).astype(np.int64)


def _taobao(batch: Batch) -> Batch:
    behaviours = batch.column("behavior").to_pylist()
    return _wire(
        user_id=batch.column("user_id"),
        item_id=batch.column("item_id"),
        action=pa.array([taobao.NAMES.get(one, one) for one in behaviours], pa.string()),
        timestamp_ms=_ms_of_seconds(batch, "timestamp"),
    )


def _movielens(batch: Batch) -> Batch:
    stars = _float(batch, "rating")
    whole = (stars >= 1) & (stars <= 5) & (stars == np.round(stars))
    codes = movielens.CODE_OF_STARS[np.where(whole, stars, 0).astype(np.int64)]
    return _wire(
        user_id=batch.column("user_id"),
        item_id=batch.column("item_id"),
        action=_named(codes - 1, movielens.VOCABULARY.actions),  # none for a rating that is no star
        timestamp_ms=_ms_of_seconds(batch, "timestamp"),
    )


def _music30(batch: Batch) -> Batch:
    seconds = _float(batch, "playtime")
    return _wire(
        user_id=batch.column("user_id"),
        item_id=batch.column("song_id"),
        action=_named((seconds >= music30.LISTENED_S).astype(np.int64), music30.VOCABULARY.actions),
        timestamp_ms=_ms_of_seconds(batch, "ts"),
        value=pa.array(seconds, mask=~(seconds >= 0)),  # negative and missing play times exist: no value
    )


KNOWN = (
    PublicLog("KuaiRand", kuairand.COLUMNS, kuairand.VOCABULARY, ("impressions.parquet",), _KuaiRand),
    PublicLog("Taobao", taobao.COLUMNS, taobao.VOCABULARY, ("events.parquet",), lambda: _taobao),
    PublicLog(
        "MovieLens", movielens.COLUMNS, movielens.VOCABULARY, ("inter.parquet", "ml-100k.inter"), lambda: _movielens
    ),
    PublicLog("30Music", music30.COLUMNS, music30.VOCABULARY, ("plays.parquet",), lambda: _music30),
)


def _wire(**columns: Any) -> Batch:
    return pa.RecordBatch.from_arrays(
        [column if isinstance(column, pa.Array) else pa.array(column) for column in columns.values()], list(columns)
    )


def _named(places: npt.NDArray[np.int64], names: Sequence[str]) -> Any:
    """Return names by place, null for a negative one."""
    return pa.DictionaryArray.from_arrays(pa.array(places, mask=places < 0), pa.array(names, pa.string()))


def _whole(batch: Batch, name: str) -> npt.NDArray[np.int64]:
    column: npt.NDArray[np.int64] = _cast(batch, name, pa.int64()).to_numpy(zero_copy_only=False)
    return column


def _float(batch: Batch, name: str) -> Floats:
    """Return a column as floats, NaN for none."""
    column: Floats = _cast(batch, name, pa.float64()).to_numpy(zero_copy_only=False)
    return column


def _ms_of_seconds(batch: Batch, name: str) -> Any:
    seconds = _float(batch, name)
    ms = np.round(np.where(np.isfinite(seconds), seconds, 0) * 1000).astype(np.int64)
    return pa.array(ms, mask=~np.isfinite(seconds))


def _cast(batch: Batch, name: str, kind: Any) -> Any:
    """Return a column as numbers: those of a CSV file are text."""
    column = batch.column(name)
    try:
        if pa.types.is_string(column.type):
            column = pa.compute.if_else(pa.compute.equal(column, ""), None, column)
        column = column.cast(kind)
        if kind == pa.int64() and column.null_count:
            raise LogError(f"column {name} has rows without a number; take them out")
    except pa.ArrowInvalid as exc:
        raise LogError(f"column {name} holds no numbers ({' '.join(str(exc).split())}); take those rows out") from exc
    return column
