"""Times whose day and time of day lie in two columns of a table, as tills and spreadsheets write them.

::

    Date,Time,Transaction,Item          --map timestamp_ms=Date+Time, or both told by their names and values
    2016-10-30,9:58:11,1,Bread    ->    Date is "2016-10-30 9:58:11" for whoever reads the row
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rankstream.events.arrivals import LogError
from rankstream.events.readers.dates import BLANKS, DATE_TEXTS, DAY_MS
from rankstream.events.readers.times import DAY_DIGITS, time_ms, told_unit

DAY_LENGTH = 8  # of 20231114
BOTH = "+"  # between the names of the two columns
CLOCK_ALONE = re.compile(r"[0-9]{1,2}:[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]+)?)?(?:[ \u202f]?[AaPp][.]?[Mm][.]?)?")


@dataclass(frozen=True)
class DayAndClock:
    """The column of the days, and the one of the times of day that belong to them."""

    day: str
    clock: str

    def __str__(self) -> str:
        return f"{self.day}{BOTH}{self.clock}"

    def joined(self, row: dict[str, str]) -> dict[str, str]:
        """Return a row with the whole time in the column of the days, and without the other."""
        whole = {name: value for name, value in row.items() if name != self.clock}
        return whole | {self.day: f"{row[self.day]} {row[self.clock]}".strip(BLANKS)}


def named_both(name: str, columns: Collection[str]) -> DayAndClock | None:
    """Return the two columns that a name such as ``Date+Time`` means; None if it is one column, or one is not there."""
    day, plus, clock = name.partition(BOTH)
    return DayAndClock(day, clock) if plus and name not in columns and {day, clock} <= set(columns) else None


def told_both(fits: Sequence[str], columns: Sequence[str], first_rows: Sequence[Sequence[str]]) -> DayAndClock | None:
    """Return which of two columns that may hold the time holds days alone and which times of day; None if not so."""
    if len(fits) != 2:
        return None
    values = {
        name: [row[at].strip(BLANKS) for row in first_rows if len(row) == len(columns) and row[at].strip(BLANKS)]
        for at, name in enumerate(columns)
        if name in fits
    }
    for day, clock in (fits, fits[::-1]):
        are_clocks = values[clock] and all(map(CLOCK_ALONE.fullmatch, values[clock]))
        if are_clocks and values[day] and all(map(_is_day, values[day])):
            return DayAndClock(day, clock)
    return None


def fuller(fits: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str | None:
    """Return which of two columns has the time of day, where the other holds nothing but its day; None if not so."""
    if len(fits) != 2:
        return None
    values = {name: [row.get(name) for row in rows] for name in fits}
    for days, times in (fits, fits[::-1]):
        try:
            told = told_unit({times: values[times]}, times)
            whole = [time_ms(value, told.unit, times, told.dates) for value in values[times]]
            begin = [_day_ms(value) for value in values[days]]
        except (LogError, ValueError):
            continue
        apart = [abs(at_ms - day_ms) for at_ms, day_ms in zip(whole, begin, strict=True)]
        if apart and max(apart) < 2 * DAY_MS and any(at_ms % DAY_MS for at_ms in whole):  # days are of some zone
            return times
    return None


def _day_ms(value: Any) -> int:
    """Return when a day alone begins. Raises ``ValueError`` for anything else."""
    text = str(value).strip(BLANKS)
    if len(text) == DAY_LENGTH and text.isdigit():
        return int(datetime.strptime(text, DAY_DIGITS[DAY_LENGTH]).replace(tzinfo=UTC).timestamp()) * 1000
    if not _is_day(text):
        raise ValueError(f"{text} is more than a day, or none")
    told = told_unit({"day": [text]}, "day")
    return time_ms(text, told.unit, dates=told.dates)


def _is_day(text: str) -> bool:
    found = (pattern.fullmatch(text) for patterns in DATE_TEXTS.values() for pattern in patterns)
    return any(one is not None and not one["hour"] for one in found)
