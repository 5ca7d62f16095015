"""``--scores``: a variant of one's own, by scores from a file or by a Python function, on the same queries.

::

    FILE             query, or user_id and as_of; item_id, score      what another program has scored
    MODULE:FUNCTION  function(user: UserAsOf, candidates) -> scores   called for each query

Whether such scores knew the future can't be checked here.
"""

import importlib
import json
import sys
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from rankstream.evaluation.baselines.ranks import noise_of, ranks_at
from rankstream.evaluation.baselines.steps import EarlierArrivals
from rankstream.evaluation.replay.variants import ReplayError
from rankstream.events.arrivals import Arrivals
from rankstream.features.actions import Vocabulary
from rankstream.features.ids import Id, Keys, id_bytes, id_keys
from rankstream.metrics.arrays import Floats, Ints

FILE_TYPES = (".parquet", ".csv", ".jsonl", ".json", ".ndjson")
HISTORY_ACTIONS = 100  # newest actions of a user that a function is given
COLUMNS = "query (as --outcomes names it), or user_id and as_of (UTC); item_id; score"


@dataclass(frozen=True)
class PastAction:
    """One action of a user, as the log names it."""

    item_id: Id
    action: str
    occurred_at_ms: int


@dataclass(frozen=True)
class UserAsOf:
    """A user as of one query: what had arrived before it."""

    user_id: Id
    as_of_ms: int
    actions: Sequence[PastAction]  # newest first, at most HISTORY_ACTIONS


@dataclass(frozen=True)
class Question:
    """One query, as its scores are looked up by."""

    query: str
    user: UserAsOf
    candidates: Sequence[Id]
    keys: Keys


class Scorer(Protocol):
    """Where scores come from."""

    @property
    def name(self) -> str:
        """Return the name that stands in tables."""
        ...

    def scores(self, question: Question) -> Floats:
        """Return ``(N,)`` scores of the candidates, the higher, the better; NaN for those without one."""
        ...


@dataclass
class OwnScores:
    """A scorer, and how many candidates it had no score for."""

    scorer: Scorer
    queries: int = 0
    queries_without: int = 0  # queries without any score
    candidates: int = 0
    candidates_without: int = 0

    @property
    def name(self) -> str:
        """Return the name that stands in tables."""
        return self.scorer.name

    def ranks(self, question: Question, rows: Ints, seed: int) -> Ints:
        """Return ranks as ``ranks_at`` does: candidates without a score last, equal scores at random."""
        scores = self.scorer.scores(question)
        known = ~np.isnan(scores)
        self.queries, self.candidates = self.queries + 1, self.candidates + len(scores)
        self.queries_without += not known.any()
        self.candidates_without += int(np.count_nonzero(~known))
        noise = noise_of(question.keys, seed, question.query)
        return ranks_at(rows, noise, known.astype(np.float64), np.where(known, scores, 0.0))

    def notes(self) -> list[str]:
        """Return what is to be said of the scores. Raises ``ReplayError`` if there was not one."""
        if self.queries and self.queries_without == self.queries:
            raise ReplayError(
                f"--scores {self.name} has no score for any candidate of the {self.queries:,} queries; its queries are "
                f"named by {COLUMNS}: --outcomes FILE writes those that are ranked, with the same flags"
            )
        notes = [f"NOTE: {self.name} comes from --scores: whether it has seen the future is not checked"]
        if self.candidates_without:
            notes.append(
                f"NOTE: {self.name} has no score for {self.candidates_without:,} of {self.candidates:,} candidates "
                f"({self.queries_without:,} of {self.queries:,} requests have none at all): they rank last"
            )
        return notes


class PastActions:
    """The newest actions of each user, as functions are given them; what arrives at a query's time is not known."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._names = ("", *vocabulary.actions)
        self._earlier = EarlierArrivals()
        self._of_user: dict[bytes, deque[PastAction]] = {}

    def feed(self, arrivals: Arrivals) -> None:
        """Take the next arrivals of the log."""
        for rows in self._earlier.arrive(arrivals):
            self._add(rows)

    def of(self, key: bytes, arrived_ms: int) -> Sequence[PastAction]:
        """Return a user's actions that arrived before a time, newest first."""
        for rows in self._earlier.before(arrived_ms):
            self._add(rows)
        return tuple(reversed(self._of_user.get(key, ())))

    def _add(self, arrivals: Arrivals) -> None:
        columns = zip(
            arrivals.user_keys, arrivals.item_ids, arrivals.codes.tolist(), arrivals.times_ms.tolist(), strict=True
        )
        for key, item_id, code, at_ms in columns:
            past = self._of_user.setdefault(key, deque(maxlen=HISTORY_ACTIONS))
            past.append(PastAction(item_id, self._names[code], at_ms))


def open_scores(given: str) -> OwnScores:
    """Return the scores that ``--scores`` names. Raises ``ReplayError``."""
    path = Path(given)
    module, colon, function = given.partition(":")
    if path.suffix.lower() in FILE_TYPES or path.is_file():
        return OwnScores(ScoresOfFile.read(path))
    if colon and all(part.isidentifier() for part in (*module.split("."), function)):
        return OwnScores(ScoresOfFunction(given, _function(given, module, function)))
    raise ReplayError(
        f"--scores {given} is neither a file ({', '.join(FILE_TYPES)}) nor a Python function; write MODULE:FUNCTION"
    )


def open_all(given: Sequence[str], taken: Iterable[str]) -> tuple[OwnScores, ...]:
    """Return all scores of the command line. Raises ``ReplayError``, also for two of one name."""
    found = tuple(open_scores(one) for one in given)
    names = [*taken, *(one.name for one in found)]
    for one in found:
        if names.count(one.name) > 1:
            raise ReplayError(f"two rankers are named {one.name}; give the file or function of --scores another name")
    return found


def facts_of(own: Sequence[OwnScores]) -> list[dict[str, Any]]:
    """Return what a summary is to know of each, as of a bundle's variant."""
    return [{"name": one.name, "bundle": one.name, "delay_ms": 0, "model": "--scores"} for one in own]


# Of a function --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ScoresOfFunction:
    """Scores that a Python function returns."""

    name: str
    function: Callable[[UserAsOf, Sequence[Id]], Any]

    def scores(self, question: Question) -> Floats:
        """Return what the function returns; None and NaN are no scores. Raises ``ReplayError`` for anything else."""
        try:
            returned = self.function(question.user, question.candidates)
        except Exception as exc:  # it is not ours: whatever it raises
            raise ReplayError(f"--scores {self.name} failed: {type(exc).__name__}: {exc}") from exc
        try:
            scores = np.array([np.nan if one is None else one for one in returned], np.float64)
        except (TypeError, ValueError) as exc:
            raise ReplayError(
                f"--scores {self.name} returned {type(returned).__name__} that holds no numbers; return a score for "
                "each candidate, None where there is none"
            ) from exc
        if scores.shape != (len(question.candidates),):
            raise ReplayError(
                f"--scores {self.name} returned {' x '.join(map(str, scores.shape))} scores for "
                f"{len(question.candidates):,} candidates; return one for each, None where there is none"
            )
        return scores


def _function(given: str, module: str, function: str) -> Callable[[UserAsOf, Sequence[Id]], Any]:
    sys.path.insert(0, "")  # the folder that the command is started in
    try:
        found = getattr(importlib.import_module(module), function, None)
    except Exception as exc:  # importing runs code that is not ours
        raise ReplayError(f"--scores {given} can't be imported: {type(exc).__name__}: {exc}") from exc
    finally:
        sys.path.remove("")
    if not callable(found):
        raise ReplayError(f"--scores {given}: {module} has no function {function}")
    return found  # type: ignore[no-any-return]


# Of a file ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ScoresOfFile:
    """Scores that were read from a file, by query and item."""

    name: str
    by_query: bool  # else by user and time
    _groups: dict[Any, int]  # number of the query, or of (user, time)
    _starts: Ints  # (groups + 1,) rows of each
    _keys: Keys = field(repr=False)  # (n,) items, sorted in each group
    _scores: Floats = field(repr=False)  # (n,)

    @classmethod
    def read(cls, path: Path) -> "ScoresOfFile":
        """Read a file. Raises ``ReplayError`` for one that has other columns, or two scores for one item."""
        columns = _columns_of(path)
        by_query = "query" in columns
        needed = ["query", "item_id", "score"] if by_query else ["user_id", "as_of", "item_id", "score"]
        missing = [name for name in needed if name not in columns]
        if missing:
            raise ReplayError(
                f"--scores {path} has no column {', '.join(missing)}; it has {', '.join(columns)}; wanted: {COLUMNS}"
            )
        names, group = _queries_of(path, columns, by_query)
        items, item = _coded(path, columns, "item_id")
        keys, scores = id_keys(items)[item], _numbers(path, columns["score"])
        order = np.lexsort((keys, group))
        group, keys, scores = group[order], keys[order], scores[order]
        again = np.flatnonzero((np.diff(group) == 0) & (np.diff(keys) == 0))
        if len(again):
            row = int(order[again[0] + 1])
            raise ReplayError(
                f"--scores {path} has two scores for item {items[item[row]]} of one query (row {row + 1}); give one"
            )
        starts = np.searchsorted(group, np.arange(len(names) + 1)).astype(np.int64)
        return cls(path.name, by_query, {name: at for at, name in enumerate(names)}, starts, keys, scores)

    def scores(self, question: Question) -> Floats:
        """Return the scores of the candidates; NaN where the file has none."""
        found = np.full(len(question.keys), np.nan)
        name = question.query if self.by_query else (id_bytes(question.user.user_id), question.user.as_of_ms)
        group = self._groups.get(name)
        if group is None:
            return found
        rows = slice(int(self._starts[group]), int(self._starts[group + 1]))
        keys, scores = self._keys[rows], self._scores[rows]
        at = np.minimum(np.searchsorted(keys, question.keys), len(keys) - 1)
        same = keys[at] == question.keys
        found[same] = scores[at[same]]
        return found


def _columns_of(path: Path) -> Mapping[str, Any]:
    """Return the columns of a file: lists, or those of pyarrow; ids in a file of text are texts."""
    try:
        if path.suffix.lower() in (".jsonl", ".json", ".ndjson"):
            rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
            return {
                name: [row.get(name) for row in rows] for name in dict.fromkeys(name for row in rows for name in row)
            }
        import pyarrow as pa
        from pyarrow import csv, parquet

        if path.suffix.lower() == ".csv":
            texts = dict.fromkeys(("query", "user_id", "item_id"), pa.string())
            table = csv.read_csv(path, convert_options=csv.ConvertOptions(column_types=texts))
        else:
            table = parquet.read_table(path)
    except ModuleNotFoundError as exc:
        raise ReplayError('reading --scores of Parquet or CSV needs pyarrow: pip install "rankstream[train]"') from exc
    except OSError as exc:
        raise ReplayError(f"--scores {path} can't be read ({exc.strerror or exc})") from exc
    except (ValueError, AttributeError, TypeError) as exc:  # also those of pyarrow, and lines that are no objects
        raise ReplayError(f"--scores {path} is no readable {path.suffix.lstrip('.')} file: {exc}") from exc
    return {name: table.column(name) for name in table.column_names}


def _coded(path: Path, columns: Mapping[str, Any], name: str) -> tuple[list[Any], Ints]:
    """Return the different values of a column, and which of them each row has, ``(n,)``."""
    column = columns[name]
    if column.count(None) if isinstance(column, list) else column.null_count:
        raise ReplayError(f"--scores {path} has rows without {name}; leave them out")
    if isinstance(column, list):
        numbers: dict[Any, int] = {}
        rows = [numbers.setdefault(one, len(numbers)) for one in column]
        return [*numbers], np.array(rows, np.int64)
    encoded = column.combine_chunks().dictionary_encode()
    return encoded.dictionary.to_pylist(), encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)


def _queries_of(path: Path, columns: Mapping[str, Any], by_query: bool) -> tuple[list[Any], Ints]:
    """Return the different queries, by name or by user and time, and which of them each row is of, ``(n,)``."""
    if by_query:
        return _coded(path, columns, "query")
    (users, user), (times, time) = (_coded(path, columns, name) for name in ("user_id", "as_of"))
    pairs, rows = np.unique(user * len(times) + time, return_inverse=True)
    keys, times_ms = [id_bytes(one) for one in users], _times(path, times)
    names = [(keys[pair // len(times)], times_ms[pair % len(times)]) for pair in pairs.tolist()]
    return names, rows.astype(np.int64)


def _times(path: Path, values: Sequence[Any]) -> list[int]:
    """Return times in ms, of timestamps, ISO 8601 texts or numbers of ms."""
    try:
        if all(isinstance(one, int | float) for one in values):
            return [int(one) for one in values]
        return [int(np.datetime64(_without_zone(one), "ms").astype(np.int64)) for one in values]
    except (TypeError, ValueError) as exc:
        raise ReplayError(f"--scores {path}: as_of holds no times ({exc}); give UTC, as --outcomes does") from exc


def _without_zone(value: Any) -> str:
    return str(value).removesuffix("Z").removesuffix("+00:00").removesuffix(" UTC")


def _numbers(path: Path, values: Any) -> Floats:
    try:
        rows = values if isinstance(values, list) else values.to_pylist()
        return np.array([np.nan if one is None else one for one in rows], np.float64)
    except (TypeError, ValueError) as exc:
        raise ReplayError(f"--scores {path}: score holds what is no number ({exc})") from exc
