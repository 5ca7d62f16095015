"""Which of several columns that may hold the time of an action does, by what the first rows hold, then by their names.

::

    event_date 20231114, event_timestamp 1700000000000000    the one with the time of day, of two of one day
    release_date, seen_at                                    not what is always the same of an item, or of a user
    time 2020-07-05 00:08, timestamp 1593878903              the instant, not what a clock of some zone showed
    date_added, click_timestamp                              what users do, rather than when a record was made

Where none of it tells, all are returned, and it is asked for.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

from rankstream.events.arrivals import LogError
from rankstream.events.guess import is_of_a_deed, is_of_a_record
from rankstream.events.readers.clocks import is_day
from rankstream.events.readers.dates import AUTO, BLANKS, DATE_TEXTS, DAY_MS, day_number_ms, like_a_time
from rankstream.events.readers.times import DAY_LENGTH, time_ms, told_unit

ZONES_APART_MS = 900_000  # all zones are whole quarters of an hour from UTC
MOST_AHEAD_MS = 14 * 3_600_000
SAME_MS = 1_000  # where one of two columns writes no fraction
REPEATS = 8  # rows of an item that came before, from which on it tells something that its time was the same each time
NOTHING = (None, "")


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


def of_the_action(fits: Sequence[str], rows: Sequence[Mapping[str, Any]], ids: Sequence[str]) -> list[str]:
    """Return those of the columns of times that may be an action's; ``ids`` are the columns of items and of users."""
    left = _without_local(fits, rows)
    left = [name for name in left if not any(_belongs_to(name, of_whom, rows) for of_whom in ids)] or left
    deeds = [name for name in left if is_of_a_deed(name)]
    records = [name for name in left if is_of_a_record(name)]
    if len(deeds) != 1 or len(deeds) + len(records) < len(left):
        return left
    filled = all(row.get(deeds[0]) not in NOTHING for row in rows)
    coarser = all(map(_is_day_alone, _values(deeds[0], rows))) and not all(
        _is_day_alone(value) for name in records for value in _values(name, rows)
    )
    return deeds if filled and not coarser else left


def _without_local(fits: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the columns without those that write the instants of another one by the clock of a zone, or their days.

    A date without a zone may be of any; numbers since 1970, and dates with one, say which instant it was.
    """
    sure = [name for name in fits if all(map(_is_an_instant, _values(name, rows))) and _values(name, rows)]
    if len(sure) != 1:
        return list(fits)
    (instant,) = sure
    return [instant, *(name for name in fits if name != instant and not _is_local(name, instant, rows))]


def _is_an_instant(value: Any) -> bool:
    if isinstance(value, datetime):
        return value.tzinfo is not None
    if isinstance(value, date):
        return False
    text = str(value).strip(BLANKS)
    found = next(filter(None, (pattern.fullmatch(text) for pattern in DATE_TEXTS[AUTO])), None)
    return bool(found["zone"]) if found else like_a_time(value) and not (text.isdigit() and day_number_ms(int(text)))


def _is_local(name: str, instant: str, rows: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether a column's times are always as far from the instants, as a zone is from UTC, or are their days."""
    try:
        of_instant = told_unit({instant: [row[instant] for row in rows]}, instant)
        at_ms = [time_ms(row[instant], of_instant.unit, instant, of_instant.dates) for row in rows]
        try:
            days = [_day_ms(row[name]) for row in rows]
        except ValueError:
            told = told_unit({name: [row[name] for row in rows]}, name)
            apart = [time_ms(row[name], told.unit, name, told.dates) - ms for row, ms in zip(rows, at_ms, strict=True)]
            zones = {round(ms / ZONES_APART_MS) for ms in apart}  # two where clocks are put forward in summer
            near = all(abs(ms - round(ms / ZONES_APART_MS) * ZONES_APART_MS) <= SAME_MS for ms in apart)
            return near and len(zones) <= 2 and max(map(abs, apart)) <= MOST_AHEAD_MS
        return all(-MOST_AHEAD_MS <= ms - day <= DAY_MS + MOST_AHEAD_MS for day, ms in zip(days, at_ms, strict=True))
    except (KeyError, ValueError):  # LogError is one
        return False


def _belongs_to(name: str, of_whom: str, rows: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether a time is the same in all rows of one item (or user), often enough to be no chance."""
    first: dict[str, Any] = {}
    repeats = 0
    for row in rows:
        if (who := row.get(of_whom)) in NOTHING:
            continue
        if str(who) not in first:
            first[str(who)] = row.get(name)
        elif first[str(who)] != row.get(name):
            return False
        else:
            repeats += 1
    return repeats >= REPEATS and len(set(map(str, first.values()))) > 1


def _values(name: str, rows: Sequence[Mapping[str, Any]]) -> list[Any]:
    return [row[name] for row in rows if row.get(name) not in NOTHING]


def _is_day_alone(value: Any) -> bool:
    if isinstance(value, date):
        return not isinstance(value, datetime)
    text = str(value).strip(BLANKS)
    return is_day(text) or len(text) == DAY_LENGTH


def _day_ms(value: Any) -> int:
    """Return when a day alone begins. Raises ``ValueError`` for anything else."""
    text = str(value).strip(BLANKS)
    if len(text) == DAY_LENGTH and text.isdigit() and (day_ms := day_number_ms(int(text))) is not None:
        return day_ms
    if not is_day(text):
        raise ValueError(f"{text} is more than a day, or none")
    told = told_unit({"day": [text]}, "day")
    return time_ms(text, told.unit, dates=told.dates)
