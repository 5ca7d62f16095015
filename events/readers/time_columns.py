"""Whole columns of times to milliseconds; ``times.py`` is its plain twin, one value at a time.

A time that is not found here is looked at once more there, which names what is wrong with it.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from rankstream.events.readers.dates import (
    AUTO,
    BLANKS,
    CENTURY,
    DATE_TEXT,
    DAY_MS,
    EPOCH_DAY,
    FIRST_DAY_NUMBER,
    LAST_DAY_NUMBER,
    MAX_TEXT,
    MONTHS,
    PATTERNS,
    day_number_ms,
    zone_minutes,
)
from rankstream.events.readers.times import INTEGER, NS_PER_MS, NUMBER, SAMPLE_ROWS, UNITS_NS
from rankstream.features.actions import MAX_TIME_MS

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Column = Any  # pyarrow.Array

PARTS = ("year", "month", "day", "hour", "minute", "second", "fraction", "half", "zone")
WHOLE = r"[+-]?0*(?:[0-9]{1,18}|[0-8][0-9]{18})"  # whole numbers of 64 bits; longer ones are after 2109 in any unit

_DAYS_BEFORE_MONTH = np.array([0, 0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334])
_DAYS_OF_MONTH = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])


def times_of_column(column: Column, unit: str, dates: str = AUTO) -> tuple[Ints, Bools]:
    """Return times in ms ``(n,)`` and which rows have one from 1970 to 2109 ``(n,)``, as ``times.time_ms`` does."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        which = column.indices.fill_null(len(column.dictionary)).to_numpy(zero_copy_only=False).astype(np.int64)
        times, found = times_of_column(column.dictionary, unit, dates)
        return np.append(times, 0)[which], np.append(found, False)[which]
    if is_text_type(kind):
        return _of_texts(column, unit, dates)
    if pa.types.is_decimal(kind):
        return _of_texts(column.cast(pa.string()), unit, dates)
    found = column.is_valid().to_numpy(zero_copy_only=False)
    if pa.types.is_timestamp(kind):
        return _of_whole_numbers(column.cast(pa.int64()), kind.unit, found)
    if pa.types.is_date(kind):
        days = column.cast(pa.date32()).cast(pa.int32()).fill_null(-1).to_numpy(zero_copy_only=False)
        return _within(days.astype(np.int64) * DAY_MS, found)
    if pa.types.is_integer(kind):
        return _of_days_or_numbers(column, unit, found)
    if pa.types.is_floating(kind):
        return _of_floats(column, unit, found)
    return np.zeros(len(column), np.int64), np.zeros(len(column), np.bool_)


def sample_of(column: Column) -> list[Any]:
    """Return the first values of a column of times, as ``times.told_unit`` takes them."""
    values: list[Any] = as_values(column.slice(0, SAMPLE_ROWS)).to_pylist()
    return values


def as_values(column: Column) -> Column:
    """Return a column whose values Python can hold: timestamps and dates, of any unit and year, as texts."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return as_values(column.dictionary_decode())
    if pa.types.is_timestamp(kind):
        return column.cast(pa.timestamp(kind.unit, kind.tz and "UTC")).cast(pa.string())
    if pa.types.is_date(kind):
        return column.cast(pa.date32()).cast(pa.string())
    if pa.types.is_duration(kind) or pa.types.is_time64(kind):
        return column.cast(pa.int64())
    return column


def is_text_type(kind: Any) -> bool:
    """Return whether a type is text without a dictionary."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _within(times: Ints, found: Bools) -> tuple[Ints, Bools]:
    found = found & (times >= 0) & (times <= MAX_TIME_MS)
    return np.where(found, times, 0), found


def _of_days_or_numbers(column: Column, unit: str, found: Bools) -> tuple[Ints, Bools]:
    """Return times of whole numbers since 1970; those that are YYYYMMDD and so on are dates."""
    times, some = _of_whole_numbers(column, unit, found)
    raw = column.fill_null(0).to_numpy(zero_copy_only=False)
    days = found & (raw >= FIRST_DAY_NUMBER) & (raw <= LAST_DAY_NUMBER)
    if not days.any():
        return times, some
    different, which = np.unique(raw[days], return_inverse=True)
    read = [day_number_ms(number) for number in different.tolist()]
    of_days = np.array([-1 if ms is None else ms for ms in read], np.int64)[which]
    rows = np.flatnonzero(days)[of_days >= 0]
    times[rows], some[rows] = of_days[of_days >= 0], True
    return times, some


def _of_whole_numbers(column: Column, unit: str, found: Bools) -> tuple[Ints, Bools]:
    raw = column.fill_null(0).to_numpy(zero_copy_only=False)
    if raw.dtype == np.uint64:
        found = found & (raw < 2**63)
    raw, ns = raw.astype(np.int64), UNITS_NS[unit]
    if ns < NS_PER_MS:
        return _within(raw // (NS_PER_MS // ns), found)
    found = found & (raw >= 0) & (raw <= MAX_TIME_MS)  # so that the product is one of 64 bits
    return _within(np.where(found, raw, 0) * (ns // NS_PER_MS), found)


def _of_floats(column: Column, unit: str, found: Bools) -> tuple[Ints, Bools]:
    raw = column.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.float64)
    with np.errstate(over="ignore"):  # to infinity, which is no time
        scaled = np.round(np.where(np.isfinite(raw), raw, -1) * (UNITS_NS[unit] / NS_PER_MS))
    found = found & np.isfinite(raw) & (scaled >= 0) & (scaled <= MAX_TIME_MS)
    return np.where(found, scaled, 0).astype(np.int64), found


def _of_texts(column: Column, unit: str, dates: str) -> tuple[Ints, Bools]:
    """Return times of texts: all of one usual form at once, else each different text by its own form."""
    texts = pc.if_else(pc.equal(column, ""), None, column)
    numbers, its_unit = _all_alike(texts, unit)
    if numbers is not None:
        read = _of_whole_numbers if its_unit is None else _of_days_or_numbers
        return read(numbers, its_unit or "ns", numbers.is_valid().to_numpy(zero_copy_only=False))
    encoded = texts.cast(pa.string()).dictionary_encode()
    texts = pc.utf8_trim(encoded.dictionary, characters=BLANKS)
    texts = pc.if_else(pc.less_equal(pc.utf8_length(texts), MAX_TEXT), texts, None)
    whole = _matching(texts, WHOLE).cast(pa.int64())
    fractions = _floats(_matching(texts, NUMBER, besides=INTEGER))
    times, found = np.zeros(len(texts), np.int64), np.zeros(len(texts), np.bool_)
    for numbers, read in ((whole, _of_days_or_numbers), (fractions, _of_floats)):
        ms, some = read(numbers, unit, numbers.is_valid().to_numpy(zero_copy_only=False))
        times, found = np.where(some, ms, times), found | some
    for pattern in PATTERNS[dates]:
        rest = np.flatnonzero(~found)
        if len(rest):
            times[rest], found[rest] = _of_dates(texts.take(pa.array(rest)), pattern)
    which = encoded.indices.fill_null(len(texts)).to_numpy(zero_copy_only=False).astype(np.int64)
    return np.append(times, 0)[which], np.append(found, False)[which]


def _all_alike(texts: Column, unit: str) -> tuple[Column | None, str | None]:
    """Return whole numbers and their unit, or dates of one form as ns and no unit.

    No column if the first is neither, or not all are.
    """
    first = next(iter(texts.drop_null().slice(0, 1).to_pylist()), "")
    kind = pa.int64()
    its_unit: str | None = unit
    if date := DATE_TEXT.fullmatch(first):
        kind, its_unit = pa.timestamp("ns", "UTC" if date["zone"] else None), None
        if pc.all(pc.ends_with(texts, " UTC")).as_py():
            texts = pc.replace_substring(texts, " UTC", "Z")
    elif not first.isdigit() or pc.any(pc.match_substring(texts, "x", ignore_case=True)).as_py():
        return None, unit  # Arrow reads 0x1f, too
    try:
        return texts.cast(kind).cast(pa.int64()), its_unit
    except pa.ArrowInvalid:
        return None, unit


def _matching(texts: Column, pattern: str, besides: str | None = None) -> Column:
    """Return the texts that are wholly of a pattern, and not of another one, without a leading +; null for others."""
    matches = pc.match_substring_regex(texts, f"^(?:{pattern})$")
    if besides is not None:
        matches = pc.and_not(matches, pc.match_substring_regex(texts, f"^(?:{besides})$"))
    return pc.utf8_ltrim(pc.if_else(matches, texts, None), characters="+")


def _floats(texts: Column) -> Column:
    try:
        return texts.cast(pa.float64())
    except pa.ArrowInvalid:  # beyond the range of floats
        return pa.array([None if text is None else float(text) for text in texts.to_pylist()], pa.float64())


def _month_digits(months: Column) -> Column:
    """Return months as digits; those that come by name are told by its first three letters."""
    named = pc.index_in(pc.utf8_lower(pc.utf8_slice_codeunits(months, 0, 3)), pa.array(MONTHS))
    return pc.coalesce(pc.add(named, 1).cast(pa.string()), pc.if_else(pc.utf8_is_digit(months), months, "0"))


def _of_dates(texts: Column, pattern: str) -> tuple[Ints, Bools]:
    """Return the times of dates of a pattern of ``dates.PATTERNS``, by the calendar's arithmetic on all at once."""
    parts = pc.extract_regex(texts, f"^(?:{pattern})$")
    found = parts.is_valid().to_numpy(zero_copy_only=False)
    if not found.any():
        return np.zeros(len(texts), np.int64), found
    part = {name: pc.fill_null(pc.struct_field(parts, name), "") for name in PARTS}
    part["month"] = _month_digits(part["month"])
    milli = pc.utf8_slice_codeunits(pc.utf8_rpad(part["fraction"], 3, "0"), 0, 3)
    year, month, day, hour, minute, second, milli = (
        pc.if_else(pc.equal(digits, ""), "0", digits).cast(pa.int64()).to_numpy(zero_copy_only=False)
        for digits in (*(part[name] for name in PARTS[:6]), milli)
    )
    zones = part["zone"].dictionary_encode()
    offsets = [zone_minutes(zone) for zone in zones.dictionary.to_pylist()]
    zone = zones.indices.to_numpy(zero_copy_only=False)
    two_digits = pc.equal(pc.utf8_length(part["year"]), 2).to_numpy(zero_copy_only=False)
    year = np.where(two_digits, year + CENTURY, year)
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    month_of = np.where((month >= 1) & (month <= 12), month, 0)
    found &= (year >= 1) & (month_of > 0) & (day >= 1) & (day <= _DAYS_OF_MONTH[month_of] + (leap & (month == 2)))
    found &= (hour <= 23) & (minute <= 59) & (second <= 59)
    half = pc.utf8_lower(part["half"]).to_numpy(zero_copy_only=False)  # (n,) "a", "p" or ""
    found &= (half == "") | ((hour >= 1) & (hour <= 12))
    hour = np.where(half == "", hour, hour % 12 + 12 * (half == "p"))
    found &= np.array([offset is not None for offset in offsets])[zone]
    before = year - 1
    ordinal = before * 365 + before // 4 - before // 100 + before // 400  # as ``date.toordinal``
    ordinal += _DAYS_BEFORE_MONTH[month_of] + (leap & (month > 2)) + day
    minutes = hour * 60 + minute - np.array([offset or 0 for offset in offsets], np.int64)[zone]
    return _within((ordinal - EPOCH_DAY) * DAY_MS + minutes * 60_000 + second * 1000 + milli, found)
