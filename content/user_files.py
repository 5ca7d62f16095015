"""A file of users, however it is written, as columns: Parquet, delimited text or JSON lines.

::

    customer;sex;born;plan              the column of ids is told by its name, or named; the others are what is
    7;F;1984;free             --->      known of a user: 7: sex F, born 1984, plan free
    8;;1990;paid                        8: born 1990, plan paid

A row whose id can't be read is skipped and counted by its reason; an empty field is not known. Of rows with one id the
last one counts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import msgspec

from rankstream.events.action_event import Rejected
from rankstream.events.arrivals import LogError
from rankstream.events.files import files_at
from rankstream.events.guess import NUMBERED, SYNONYMS, plain_name
from rankstream.events.readers.rows import PROBLEM, Row, empty_file, open_rows, plain_id
from rankstream.events.readers.times import SAMPLE_ROWS
from rankstream.events.skipped import Skipped, Where, shown
from rankstream.features.ids import Id, id_key

MAX_SKIPPED = 0.5  # share of rows; a file of which more are skipped is refused
REPEATED = "id: repeated, the last row counts"

Value = str | float  # what may be known of a user
USER_IDS = (*SYNONYMS["user_id"], frozenset(NUMBERED[1:]))  # usual names of the column of ids, the best first


@dataclass(frozen=True)
class UserOptions:
    """Which columns of a file of users are read, where their names don't say it."""

    id: str | None = None  # of the ids; told by its name
    known: tuple[str, ...] = ()  # of what is known of a user; all others if none is named


@dataclass(frozen=True)
class ReadUsers:
    """What a file of users holds."""

    values: Mapping[str, Mapping[int, Value]]  # column -> key of a user -> what is known
    users: Mapping[int, Id]
    rows: int
    skipped: Skipped
    notes: tuple[str, ...]


def read_users(path: Path, options: UserOptions) -> ReadUsers:
    """Read a file, a folder or a pattern of files of users. Raises ``LogError``."""
    values: dict[str, dict[int, Value]] = {}
    users: dict[int, Id] = {}
    skipped, notes, rows = Skipped(), dict[str, None](), 0
    for file in files_at(path).files:
        reader = _Reader(file.path, options, skipped)
        notes |= dict.fromkeys(reader.notes)
        for number, row in enumerate(reader.rows, start=1):
            rows += 1
            reader.take(row, number, users, values)
    if rows and skipped.exceeds(MAX_SKIPPED, rows - skipped.total()):
        raise LogError(skipped.refusal(str(path), rows - skipped.total()))
    if not users:
        raise LogError(f"{path} holds no user" + (f": of {skipped.reasons()}" if skipped else ""))
    return ReadUsers(values, users, rows, skipped, tuple(notes))


class _Reader:
    """One file: its columns, and what becomes of its rows."""

    def __init__(self, path: Path, options: UserOptions, skipped: Skipped) -> None:
        source = open_rows(path)
        head = list(islice(source.rows, SAMPLE_ROWS))
        names = source.columns or tuple(dict.fromkeys(name for row in head for name in row if name != PROBLEM))
        if not head and not names:
            raise empty_file(path)
        self.path, self.skipped, self.rows = path, skipped, chain(head, source.rows)
        self.id = options.id or _id_column(path, names)
        _check_columns(path, names, (self.id, *options.known))
        self.known = options.known or tuple(name for name in names if name != self.id)
        self.notes = () if options.id else (f"{path}: by the names of its columns, the ids of users are {self.id}",)

    def take(self, row: Row, number: int, users: dict[int, Id], values: dict[str, dict[int, Value]]) -> None:
        """Put what a row says to the others, or count why not."""
        where = Where(str(self.path), "row", number)
        try:
            user = self._id(row)
        except Rejected as why:
            self.skipped.reject(why, where)
            return
        if (key := id_key(user)) in users:
            self.skipped.ignore(REPEATED, f"{self.id} is {shown(user)}", where)
        users[key] = user
        for name in self.known:
            value = _value(row.get(name))
            if value is None:
                values.setdefault(name, {}).pop(key, None)
            else:
                values.setdefault(name, {})[key] = value

    def _id(self, row: Row) -> Id:
        if PROBLEM in row:
            raise Rejected("not-json" if row[PROBLEM].startswith("not JSON") else "schema", row[PROBLEM], "a row")
        raw = row.get(self.id)
        if raw is None or raw == "" or raw != raw:
            raise Rejected("schema", f"{self.id} is empty", "no id")
        try:
            user: Id = msgspec.convert(plain_id(raw, self.id), Id)
            id_key(user)
        except (ValueError, TypeError, OverflowError) as exc:
            raise Rejected("schema", f"{self.id} is {shown(raw)}: {exc}", "id is wrong") from None
        return user


def _value(raw: object) -> Value | None:
    """Return a text, trimmed, or a number; None for what is neither, or not known."""
    if isinstance(raw, bool | str):
        return str(raw).strip() or None
    if not isinstance(raw, int | float):
        return None
    try:
        return float(raw) if raw == raw else None
    except OverflowError:  # no number of anything
        return None


def _id_column(path: Path, names: Sequence[str]) -> str:
    """Return the column of ids by the usual names. Raises ``LogError`` where none or several have one."""
    for usual in USER_IDS:
        if fits := [name for name in names if plain_name(name) in usual]:
            break
    if len(fits) != 1:
        what = f"{' and '.join(fits)} may be" if fits else f"none of {', '.join(names) or 'none'} is called as"
        raise LogError(f"{path}: {what} the column of the users' ids; name it with --user-columns ID")
    return fits[0]


def _check_columns(path: Path, names: Sequence[str], wanted: Sequence[str]) -> None:
    for name in wanted:
        if name not in names:
            raise LogError(f"{path} has no column {name}; it has {', '.join(names) or 'none'}")
