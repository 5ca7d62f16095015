"""Times and durations as people write them on the command line."""

import re
from datetime import UTC, datetime

from rankstream.events.action_event import MIN_TIME_MS
from rankstream.events.readers.dates import DATE_TEXT, day_of
from rankstream.events.readers.times import time_ms
from rankstream.features.actions import MAX_TIME_MS

FAR_MS = 253_402_300_800_000  # the year 10000
UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def parse_time_ms(text: str) -> int:
    """Read ``2022-05-04``, ``2022-05-04T12:00`` (UTC unless it has a zone) or milliseconds since 1970, as logs do.

    Raises ``ValueError``.
    """
    number = re.fullmatch(r"\d+", text)
    try:
        at_ms = time_ms(text, "ms") if number or DATE_TEXT.fullmatch(text) else _basic_iso(text)
    except ValueError:
        raise ValueError(f"{text!r} is no time; write 2022-05-04, 2022-05-04T12:00 (UTC) or milliseconds") from None
    if number and not MIN_TIME_MS <= at_ms <= MAX_TIME_MS:
        raise ValueError(f"{text} would be {day_of(at_ms)}; write 2022-05-04, 2022-05-04T12:00 (UTC) or milliseconds")
    if not 0 <= at_ms <= MAX_TIME_MS:
        raise ValueError(f"{text} is not from 1970 to 2109, which times must be")
    return at_ms


def _basic_iso(text: str) -> int:
    return time_ms(datetime.fromisoformat(text), "ms")  # 20220504T1200, which is no date in a log


def time_text(at_ms: int) -> str:
    """Write a time for people; one that no date can write, as a wrong unit makes it, in milliseconds."""
    if at_ms >= FAR_MS:
        return f"{at_ms:,} ms after 1970"
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def delay_ms(text: str) -> int | None:
    """Read ``0s``, ``90s``, ``5m``, ``24h``, ``7d``, or ``never`` (None). Raises ``ValueError``."""
    if text == "never":
        return None
    match = re.fullmatch(r"(\d+)(ms|s|m|h|d)", text)
    if match is None:
        raise ValueError(f"{text!r} is no delay; write 0s, 30s, 5m, 1h, 7d or never")
    return int(match[1]) * UNITS_MS[match[2]]


def delay_text(delay: int | None) -> str:
    """Write a delay as ``delay_ms`` reads it, in the largest unit that fits."""
    if delay is None:
        return "never"
    fitting = [unit for unit, size in UNITS_MS.items() if delay % size == 0]
    return f"{delay // UNITS_MS[fitting[-1]]}{fitting[-1]}" if delay else "0s"
