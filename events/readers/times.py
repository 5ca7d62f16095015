"""Times as logs write them, to milliseconds since 1970, UTC: one value at a time, and which unit a log's numbers have.

::

    1700000000   1700000000.25   "1.7e9"                                             numbers, in the log's one unit
    2023-11-14T22:13:20.5+01:00   2023-11-14 22:13:20 UTC   2023/11/14 22:13   2023-11-14    dates; without a zone: UTC
    14.11.2023 22:13   11/14/2023 10:13 PM    dates with the day or the month first: in a log of that order (dates.py)
    Tue Nov 14 22:13:20 +0000 2023   14/Nov/2023:22:13:20 +0000   Nov 14, 2023    dates that name the month in English
    timestamps and dates of Parquet, of any unit and zone

This is the plain reference for ``time_columns.py``, which reads whole columns.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from math import inf, isfinite
from typing import Any

from rankstream.events.action_event import MIN_TIME_MS
from rankstream.events.arrivals import LogError
from rankstream.events.readers.dates import (
    AUTO,
    BLANKS,
    DATE_TEXTS,
    DAY_MS,
    EPOCH,
    EPOCH_DAY,
    MAX_TEXT,
    date_ms,
    day_number_ms,
    day_of,
    no_time,
    told_order,
)
from rankstream.features.actions import MAX_TIME_MS

TIMES = ("timestamp_ms", "arrived_ms", "deadline_ms")  # fields that are times; the last is of requests
NS_PER_MS = 1_000_000
UNITS_NS = {"s": 1_000_000_000, "ms": NS_PER_MS, "us": 1000, "ns": 1}  # of a unit, in nanoseconds
TIME_UNITS = (AUTO, *UNITS_NS)
SAMPLE_ROWS = 1000  # that a unit is told from, of each file
SECOND_DIGITS = 10  # of a time since 1970 that is right to the second, in any unit
PLAIN = 0.9  # share of the numbers that must fit one unit where the column's name doesn't say it

INTEGER = r"[+-]?[0-9]+"
NUMBER = r"[+-]?([0-9]+(?:\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?"

_integer, _number = re.compile(INTEGER), re.compile(NUMBER)
DAY_LENGTH = 8  # of 20231114
MINUTE_DIGITS = {12: "%Y%m%d%H%M"}  # of dates that would be times of the seventies in ms
# Clocks that count from another day than 1970: the ms of one unit, when they began, and what they are called.
OTHER_CLOCKS = (
    (1e-4, -62_135_596_800_000, "100 ns since the year 1, as .NET counts"),
    (1e-4, -11_644_473_600_000, "100 ns since 1601, as Windows counts"),
    (1e-3, -11_644_473_600_000, "us since 1601, as Chrome counts"),
    (DAY_MS, -2_209_161_600_000, "days since 1900, as spreadsheets count"),
)
USUAL_MS = (631_152_000_000, 2_208_988_800_000)  # of the years 1990 to 2039, in which logs of other clocks are
LEAST_NS = 10**18  # of 2001: before it, more numbers are of another clock than there are logs of nanoseconds
FIRST_LOGS_S = 820_454_400  # 1996: of what was before, hardly a log was kept
_CLAIMED = {
    "s": "s sec secs second seconds",
    "ms": "ms msec msecs milli millis millisecond milliseconds",
    "us": "us usec usecs micro micros microsecond microseconds",
    "ns": "ns nsec nsecs nano nanos nanosecond nanoseconds",
}
_UNIT_OF_WORD = {word: unit for unit, words in _CLAIMED.items() for word in words.split()}


def time_ms(raw: Any, unit: str, name: str = "timestamp_ms", dates: str = AUTO) -> int:
    """Return a time in ms since 1970: whole numbers are cut, fractions of a number rounded, those of a date cut.

    ``raw`` is a number (also as text) of this ``unit`` (s, ms, us, ns), a date as text, in this order (``dates``) where
    the year does not come first, a ``datetime`` or a ``date``. Raises ``NotATimeError`` that names the field ``name``,
    what came and what was wanted.
    """
    number = raw
    if isinstance(raw, str):
        text = raw.strip(BLANKS)
        if len(text) <= MAX_TEXT:
            for pattern in DATE_TEXTS[dates]:
                if (found := pattern.fullmatch(text)) is not None:
                    return date_ms(found, raw, name)
            number = int(text) if _integer.fullmatch(text) else float(text) if _number.fullmatch(text) else raw
    elif isinstance(raw, datetime):
        return ((raw if raw.tzinfo else raw.replace(tzinfo=UTC)) - EPOCH) // timedelta(milliseconds=1)
    elif isinstance(raw, date):
        return (raw.toordinal() - EPOCH_DAY) * DAY_MS
    elif isinstance(raw, Decimal) and raw.is_finite():
        number = int(raw) if raw.as_tuple().exponent == 0 else float(raw)
    if isinstance(number, float) and isfinite(scaled := number * (UNITS_NS[unit] / NS_PER_MS)):
        return round(scaled)
    if isinstance(number, int) and not isinstance(number, bool):
        if (of_digits := day_number_ms(number)) is not None:
            return of_digits
        return number * UNITS_NS[unit] // NS_PER_MS
    raise no_time(raw, name)


@dataclass(frozen=True)
class TimeUnit:
    """The unit that the numbers of a log's times have, the order of its dates, and what there is to say of both."""

    unit: str
    notes: tuple[str, ...] = ()
    dates: str = AUTO  # of ``DATE_ORDERS``


def told_unit(columns: Mapping[str, Iterable[Any]], where: str, unit: str = AUTO, dates: str = AUTO) -> TimeUnit:
    """Return the one unit of a log's times, told from the magnitude of the first numbers, and the order of its dates.

    ``columns`` are the log's own columns of times, each with values of its first rows; ``where`` names the log. Another
    ``unit`` or order (``dates``) than ``auto`` is taken as given. Raises ``LogError`` with both readings where the
    numbers fit two units, or another one than the column's name claims, and where the dates fit two orders.
    """
    samples = {name: list(values) for name, values in columns.items()}
    order, of_dates = told_order(samples, where, dates)
    notes = (*of_dates, *(note for name, values in samples.items() for note in _notes(name, values, order)))
    if unit != AUTO:
        return TimeUnit(unit, notes, order)
    found: dict[str, tuple[str, float]] = {}  # unit -> the first column that has it, and a number there
    for name, values in samples.items():
        told = _unit_of_column(name, values, where)
        if told is not None:
            found.setdefault(told[0], (name, told[1]))
    if len(found) > 1:
        (one, (name, number)), (other, (beside, of_other)) = list(found.items())[:2]
        raise LogError(
            f"in {where} column {name} holds {number:.15g}, in {one} {_day(number, one)}, and column {beside} "
            f"{of_other:.15g}, in {other} {_day(of_other, other)}; write all times of a log in one unit"
        )
    claimed = [claim for name in samples if (claim := claimed_unit(name)) is not None]
    return TimeUnit(next(iter([*found, *claimed, "ms"])), notes, order)


def claimed_unit(column: str) -> str | None:
    """Return the unit that a column's name claims: ``ms`` for ``timestamp_ms`` and ``eventTimeMillis``, else None."""
    snake = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", column).lower()
    words = [word for word in re.split(r"[^a-z]+", snake) if word]
    return _UNIT_OF_WORD.get(words[-1]) if len(words) > 1 else None


def _unit_of_column(name: str, values: list[Any], where: str) -> tuple[str, float] | None:
    """Return the unit of most numbers of a column, and the first of them; None where no number is a possible time."""
    fitting: dict[str, float] = {}
    votes: Counter[str] = Counter()
    for number in filter(None, map(_as_number, values)):
        for unit in UNITS_NS:
            if MIN_TIME_MS <= number * (UNITS_NS[unit] / NS_PER_MS) <= MAX_TIME_MS:
                votes[unit] += 1
                fitting.setdefault(unit, number)
    if not votes:
        if other := _another_clock(values):
            raise LogError(
                f"column {name} of {where} holds {values[0]}, which is no time since 1970 in any unit, but {other}; "
                "write dates as 2023-11-14T22:13:20Z, or numbers since 1970"
            )
        return None
    claimed = claimed_unit(name)
    (most, count), *others = votes.most_common()
    if others and claimed != most and count < PLAIN * votes.total():
        other = others[0][0]
        raise LogError(
            f"column {name} of {where} holds {fitting[most]:.15g} and {fitting[other]:.15g}, which are a time in "
            f"{most} ({_day(fitting[most], most)}) and one in {other} ({_day(fitting[other], other)}); write all times "
            "of a log in one unit, or say which rows are right with --time-unit"
        )
    number = fitting[most]
    if claimed not in (None, most):
        raise LogError(
            f"column {name} of {where} holds {number:.15g}: as {claimed}, which its name claims, that is "
            f"{_day(number, claimed)}, as {most} {_day(number, most)}; say which with --time-unit {most} or "
            f"--time-unit {claimed}"
        )
    if most == "ns" and claimed is None and number < LEAST_NS and (other := _another_clock(values)):
        raise LogError(
            f"column {name} of {where} holds {number:.18g}: as ns that is {_day(number, most)}, but {other}; write "
            "dates as 2023-11-14T22:13:20Z, or say that they are ns with --time-unit ns"
        )
    if most == "ms" and claimed is None and (written := _digits_of_a_date(values, MINUTE_DIGITS)):
        raise LogError(
            f"column {name} of {where} holds {written}: as ms that is {_day(float(written), 'ms')}, but its digits are "
            "those of a date; write dates as 2023-11-14T22:13, or say that they are ms with --time-unit ms"
        )
    return most, number


def _another_clock(values: list[Any]) -> str | None:
    """Return what numbers are by a clock that counts from another day; None where not all are of usual years by one."""
    numbers = [number for number in map(_as_number, values) if number is not None]
    for unit_ms, began_ms, name in OTHER_CLOCKS:
        times = [number * unit_ms + began_ms for number in numbers]
        if times and USUAL_MS[0] <= min(times) and max(times) <= USUAL_MS[1]:
            return f"{day_of(times[0])} in {name}"
    return None


def _as_number(raw: Any) -> float | None:
    """Return a number, also one that is written as text; None for all else."""
    if isinstance(raw, str):
        raw = raw.strip(BLANKS)
        return float(raw) if len(raw) <= MAX_TEXT and _number.fullmatch(raw) else None
    if isinstance(raw, bool) or not isinstance(raw, int | float | Decimal):
        return None
    try:
        return float(raw)
    except OverflowError:  # a whole number beyond all floats, and all times
        return None


def _day(number: float, unit: str | None) -> str:
    return day_of(number * (UNITS_NS[unit or "ms"] / NS_PER_MS))


def _digits_of_a_date(values: list[Any], forms: Mapping[int, str]) -> str | None:
    """Return the first of numbers that are all YYYYMMDD and so on: with that many digits, in one of the forms."""
    texts = [f"{number:.0f}" for number in map(_as_number, values) if number]
    for text in texts:
        try:
            if not 1970 <= datetime.strptime(text, forms[len(text)]).replace(tzinfo=UTC).year <= 2109:
                return None
        except (KeyError, ValueError):
            return None
    return texts[0] if texts else None


def _notes(name: str, values: list[Any], order: str) -> Iterable[str]:
    texts = [value.strip(BLANKS) for value in values if isinstance(value, str)]
    patterns = DATE_TEXTS[order]
    dates = [found for text in texts if (found := next(filter(None, (one.fullmatch(text) for one in patterns)), None))]
    if any(not found["zone"] for found in dates):
        yield f"times of column {name} without a zone are read as UTC, as {min(_zoneless(dates))}"
    if len(dates) > len(texts) / 2 and not any(found["hour"] for found in dates):
        yield f"times of column {name} are days alone: what was done on one day counts as done at once, as it lies"
    days = [number for number in map(_as_number, values) if number is not None]
    if days and all(len(f"{number:.0f}") == DAY_LENGTH and day_number_ms(int(number)) is not None for number in days):
        yield f"times of column {name} are days alone: what was done on one day counts as done at once, as it lies"
    seconds = [number for number in map(_as_number, values) if number is not None]
    if seconds and max(seconds) < FIRST_LOGS_S and min(seconds) * 1000 > MIN_TIME_MS:
        yield (
            f"times of column {name} are of {_day(seconds[0], 's')}; if they count from 2001, as Apple's clocks do, "
            "add 978307200 to each"
        )
    rounded = [text for text in texts if _number.fullmatch(text) and _digits_left(text) < SECOND_DIGITS]
    if len(rounded) > len(texts) / 2:
        yield f"times of column {name} were rounded before they came, as {rounded[0]}; export them with all digits"


def _digits_left(text: str) -> float:
    """Return how many digits a number with an exponent is written with, which is all that was kept of it."""
    mantissa, exponent, _ = text.lower().partition("e")
    return sum(map(str.isdigit, mantissa)) if exponent else inf


def _zoneless(dates: "list[re.Match[str]]") -> list[str]:
    return [found.group() for found in dates if not found["zone"]]
