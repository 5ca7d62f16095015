"""Dates as logs write them, to milliseconds since 1970, UTC, and which order a log's dates have.

::

    2023-11-14T22:13:20.5+01:00   2023/11/14 10:13 PM   2023-11-14        in any log; without a zone: UTC
    14.11.2023 22:13   14/11/23   14-11-2023, 22:13:20                    in one whose dates have the day first
    11/14/2023 10:13 PM   11-14-2023                                      in one whose dates have the month first
    Tue Nov 14 22:13:20 +0000 2023   14 Nov 2023   November 14, 2023      in any log: English names of months
    20231114   20231114221320                                             in any log, texts or numbers
    20231114T221320Z   2023-11-14 22:13 CET   22:13:20 GMT+0100 (CET)     without hyphens; zones by letters

``time_columns.py`` reads whole columns by the same patterns.
"""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

from rankstream.events.arrivals import LogError

AUTO = "auto"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EPOCH_DAY = date(1970, 1, 1).toordinal()
DAY_MS = 86_400_000
BLANKS = " \t\r\n"
MAX_TEXT = 96  # characters; anything longer is no time
SHOWN_TEXT = 64  # characters of one that is no time
HOURS = (  # hour, minute, second, fraction, half (of the day); the syntax is both Python's and RE2's
    r"(?P<hour>[0-9]{1,2})(?::(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})(?:[.,](?P<fraction>[0-9]+))?)?)?"
    "(?:[ \u202f]?(?P<half>[AaPp])[.]?[Mm][.]?)?"  # U+202F is what browsers write there
)
# An offset, letters, or both; what stands in brackets behind them is said twice: +0100 (CET), +01:00[Europe/Berlin].
ZONE = (
    r" ?(?:(?P<zone>[Zz]|(?:UTC|GMT|UT)?[+-][0-9]{1,2}(?::?[0-9]{2})?|[A-Z]{2,5})"
    r"(?: ?\([^()]*\)|\[[A-Za-z0-9_/+-]+\])?)?"
)
# Hours that letters are ahead of UTC, where they mean one zone. CST is in America and China, IST in India, Israel and
# Ireland, BST in Britain and Bangladesh: those are not read.
ZONES = {
    "Z": 0, "UT": 0, "UTC": 0, "GMT": 0, "WET": 0, "WEST": 1, "CET": 1, "MET": 1, "CEST": 2, "MEST": 2, "EET": 2,
    "EEST": 3, "MSK": 3, "SAST": 2, "EST": -5, "EDT": -4, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8, "PDT": -7,
    "AKST": -9, "AKDT": -8, "HST": -10, "HKT": 8, "SGT": 8, "AWST": 8, "JST": 9, "KST": 9, "AEST": 10, "AEDT": 11,
    "NZST": 12, "NZDT": 13,
}  # fmt: skip
CLOCK = f"(?:(?:[Tt _]|, ?| at ){HOURS}{ZONE})?"
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
MONTH = (
    r"(?P<month>(?i:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|"
    r"oct(?:ober)?|nov(?:ember)?|dec(?:ember)?))[.]?"
)
WEEKDAY = r"(?:(?i:mon|tue|wed|thu|fri|sat|sun)[a-z]*[.]?,? )?"
YEAR = "(?P<year>[0-9]{4})"
SHORT_YEAR = "(?P<year>[0-9]{4}|[0-9]{2})"  # a year is never the first of two numbers around a month's name
OF_MAILS = (
    rf"{WEEKDAY}(?P<day>[0-9]{{1,2}})(?:[-/ ]|[.] ?){MONTH}[-/ ,]+{SHORT_YEAR}{CLOCK.replace('[Tt _]', '[Tt: ]')}"
)
NAMED = (  # months by name, whose order is plain: of mails and web servers, of the United States, of Twitter and C
    OF_MAILS,
    rf"\[{OF_MAILS}\]",
    rf"{WEEKDAY}{MONTH} (?P<day>[0-9]{{1,2}})(?:st|nd|rd|th)?,? {YEAR}{CLOCK}",
    rf"{YEAR}[-/ ]{MONTH}[-/ ](?P<day>[0-9]{{1,2}}){CLOCK}",
    rf"{WEEKDAY}{MONTH} +(?P<day>[0-9]{{1,2}}) {HOURS}{ZONE} {YEAR}",
)
DATE = r"(?P<year>[0-9]{4})[-/.](?P<month>[0-9]{1,2})[-/.](?P<day>[0-9]{1,2})" + CLOCK
BASIC = (  # ISO 8601 without hyphens; what is digits alone is a number
    "(?P<year>[0-9]{4})(?P<month>[0-9]{2})(?P<day>[0-9]{2})[Tt _](?P<hour>[0-9]{2})(?::?(?P<minute>[0-9]{2})"
    "(?::?(?P<second>[0-9]{2})(?:[.,](?P<fraction>[0-9]+))?)?)?(?P<half>)" + ZONE
)
YEAR_FIRST = (DATE, *NAMED, BASIC)
DAY_FIRST, MONTH_FIRST = "day-first", "month-first"
DATE_ORDERS = (AUTO, DAY_FIRST, MONTH_FIRST)  # of a log's dates; auto where the year comes first, or none is told
ORDERED = r"[-/.](?P<year>[0-9]{4}|[0-9]{2})" + CLOCK
PATTERNS: Mapping[str, tuple[str, ...]] = {  # of the dates that are read by an order
    AUTO: YEAR_FIRST,
    DAY_FIRST: (*YEAR_FIRST, r"(?P<day>[0-9]{1,2})[-/.](?P<month>[0-9]{1,2})" + ORDERED),
    MONTH_FIRST: (*YEAR_FIRST, r"(?P<month>[0-9]{1,2})[-/.](?P<day>[0-9]{1,2})" + ORDERED),
}
DATE_TEXTS = {order: tuple(map(re.compile, patterns)) for order, patterns in PATTERNS.items()}
DATE_TEXT = DATE_TEXTS[AUTO][0]
CENTURY = 2000  # of a year of two digits
SHORT_DATE = re.compile(r"[0-9]+[-/][0-9]+[-/](0?[1-9]|[12][0-9]|3[01])(?![0-9])")  # its last number may be a day
DOTTED = re.compile(r"[0-9]+[.][0-9]+[.]")
DAY_OR_MONTH_FIRST = r"[0-9]{1,2}[-/.][0-9]{1,2}[-/.][0-9]{2,4}\b.*"
WANTED = "wanted a date as 2023-11-14 or 2023-11-14T22:13:20Z, or a number of s, ms, us or ns since 1970"

DAY_NUMBERS = {8: "%Y%m%d", 14: "%Y%m%d%H%M%S"}  # how many digits a number has that is a day, or a day and its time
FIRST_YEARS_S, LAST_YEARS_S = 631_152_000, 2_208_988_800  # 1990 to 2039: times of a log that is shown to us
FIRST_DAY_NUMBER, LAST_DAY_NUMBER = 19_700_101, 21_091_231_235_959

_day_or_month_first = re.compile(DAY_OR_MONTH_FIRST, re.DOTALL)


class NotATimeError(ValueError):
    """A value is no time; one sentence, with the field, what came and what was wanted."""


def date_ms(found: "re.Match[str]", raw: str, name: str) -> int:
    """Return the time of a match of one of ``PATTERNS``. Raises ``NotATimeError``."""
    parts = found.groupdict()
    hour, minute, second = (int(parts[unit] or 0) for unit in ("hour", "minute", "second"))
    offset = zone_minutes(parts["zone"])
    if offset is None and parts["zone"][-1].isalpha():
        raise NotATimeError(
            f"{name} is {_shown(raw)}: the zone {parts['zone']} is several ones, or none that is known; write how far "
            "it is ahead of UTC in its place, as +0800"
        )
    if hour > 23 or minute > 59 or second > 59 or offset is None:
        raise no_time(raw, name)
    if half := parts["half"]:
        if not 1 <= hour <= 12:
            raise no_time(raw, name)
        hour = hour % 12 + 12 * (half in "Pp")
    try:
        year = int(parts["year"]) + (CENTURY if len(parts["year"]) == 2 else 0)
        day = date(year, _month_number(parts["month"]), int(parts["day"])).toordinal() - EPOCH_DAY
    except ValueError:
        raise no_time(raw, name) from None
    milli = int((parts["fraction"] or "").ljust(3, "0")[:3])
    return day * DAY_MS + (hour * 60 + minute - offset) * 60_000 + second * 1000 + milli


def day_number_ms(number: int) -> int | None:
    """Return the time of a number that is YYYYMMDD or YYYYMMDDHHMMSS, which no time since 1970 is in any unit.

    None for any other number.
    """
    digits = str(number) if FIRST_DAY_NUMBER <= number <= LAST_DAY_NUMBER else ""
    form = DAY_NUMBERS.get(len(digits))
    if form is None or not "1970" <= digits[:4] <= "2109":
        return None
    try:
        return int(datetime.strptime(digits, form).replace(tzinfo=UTC).timestamp()) * 1000
    except ValueError:
        return None


def _month_number(month: str) -> int:
    return MONTHS.index(month[:3].lower()) + 1 if month[0].isalpha() else int(month)


def zone_minutes(zone: str | None) -> int | None:
    """Return how many minutes a zone is ahead of UTC; 0 where none is given, None for one that there is not."""
    if not zone:
        return 0
    if zone[-1].isalpha():
        hours_ahead = ZONES.get(zone.upper())
        return None if hours_ahead is None else hours_ahead * 60
    sign, digits = zone.lstrip("UTCGM")[0], zone.lstrip("UTCGM+-").replace(":", "")
    hours, minutes = (int(digits), 0) if len(digits) < 3 else (int(digits[:-2]), int(digits[-2:]))
    if hours > 23 or minutes > 59:
        return None
    return (hours * 60 + minutes) * (-1 if sign == "-" else 1)


def no_time(raw: Any, name: str) -> NotATimeError:
    """Return the refusal of a value that is no time."""
    shown = _shown(raw)
    if isinstance(raw, str) and _day_or_month_first.fullmatch(raw.strip(BLANKS)):
        return NotATimeError(
            f"{name} is {shown}: whether the day or the month comes first can't be told; say which with --dates, or "
            "write the year first, as 2023-11-14"
        )
    return NotATimeError(f"{name} is {shown}; {WANTED}")


def _shown(raw: Any) -> str:
    text = repr(raw)
    return text if len(text) <= SHOWN_TEXT else text[:SHOWN_TEXT] + "..."


def told_order(columns: Mapping[str, list[Any]], where: str, dates: str = AUTO) -> tuple[str, tuple[str, ...]]:
    """Return the order of a log's dates, by those that can be read in one order alone, and what to say of it.

    14.11.2023 has the day first: no month is 14, and nobody writes the month first with dots. Another order than
    ``auto`` is taken as given. Raises ``LogError`` where the dates fit both orders, or some one and some the other.
    """
    ordered = {name: found for name, values in columns.items() if (found := _ordered_dates(values))}
    if dates != AUTO or not ordered:
        return dates, ()
    name, texts = next(iter(ordered.items()))
    told = {order: text for found in ordered.values() for text in found if (order := _order_of(text)) is not None}
    if len(told) > 1:
        raise LogError(
            f"the dates of {where} hold {told[DAY_FIRST]}, which has the day first, and {told[MONTH_FIRST]}, which has "
            "the month first; write all dates of a log in one order, or say which rows are right with --dates"
        )
    for order, text in told.items():
        return order, (f"dates are read with the {order.partition('-')[0]} first, as {text}; --dates says otherwise",)
    readings = [
        f"{day_of(at_ms)} with the {order.partition('-')[0]} first"
        for order in (DAY_FIRST, MONTH_FIRST)
        if (at_ms := _ordered_ms(texts[0], order)) is not None
    ]
    raise LogError(
        f"column {name} of {where} holds {texts[0]}: {', '.join(readings)}, and none of its first dates says so for "
        f"sure; say it with --dates {DAY_FIRST} or --dates {MONTH_FIRST}"
    )


def _ordered_dates(values: list[Any]) -> list[str]:
    """Return the dates of a column in which the year comes last, where they are most of its values; else none."""
    texts = [value.strip(BLANKS) for value in values if isinstance(value, str) and len(value) <= MAX_TEXT]
    found = [text for text in texts if any(_ordered_ms(text, one) is not None for one in (DAY_FIRST, MONTH_FIRST))]
    return found if len(found) > len(texts) / 2 else []


def _ordered_ms(text: str, order: str) -> int | None:
    """Return the time of a date in which the year comes last; None where it is none in this order."""
    found = DATE_TEXTS[order][-1].fullmatch(text)
    try:
        return None if found is None else date_ms(found, text, "")
    except NotATimeError:
        return None


def _order_of(text: str) -> str | None:
    """Return the one order in which a date can be read; None where it can be read in both."""
    can = [order for order in (DAY_FIRST, MONTH_FIRST) if _ordered_ms(text, order) is not None]
    if len(can) == 1:
        perhaps_the_year_first = can == [DAY_FIRST] and SHORT_DATE.match(text)  # 24/03/11 may be 2024-03-11
        return None if perhaps_the_year_first else can[0]
    return DAY_FIRST if DOTTED.match(text) else None


def day_of(at_ms: float) -> str:
    """Return the day of a time in ms since 1970, of any number."""
    at_s = at_ms / 1000
    try:
        return f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%d}"
    except (ValueError, OverflowError, OSError):
        return f"the year {1970 + at_s / 31_556_952:,.0f}"


def like_a_time(value: Any) -> bool:
    """Return whether a value is a date, or a number of s, ms, us or ns since 1970 that is of one of these years."""
    if isinstance(value, date):
        return True
    field = str(value)
    if isinstance(value, bool) or len(field) > MAX_TEXT:
        return False
    if any(one.fullmatch(field.strip(BLANKS)) for patterns in DATE_TEXTS.values() for one in patterns):
        return True
    whole = field.partition(".")[0]
    if not whole.isdigit():
        return False
    if whole == field and day_number_ms(int(whole)) is not None:
        return True
    return any(FIRST_YEARS_S <= int(whole) / scale <= LAST_YEARS_S for scale in (1, 10**3, 10**6, 10**9))
