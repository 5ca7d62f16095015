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

The topic user-actions, as ``rankstream topics dump`` keeps it, is such a log, whose records' values are the rows. What
a user did up to an erasure in it is left out.

An edge may weigh more than another: by its action, ``--edges save:list=3``, and by its age, ``--half-life 30d``. Walks
then follow it as much more often (``alias.py``).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rankstream.content.catalogue import Catalogue
from rankstream.events.action_event import FORGET, Rejected
from rankstream.events.arrivals import LogError
from rankstream.events.files import files_at
from rankstream.events.readers.rows import PROBLEM, Row, empty_file, open_rows, plain_id
from rankstream.events.readers.times import SAMPLE_ROWS, time_ms, told_unit
from rankstream.events.skipped import Skipped, Where, shown
from rankstream.features.ids import Keys, id_key
from rankstream.features.schema import Bools, Ints
from rankstream.graph.alias import Weights
from rankstream.graph.membership_options import ACTION, BOARD, ITEM, TIME, USER, MembershipOptions

RECORD = {"partition", "offset", "timestamp_ms", "value"}  # names in each line of a dumped topic
SHOW_EVERY = 10_000  # pairs between two calls of ``progress``
MAX_SKIPPED = 0.5  # share of rows; a file of which more are skipped is refused


def _no_progress(rows: int) -> None:
    """Show nothing."""


@dataclass(frozen=True)
class Memberships:
    """Pairs of an item and a board, the newest last; the same pair may come again."""

    boards: Keys  # (e,)
    items: Keys  # (e,)
    weights: Weights | None = None  # (e,) above 0; None: all are alike

    def __len__(self) -> int:
        return len(self.items)

    def rows(self, which: Ints) -> "Memberships":
        """Return these pairs."""
        weights = None if self.weights is None else self.weights[which]
        return Memberships(self.boards[which], self.items[which], weights)


class _Pair(NamedTuple):
    """What a row says."""

    board: int  # key
    item: int  # key
    user: int  # key; 0 where the row does not say
    at_ms: int  # 0 where rows have no times
    weight: float


@dataclass
class ReadMemberships:
    """What a file holds, and what of it was left out."""

    pairs: Memberships
    rows: int = 0
    later: int = 0  # rows of after the as-of time
    unboarded: int = 0  # rows that tell of no board, by their action or as its column is empty
    forgotten: int = 0  # pairs of erased users, of up to their erasure
    erasures: dict[int, int] = field(default_factory=dict)  # time up to which each user, by key, is erased
    skipped: Skipped = field(default_factory=Skipped)
    notes: tuple[str, ...] = ()


def read_memberships(
    path: Path, options: MembershipOptions, as_of_ms: int, progress: Callable[[int], None] = _no_progress
) -> ReadMemberships:
    """Read a file, a folder or a pattern of files, a row a membership, as known at ``as_of_ms``.

    ``progress`` is told now and then how many rows were read. Raises ``LogError``.
    """
    options.check()
    pairs: list[_Pair] = []
    found = ReadMemberships(Memberships(np.zeros(0, np.uint64), np.zeros(0, np.uint64)))
    for file in files_at(path).files:
        for pair in _pairs_of(file.path, options, as_of_ms, found):
            pairs.append(pair)
            if len(pairs) % SHOW_EVERY == 0:
                progress(found.rows)
    if found.rows and found.skipped.exceeds(MAX_SKIPPED, found.rows - found.skipped.total()):
        raise LogError(found.skipped.refusal(str(path), found.rows - found.skipped.total()))
    boards, items, users = (np.array([one[at] for one in pairs], np.uint64) for at in range(3))
    times = np.array([pair.at_ms for pair in pairs], np.int64)
    weights = np.array([pair.weight for pair in pairs], np.float64)
    in_time = np.argsort(times, kind="stable")  # those without times as they came
    known = in_time[~_erased(users, times, found.erasures)[in_time]]
    found.forgotten = len(pairs) - len(known)
    found.pairs = Memberships(boards, items, options.weights(weights, times, as_of_ms)).rows(known)
    return found


def _erased(users: Keys, times_ms: Ints, erasures: Mapping[int, int]) -> Bools:
    """Return which rows ``(e,)`` their user's erasure reaches."""
    erased = np.zeros(len(users), np.bool_)
    for user, until_ms in erasures.items():
        erased |= (users == np.uint64(user)) & (times_ms <= until_ms)
    return erased


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
    """Return the pairs of several origins; boards of different origins stay different, whatever their names.

    Where some have weights, those that have none weigh 1.
    """
    boards, items, weights = [], [], []
    for number, one in enumerate(given := list(parts)):
        boards.append(one.boards ^ np.uint64(number * 0x9E3779B97F4A7C15 % (1 << 64)))
        items.append(one.items)
        weights.append(np.ones(len(one)) if one.weights is None else one.weights)
    nothing = np.zeros(0, np.uint64)
    weighted = any(one.weights is not None for one in given)
    return Memberships(
        np.concatenate([nothing, *boards]),
        np.concatenate([nothing, *items]),
        np.concatenate([np.zeros(0), *weights]) if weighted else None,
    )


def _pairs_of(path: Path, options: MembershipOptions, as_of_ms: int, found: ReadMemberships) -> Iterator[_Pair]:
    """Yield the pairs of a file; rows that can't be read or are too late are left out, and counted."""
    source = open_rows(path, options.delimiter, options.heading)
    rows = map(_told_by, source.rows)
    head = list(islice(rows, SAMPLE_ROWS))
    names = source.columns or tuple(dict.fromkeys(name for row in head for name in row if name != PROBLEM))
    if not head and not names:
        raise empty_file(path)
    _check_columns(path, options, names, of_each_row=source.columns is None)
    time = options.column(TIME)
    times = {time: [row[time] for row in head if row.get(time) not in (None, "")]} if time in names else {}
    told = told_unit(times, str(path), options.time_unit, options.dates)
    found.notes += tuple(told.notes)
    for number, row in enumerate(chain(head, rows), start=1):
        found.rows += 1
        try:
            at_ms = time_ms(row.get(time), told.unit, time, told.dates) if times else 0
            if (user := _erased_user(row, options)) is not None:
                found.erasures[user] = max(at_ms, found.erasures.get(user, 0))
                continue
            if at_ms > as_of_ms:
                found.later += 1
                continue
            yield from _pairs_of_row(row, at_ms, options, found)
        except Rejected as why:
            found.skipped.reject(why, Where(str(path), "row", number))
        except (ValueError, TypeError, OverflowError) as exc:
            found.skipped.reject(Rejected("schema", str(exc), f"{time} is wrong"), Where(str(path), "row", number))


def _pairs_of_row(row: Row, at_ms: int, options: MembershipOptions, found: ReadMemberships) -> Iterator[_Pair]:
    item, boards, user = _key(row, options.column(ITEM)), _boards(row, options), options.column(USER)
    found.unboarded += not boards
    of_user = _key(row, user) if boards and row.get(user) not in (None, "") else 0
    for board, weight in boards:
        yield _Pair(board, item, of_user, at_ms, weight)


def _erased_user(row: Row, options: MembershipOptions) -> int | None:
    """Return the key of the user that a row erases, as of its time; None where it erases nobody."""
    if row.get(options.column(ACTION)) != FORGET or row.get(options.column(ITEM)) not in (None, ""):
        return None
    return _key(row, options.column(USER))


def _told_by(row: Row) -> Row:
    """Return a row, or the value of a record where it is a line of a dumped topic (``events/dumps.py``)."""
    value = row.get("value")
    return value if isinstance(value, dict) and row.keys() >= RECORD else row


def _check_columns(path: Path, options: MembershipOptions, names: tuple[str, ...], of_each_row: bool) -> None:
    """Raise ``LogError`` for a column that is not there; where rows have their own, any but those of boards."""
    timed = TIME in options.columns or options.half_life_ms is not None
    wanted = [ITEM, *([TIME] if timed else []), ACTION if options.edges else BOARD]
    for column in (edge.column for edge in options.edges):
        if column not in names and not of_each_row:
            raise LogError(f"{path} has no column {column}; it has {', '.join(names) or 'none'}; name one with --edges")
    for name in wanted:
        if options.column(name) not in names:
            raise LogError(
                f"{path} has no column {options.column(name)}; it has {', '.join(names) or 'none'}; name the column of "
                f"the field {name} with --map {name}=COLUMN"
            )


def _boards(row: Row, options: MembershipOptions) -> list[tuple[int, float]]:
    """Return the keys of a row's boards, and what its edges weigh.

    Boards of different columns stay different, whatever their names.
    """
    if not options.edges:
        return [(_key(row, options.column(BOARD)), 1.0)]
    action = str(row.get(options.column(ACTION)))
    told = [edge for edge in options.edges if edge.action == action and row.get(edge.column) not in (None, "")]
    return [(_key(row, edge.column) ^ id_key(edge.column), edge.weight) for edge in told]


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
