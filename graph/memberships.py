"""What belongs to what: a file's rows as pairs of an item and a board, or a catalogue's collections.

::

    basket,product,bought_at           --map board=basket --map item_id=product --map timestamp_ms=bought_at
    b1,tea,2024-03-01 10:00     --->   (b1, tea), (b1, milk), (b2, tea)
    b1,milk,2024-03-01 10:00
    b2,tea,2024-03-02 18:30

A board is whatever holds items together: a basket, a playlist, a session, a shelf. A row that can't be read is skipped
and counted by its reason; where rows have times, those after the as-of time are left out.

Of a log of actions, each action may tell of boards of its own, by the column that names them::

    action,item_id,list,visit          --edges save:list --edges view:visit
    save,tea,breakfast,v1      --->    (list breakfast, tea)
    view,tea,,v1                       (visit v1, tea)
    save,milk,,v1                      in no board: counted, and left out
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from rankstream.content.catalogue import Catalogue
from rankstream.events.action_event import Rejected
from rankstream.events.arrivals import LogError
from rankstream.events.files import files_at
from rankstream.events.readers.dates import AUTO
from rankstream.events.readers.rows import PROBLEM, Row, open_rows, plain_id
from rankstream.events.readers.times import SAMPLE_ROWS, time_ms, told_unit
from rankstream.events.skipped import Skipped, Where, shown
from rankstream.features.ids import Keys, id_key

BOARD, ITEM, TIME, ACTION = "board", "item_id", "timestamp_ms", "action"
FIELDS = (BOARD, ITEM, TIME, ACTION)
SHOW_EVERY = 10_000  # pairs between two calls of ``progress``
MAX_SKIPPED = 0.5  # share of rows; a file of which more are skipped is refused


def _no_progress(rows: int) -> None:
    """Show nothing."""


@dataclass(frozen=True)
class Memberships:
    """Pairs of an item and a board, the newest last; the same pair may come again."""

    boards: Keys  # (e,)
    items: Keys  # (e,)

    def __len__(self) -> int:
        return len(self.items)


@dataclass
class ReadMemberships:
    """What a file holds, and what of it was left out."""

    pairs: Memberships
    rows: int = 0
    later: int = 0  # rows of after the as-of time
    unboarded: int = 0  # rows that tell of no board, by their action or as its column is empty
    skipped: Skipped = field(default_factory=Skipped)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class MembershipOptions:
    """How a file is to be read, where it does not say it itself."""

    columns: Mapping[str, str] = field(default_factory=dict)  # field of ``FIELDS`` -> the column that holds it
    time_unit: str = AUTO
    dates: str = AUTO  # whether the day or the month comes first where the year does not
    delimiter: str | None = None  # of text; told by its first lines
    heading: tuple[str, ...] | None = None  # names of the columns of text without a heading
    edges: tuple[tuple[str, str], ...] = ()  # an action, and a column with its boards; none: each row, by ``BOARD``

    def check(self) -> None:
        """Raise ``LogError`` for what is no field."""
        for name in self.columns:
            if name not in FIELDS:
                raise LogError(f"{name} is no field of a membership; it has {', '.join(FIELDS)}")
        if self.edges and BOARD in self.columns:
            raise LogError("edges name the columns of boards themselves; leave out --map board, or --edges")

    def boards_of(self, action: str) -> list[str]:
        """Return the columns that name the boards of an action."""
        return [column for name, column in self.edges if name == action]

    def column(self, name: str) -> str:
        """Return the column of a field."""
        return self.columns.get(name, name)


def read_memberships(
    path: Path, options: MembershipOptions, as_of_ms: int, progress: Callable[[int], None] = _no_progress
) -> ReadMemberships:
    """Read a file, a folder or a pattern of files, a row a membership, as known at ``as_of_ms``.

    ``progress`` is told now and then how many rows were read. Raises ``LogError``.
    """
    options.check()
    boards: list[int] = []
    items: list[int] = []
    times_ms: list[int] = []
    found = ReadMemberships(Memberships(np.zeros(0, np.uint64), np.zeros(0, np.uint64)))
    for file in files_at(path).files:
        for at_ms, board, item in _pairs_of(file.path, options, as_of_ms, found):
            times_ms.append(at_ms)
            boards.append(board)
            items.append(item)
            if len(items) % SHOW_EVERY == 0:
                progress(found.rows)
    in_time = np.argsort(np.array(times_ms, np.int64), kind="stable")  # those without times as they came
    found.pairs = Memberships(np.array(boards, np.uint64)[in_time], np.array(items, np.uint64)[in_time])
    if found.rows and found.skipped.exceeds(MAX_SKIPPED, found.rows - found.skipped.total()):
        raise LogError(found.skipped.refusal(str(path), found.rows - found.skipped.total()))
    return found


def collections_of(catalogue: Catalogue) -> Memberships:
    """Return which items of a catalogue are in which of its collections."""
    pairs = [
        (id_key(board), id_key(item.id))
        for item in catalogue.items(np.arange(len(catalogue)))
        for board in item.collections
    ]
    both = np.array(pairs, np.uint64).reshape(-1, 2)
    return Memberships(both[:, 0].copy(), both[:, 1].copy())


def joined(parts: Iterable[Memberships]) -> Memberships:
    """Return the pairs of several origins; boards of different origins stay different, whatever their names."""
    boards, items = [], []
    for number, one in enumerate(parts):
        boards.append(one.boards ^ np.uint64(number * 0x9E3779B97F4A7C15 % (1 << 64)))
        items.append(one.items)
    nothing = np.zeros(0, np.uint64)
    return Memberships(np.concatenate([nothing, *boards]), np.concatenate([nothing, *items]))


def _pairs_of(
    path: Path, options: MembershipOptions, as_of_ms: int, found: ReadMemberships
) -> Iterator[tuple[int, int, int]]:
    """Yield the time (0: none) of each row of a file that can be read and is not too late, and the keys of its ids."""
    source = open_rows(path, options.delimiter, options.heading)
    head = list(islice(source.rows, SAMPLE_ROWS))
    names = source.columns or tuple(dict.fromkeys(name for row in head for name in row if name != PROBLEM))
    _check_columns(path, options, names)
    time = options.column(TIME)
    times = {time: [row[time] for row in head if row.get(time) not in (None, "")]} if time in names else {}
    told = told_unit(times, str(path), options.time_unit, options.dates)
    found.notes += tuple(told.notes)
    for number, row in enumerate(chain(head, source.rows), start=1):
        found.rows += 1
        try:
            at_ms = time_ms(row.get(time), told.unit, time, told.dates) if times else 0
            if at_ms > as_of_ms:
                found.later += 1
                continue
            item, boards = _key(row, options.column(ITEM)), _boards(row, options)
            found.unboarded += not boards
            for board in boards:
                yield at_ms, board, item
        except Rejected as why:
            found.skipped.reject(why, Where(str(path), "row", number))
        except (ValueError, TypeError, OverflowError) as exc:
            found.skipped.reject(Rejected("schema", str(exc), f"{time} is wrong"), Where(str(path), "row", number))


def _check_columns(path: Path, options: MembershipOptions, names: tuple[str, ...]) -> None:
    wanted = [ITEM, *([TIME] if TIME in options.columns else []), ACTION if options.edges else BOARD]
    for _, column in options.edges:
        if column not in names:
            raise LogError(f"{path} has no column {column}; it has {', '.join(names) or 'none'}; name one with --edges")
    for name in wanted:
        if options.column(name) not in names:
            raise LogError(
                f"{path} has no column {options.column(name)}; it has {', '.join(names) or 'none'}; name the column of "
                f"the field {name} with --map {name}=COLUMN"
            )


def _boards(row: Row, options: MembershipOptions) -> list[int]:
    """Return the keys of a row's boards; those of different columns stay different, whatever their names."""
    if not options.edges:
        return [_key(row, options.column(BOARD))]
    columns = options.boards_of(str(row.get(options.column(ACTION))))
    return [_key(row, column) ^ id_key(column) for column in columns if row.get(column) not in (None, "")]


def _key(row: Row, column: str) -> int:
    """Return the key of an id. Raises ``Rejected`` where it is none."""
    if PROBLEM in row:
        raise Rejected("schema", row[PROBLEM], "a row")
    raw: Any = row.get(column)
    if raw is None or raw == "" or raw != raw:
        raise Rejected("schema", f"{column} is empty", "no id")
    try:
        return id_key(plain_id(raw, column))
    except (ValueError, TypeError) as exc:
        raise Rejected("schema", f"{column} is {shown(raw)}: {exc}", "id is wrong") from None
