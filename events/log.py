"""A log as columns, which training reads: all the actions that the batches of a recorded log bring (``arrivals.py``).

::

    user_ids  item_ids  actions  times_ms  [surfaces]  [values]        one row an action, oldest first

Ids stay as the log writes them; actions and surfaces are codes of the log's vocabulary. The log knows no model. It is
grouped by user once (``by_user``): sequences, histories and requests are views of that (``sequences.py``). A log that
is only counted may hold the items' keys (uint64) instead of their ids.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rankstream.events.arrivals import Arrivals, LogError, Values, codes_of_values
from rankstream.events.erasures import Erasures
from rankstream.events.ids import IdColumn, plain_ids
from rankstream.events.impressions import NO_LIST, Acts, Impressions, list_keys_of
from rankstream.events.skipped import Skipped
from rankstream.features.actions import MAX_TIME_MS, Vocabulary
from rankstream.features.ids import Ids, Keys, id_keys

Codes = npt.NDArray[np.int64]

COLUMNS = ("user_id", "item_id", "action", "timestamp_ms")  # the wire's, in every file that this module writes


@dataclass(frozen=True)
class UserRows:
    """The rows of a log by user; a user's rows in the order of a history's actions: by time, then type, then item."""

    user_ids: Ids  # (users,) sorted
    starts: Codes  # (users + 1,) where each user's rows start
    order: Codes  # (n,) rows of the log

    @cached_property
    def users(self) -> Codes:
        """Return the user of each position of ``order``, ``(n,)``."""
        return np.repeat(np.arange(len(self.user_ids)), np.diff(self.starts))

    @cached_property
    def user_of_row(self) -> Codes:
        """Return the user of each row of the log, ``(n,)``."""
        users = np.empty(len(self.order), np.int64)
        users[self.order] = self.users
        return users

    def first(self, count: int) -> "UserRows":
        """Return the grouping of the log's first rows, without sorting again; users without any are left out."""
        kept = np.flatnonzero(self.order < count)
        counts = np.bincount(self.users[kept], minlength=len(self.user_ids))
        present = np.flatnonzero(counts)
        return UserRows(self.user_ids[present], starts_of(counts[present]), self.order[kept])


def starts_of(counts: Codes) -> Codes:
    """Return where each group starts, and where the last one ends."""
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


@dataclass(frozen=True)
class EventLog:
    """What users did, sorted by time; ``event_log`` sorts, names and checks."""

    vocabulary: Vocabulary
    user_ids: Ids  # (n,)
    item_ids: Ids  # (n,)
    actions: Codes  # (n,) codes of the vocabulary, from 1
    times_ms: Codes  # (n,) UTC
    surfaces: Codes | None = None  # (n,) codes of the vocabulary, 0 for none
    values: Values | None = None  # (n,) NaN for none
    beginning_of: "EventLog | None" = None  # a log whose first rows these are: it is grouped once for both
    list_keys: Keys | None = None  # (n,) of the shown list that an action names, NO_LIST for none
    impressions: Impressions | None = None  # what was shown, where the log says so apart from what was done
    erasures: Erasures = field(default_factory=Erasures)  # in the log as it was read: rows of before them are left out

    def __post_init__(self) -> None:
        _check(self)

    def __len__(self) -> int:
        return len(self.times_ms)

    def rows(self, which: slice | npt.NDArray[np.bool_] | Codes) -> "EventLog":
        """Return the log of these rows, which must be in order; what was shown is not cut with them."""
        return EventLog(
            self.vocabulary,
            self.user_ids[which],
            self.item_ids[which],
            self.actions[which],
            self.times_ms[which],
            None if self.surfaces is None else self.surfaces[which],
            None if self.values is None else self.values[which],
            self if isinstance(which, slice) and not which.start and which.step is None else None,
            None if self.list_keys is None else self.list_keys[which],
        )

    @cached_property
    def item_keys(self) -> Keys:
        """Return the key of each row's item, ``(n,)``; every different id is hashed once."""
        if self.beginning_of is not None:
            return self.beginning_of.item_keys[: len(self)]
        if self.item_ids.dtype == np.uint64:
            return self.item_ids
        different, which = np.unique(self.item_ids, return_inverse=True)
        return id_keys(different.tolist())[which]

    @cached_property
    def value_codes(self) -> Codes:
        """Return the 8-bit code of each row's value, as the stream keeps it, ``(n,)``; 0 for none."""
        return np.zeros(len(self), np.int64) if self.values is None else codes_of_values(self.values)

    @property
    def surface_codes(self) -> Codes:
        """Return the surfaces, ``(n,)``, 0 for none."""
        return np.zeros(len(self), np.int64) if self.surfaces is None else self.surfaces

    @cached_property
    def by_user(self) -> UserRows:
        """Return the rows by user; nothing else sorts a log by user."""
        if self.beginning_of is not None:
            return self.beginning_of.by_user.first(len(self))
        user_ids, users = np.unique(self.user_ids, return_inverse=True)
        order = np.lexsort((self.item_keys, self.actions, self.times_ms, users))
        return UserRows(user_ids, starts_of(np.bincount(users, minlength=len(user_ids))), order)

    def split_at(self, until_ms: int) -> tuple["EventLog", "EventLog"]:
        """Cut into what happened, and what was shown, before ``until_ms`` and from then on."""
        row = int(np.searchsorted(self.times_ms, until_ms, side="left"))
        before, after = self.rows(slice(row)), self.rows(slice(row, None))
        if self.impressions is None:
            return before, after
        shown = self.impressions.split_at(until_ms)
        return replace(before, impressions=shown[0]), replace(after, impressions=shown[1])

    @property
    def acts(self) -> Acts:
        """Return the actions as they are found again in what was shown."""
        user_keys = id_keys(self.by_user.user_ids.tolist())[self.by_user.user_of_row]
        none = np.full(len(self), NO_LIST, np.uint64)
        return Acts(user_keys, self.item_keys, self.times_ms, none if self.list_keys is None else self.list_keys)

    def time_at(self, fraction: float) -> int:
        """Return the time before which this fraction of the rows happened, for ``split_at``."""
        if not 0.0 <= fraction <= 1.0:
            raise ValueError(f"a fraction of {fraction} was asked for; wanted 0 to 1")
        if not len(self):
            return 0
        row = int(fraction * len(self))
        return int(self.times_ms[row]) if row < len(self) else int(self.times_ms[-1]) + 1

    def items(self) -> Ids:
        """Return each item once, sorted."""
        return np.unique(self.item_ids)

    def codes_of(self, names: Sequence[str]) -> Codes:
        """Return the codes of these action types. Raises ``ValueError`` for a name that is not in the vocabulary."""
        unknown = [name for name in names if name not in self.vocabulary.action_codes]
        if unknown:
            raise ValueError(f"unknown action {', '.join(unknown)}; this log has {', '.join(self.vocabulary.actions)}")
        return np.array([self.vocabulary.action_codes[name] for name in names], np.int64)

    def as_messages(self) -> Iterator[dict[str, Any]]:
        """Yield each row as the wire writes an action."""
        optional: list[tuple[str, list[Any]]] = []
        if self.surfaces is not None:
            optional.append(("surface", _names(self.surfaces, self.vocabulary.surfaces)))
        if self.values is not None:
            optional.append(("value", [None if np.isnan(value) else float(value) for value in self.values]))
        actions = _names(self.actions, self.vocabulary.actions)
        required = zip(self.user_ids.tolist(), self.item_ids.tolist(), actions, self.times_ms.tolist(), strict=True)
        for row, fields in enumerate(required):
            message = dict(zip(COLUMNS, fields, strict=True))
            message.update({name: column[row] for name, column in optional if column[row] is not None})
            yield message

    def write_json_lines(self, path: Path) -> None:
        """Write one message a line, as a producer would send them."""
        with path.open("w", encoding="utf-8") as lines:
            for message in self.as_messages():
                lines.write(json.dumps(message) + "\n")

    def write_parquet(self, path: Path) -> None:
        """Write the wire's columns, with the vocabulary in the file's metadata, so that codes survive."""
        import pyarrow as pa  # nothing else of a log needs it: what is counted in replay does without
        import pyarrow.parquet as pq

        from rankstream.events.readers.columns import VOCABULARY_KEY

        columns: dict[str, Any] = {
            "user_id": self.user_ids.tolist(),
            "item_id": self.item_ids.tolist(),
            "action": _names(self.actions, self.vocabulary.actions),
            "timestamp_ms": self.times_ms,
        }
        if self.surfaces is not None:
            columns["surface"] = pa.array(_names(self.surfaces, self.vocabulary.surfaces), pa.string())
        if self.values is not None:
            columns["value"] = pa.array(self.values, pa.float64(), from_pandas=True)  # NaN becomes null
        for name, ids in (("user_id", self.user_ids), ("item_id", self.item_ids)):
            columns[name] = pa.array(columns[name], pa.string() if ids.dtype == object else pa.int64())
        columns["action"] = pa.array(columns["action"], pa.string())
        table = pa.table(columns)
        vocabulary = {"actions": self.vocabulary.actions, "surfaces": self.vocabulary.surfaces}
        pq.write_table(table.replace_schema_metadata({VOCABULARY_KEY: json.dumps(vocabulary)}), path)


def _names(codes: Codes, vocabulary: tuple[str, ...]) -> list[str | None]:
    names = np.array([None, *vocabulary], object)
    return list(names[codes])


def _check(log: EventLog) -> None:
    """Raise ``LogError`` for the first thing about a log that is not as promised."""
    columns = {"user_ids": log.user_ids, "item_ids": log.item_ids, "actions": log.actions, "times_ms": log.times_ms}
    optional = {"surfaces": log.surfaces, "values": log.values}
    columns |= {name: column for name, column in optional.items() if column is not None}
    count = len(log.times_ms)
    for name, column in columns.items():
        if column.shape != (count,):
            raise LogError(f"column {name} has shape {column.shape}, but there are {count} times; give one a row")
        wanted = {"values": "f", "user_ids": "iO", "item_ids": "iuO"}.get(name, "i")
        if column.dtype.kind not in wanted:
            raise LogError(f"column {name} holds {column.dtype}; give {_kinds(wanted)}")
    if not count:
        return
    _check_range("actions", log.actions, 1, len(log.vocabulary.actions))
    _check_range("times_ms", log.times_ms, 0, MAX_TIME_MS)
    if log.surfaces is not None:
        _check_range("surfaces", log.surfaces, 0, len(log.vocabulary.surfaces))
    if log.values is not None and np.any(np.isinf(log.values) | (log.values < 0)):
        raise LogError("column values holds a negative or infinite number; give NaN where there is no value")
    if np.any(np.diff(log.times_ms) < 0):
        raise LogError("the rows are not in order of time; build the log with event_log(), which sorts")


def _kinds(kinds: str) -> str:
    return {"f": "floats", "i": "int64"}.get(kinds, "int64, or strings in an object array")


def _check_range(name: str, column: Codes, minimum: int, maximum: int) -> None:
    wrong = np.flatnonzero((column < minimum) | (column > maximum))
    if len(wrong):
        row = int(wrong[0])
        raise LogError(f"column {name} holds {column[row]} in row {row}; wanted {minimum} to {maximum}")


def event_log(
    vocabulary: Vocabulary,
    user_ids: Ids,
    item_ids: Ids,
    actions: Codes,
    times_ms: Codes,
    surfaces: Codes | None = None,
    values: Values | None = None,
    list_keys: Keys | None = None,
) -> EventLog:
    """Build a log from columns in any order; rows of one time keep theirs.

    Raises ``LogError`` that names the first column that is not as ``EventLog`` promises.
    """
    times = np.asarray(times_ms)
    order = np.argsort(times, kind="stable")
    columns = [plain_ids(user_ids), plain_ids(item_ids), np.asarray(actions, np.int64), times]
    for column in columns:
        if len(column) != len(times):
            raise LogError(f"columns of {len(column)} and {len(times)} rows given; give one of each a row")
    users, items, codes, sorted_times = (column[order] for column in columns)
    return EventLog(
        vocabulary,
        users,
        items,
        codes,
        sorted_times,
        None if surfaces is None else np.asarray(surfaces, np.int64)[order],
        None if values is None else np.asarray(values, np.float64)[order],
        list_keys=None if list_keys is None else np.asarray(list_keys, np.uint64)[order],
    )


def event_log_of(
    batches: Iterable[Arrivals], vocabulary: Vocabulary, untyped: bool = False, skipped: Skipped | None = None
) -> EventLog:
    """Collect batches that were read by the codes of this vocabulary.

    Ids are integers if all are, else texts; ``untyped`` ones, of a file of text, are integers if all are written so.
    Rows of before an erasure of their user are left out, and counted in ``skipped``.
    """
    erasures = Erasures()
    log = _event_log_of(erasures.taken_out_of(batches), vocabulary, untyped)
    kept = erasures.keep(log.user_ids, log.times_ms)
    if not kept.all():
        told = f"{len(erasures):,} users were erased, and what they did until then is left out"
        (Skipped() if skipped is None else skipped).ignore("erased", told, count=int(np.count_nonzero(~kept)))
        log = log.rows(kept)
    return replace(log, erasures=erasures)


def _event_log_of(batches: Iterable[Arrivals], vocabulary: Vocabulary, untyped: bool) -> EventLog:
    users, items = IdColumn(untyped), IdColumn(untyped)
    columns: list[tuple[Codes, Codes, Codes, Values]] = []
    lists: list[Keys] = []
    for batch in batches:
        users.add(batch.user_ids)
        items.add(batch.item_ids)
        columns.append((batch.codes, batch.times_ms, batch.surfaces, batch.values))
        lists.append(list_keys_of(batch))
    list_keys = np.concatenate(lists)
    codes, times, surfaces, values = (np.concatenate(column) for column in zip(*columns, strict=True))
    return event_log(
        vocabulary,
        users.column(),
        items.column(),
        codes,
        times,
        surfaces if surfaces.any() else None,
        None if np.isnan(values).all() else values,
        None if (list_keys == NO_LIST).all() else list_keys,
    )
