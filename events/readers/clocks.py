"""Times whose parts lie in several columns, as tills, spreadsheets and tables with partitions write them.

::

    Date,Time,Transaction,Item          --map timestamp_ms=Date+Time, or both told by their names and values
    2016-10-30,9:58:11,1,Bread    ->    Date is "2016-10-30 9:58:11" for whoever reads the row

    year,month,day,hour                 --map timestamp_ms=year+month+day+hour, or told likewise
    2016,10,30,9                  ->    year is "2016-10-30 9"
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rankstream.events.guess import plain_name
from rankstream.events.readers.dates import AUTO, BLANKS, DATE_ORDERS, DATE_TEXTS, NotATimeError
from rankstream.events.readers.times import time_ms

PLUS = "+"  # between the names of the columns
CLOCK_ALONE = re.compile(r"[0-9]{1,2}:[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]+)?)?(?:[ \u202f]?[AaPp][.]?[Mm][.]?)?")
OF_A_DATE = (  # what the columns of a date's parts are called, as ``guess.plain_name`` has it
    frozenset({"year", "yyyy", "yr", "eventyear"}),
    frozenset({"month", "mm", "mon", "mo", "eventmonth"}),
    frozenset({"day", "dd", "mday", "dayofmonth", "eventday"}),
)
OF_A_CLOCK = (
    frozenset({"hour", "hours", "hr", "hh", "hourofday"}),
    frozenset({"minute", "minutes", "min", "mins"}),
    frozenset({"second", "seconds", "sec", "secs"}),
)
MAX_PARTS = len(OF_A_DATE) + len(OF_A_CLOCK)


@dataclass(frozen=True)
class JoinedTime:
    """The columns whose texts make one time, and what is put between them."""

    columns: tuple[str, ...]  # in the order of their texts; the first one holds the whole for who reads a row
    between: tuple[str, ...]  # one fewer

    @property
    def first(self) -> str:
        """Return the column that holds the whole time."""
        return self.columns[0]

    @property
    def ends(self) -> str:
        """Return what is cut off at both ends of a whole time, where parts of it are empty."""
        return BLANKS if len(self.columns) == 2 else BLANKS + "".join(self.between)

    @property
    def two_digits(self) -> tuple[str, ...]:
        """Return the columns of minutes and seconds, which are written with two digits."""
        return tuple(name for name, before in zip(self.columns[1:], self.between, strict=True) if before == ":")

    def __str__(self) -> str:
        return PLUS.join(self.columns)

    def joined(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return a row with the whole time in the first of the columns, and without the others."""
        texts = [part_text(row.get(name)) for name in self.columns]
        texts = [
            text.zfill(2) if text and name in self.two_digits else text
            for name, text in zip(self.columns, texts, strict=True)
        ]
        whole = "".join(text for pair in zip(("", *self.between), texts, strict=True) for text in pair)
        others = {name: value for name, value in row.items() if name not in self.columns}
        return others | {self.first: whole.strip(self.ends)}


def part_text(value: Any) -> str:
    """Return a part of a time as a text; whole numbers may lie as floats, where some are missing."""
    if value is None or value != value:
        return ""
    return str(int(value)) if isinstance(value, float) and value == value // 1 else str(value)


def named_parts(name: str, columns: Collection[str]) -> JoinedTime | None:
    """Return the columns that a name such as ``Date+Time`` means; None if it is one column, or one is not there."""
    parts = tuple(name.split(PLUS))
    if not 1 < len(parts) <= MAX_PARTS or name in columns or not set(parts) <= set(columns):
        return None
    dates = 1 if len(parts) == 2 or plain_name(parts[1]) in OF_A_CLOCK[0] else len(OF_A_DATE)
    return _joined_time(parts[:dates], parts[dates:])


def may_be_parts(columns: Collection[str]) -> bool:
    """Return whether there are columns of a year, a month and a day, or of an hour, by their names."""
    names = set(map(plain_name, columns))
    return all(names & of_part for of_part in OF_A_DATE) or bool(names & OF_A_CLOCK[0])


def told_parts(fits: Sequence[str], columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> JoinedTime | None:
    """Return which columns are the parts of one time, by their names and by what the first rows hold; None if none.

    ``fits`` are the columns that may hold the time by their names.
    """
    if len(fits) == 2:
        return next(
            (_joined_time((day,), (clock,)) for day, clock in (fits, fits[::-1]) if _both(day, clock, rows)), None
        )
    if len(fits) > 1:
        return None
    date = [[name for name in columns if plain_name(name) in names] for names in OF_A_DATE]
    if fits and not _are_clocks(fits[0], rows):
        date = [list(fits)]  # a day, which an hour may belong to
    elif any(len(found) != 1 for found in date):
        return None
    clock = list(fits) if len(date) > 1 else []
    for names in () if clock else OF_A_CLOCK:
        found = [name for name in columns if plain_name(name) in names]
        if len(found) != 1:
            break
        clock += found
    if len(date) == 1 and not (clock and _are_days(date[0][0], rows)):
        return None
    told = _joined_time(tuple(found[0] for found in date), tuple(clock))
    wholes = [whole for row in rows if (whole := told.joined(row)[told.first])]
    orders = DATE_ORDERS if len(date) == 1 else (AUTO,)
    return told if wholes and all(_is_date(whole, orders) for whole in wholes) else None


def _joined_time(date: tuple[str, ...], clock: tuple[str, ...]) -> JoinedTime:
    """Return the time of a day in one or three columns, and a time of day in up to three."""
    between = (*("-",) * (len(date) - 1), *(" ", ":", ":")[: len(clock)])
    return JoinedTime((*date, *clock), between)


def _both(day: str, clock: str, rows: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether a column holds days alone, and another one times of day."""
    return _are_days(day, rows) and _are_clocks(clock, rows)


def _are_days(name: str, rows: Sequence[Mapping[str, Any]]) -> bool:
    texts = [text for row in rows if (text := part_text(row.get(name)).strip(BLANKS))]
    return bool(texts) and all(map(is_day, texts))


def _are_clocks(name: str, rows: Sequence[Mapping[str, Any]]) -> bool:
    texts = [text for row in rows if (text := part_text(row.get(name)).strip(BLANKS))]
    return bool(texts) and all(map(CLOCK_ALONE.fullmatch, texts))


def is_day(text: str) -> bool:
    """Return whether a text is a date without a time of day, in any order."""
    found = (pattern.fullmatch(text) for patterns in DATE_TEXTS.values() for pattern in patterns)
    return any(one is not None and not one["hour"] for one in found)


def _is_date(text: str, orders: Sequence[str]) -> bool:
    """Return whether a text is a date that there is, in one of these orders."""
    for order in orders:
        try:
            if any(pattern.fullmatch(text) for pattern in DATE_TEXTS[order]) and time_ms(text, "ms", dates=order) >= 0:
                return True
        except NotATimeError:
            continue
    return False
