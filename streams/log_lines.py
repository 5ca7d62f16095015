"""The log: a record is a line, as text or as JSON, in UTC, with its exception in it; and libraries are quiet.

Faust and the Kafka clients tell each step of their own and, while brokers are away, each attempt: hundreds of lines a
minute that say what one does (``broker_watch.py``). ``--log-level DEBUG`` shows everything.
"""

import json
import logging
import logging.config
import re
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from time import monotonic
from typing import Any

TEXT, JSON = "text", "json"
LIBRARIES = ("faust", "mode", "aiokafka", "kafka", "asyncio", "opentelemetry")
STEP = "[^"  # how Faust's services begin their lines, ours that it starts and stops among them
CRASHED = ("Crashed reason=", "We experienced a crash!")  # how Faust repeats why a worker ends, with a traceback
ENDS = "Error: %r"  # how it says that one could not start
KEPT = ("Worker ready", "(Re-)joining group %s", "LeaveGroup request succeeded")  # of what is below WARNING
ABOUT_CONNECTIONS = re.compile(
    r"Unable (to )?(connect|request|update)|Failed fetch|Marking the coordinator dead|Group Coordinator Request failed|"
    r"NodeNotReady|ConnectionError|Connection .*(lost|closed|refused)|RequestTimedOut|NotCoordinator|NotAvailable"
)
PASSES_S = 10.0  # a line about connections that stops within this time was of no matter
TOLD_EVERY_S = 60.0  # the same line of a library again
PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


def set_up(level: str, log_format: str, quiet: "Quiet | None" = None) -> None:
    """Log like this from now on, to standard error."""
    config = logging_config(log_format, quiet or Quiet())
    config["handlers"]["default"]["stream"] = "ext://sys.stderr"
    logging.config.dictConfig({**config, "disable_existing_loggers": False, "root": {"level": level, **config["root"]}})


def logging_config(log_format: str, quiet: "Quiet") -> dict[str, Any]:
    """Return what ``logging.config.dictConfig`` takes, without a level: Faust merges its own, and that, into it."""
    handler = {"class": "logging.StreamHandler", "stream": "ext://sys.stdout"}
    return {
        "version": 1,
        "merge": True,  # Faust's own word
        "formatters": {"line": {"()": JsonLine if log_format == JSON else TextLine}},
        "filters": {"quiet": {"()": lambda: quiet}},
        "handlers": {"default": {**handler, "formatter": "line", "filters": ["quiet"]}},
        "root": {"handlers": ["default"]},
    }


class TextLine(logging.Formatter):
    """``2026-11-29T21:06:08.030Z WARNING streams.worker.load: overload: ... request_id=r7``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line; what came with line breaks has `` | `` in their places."""
        more = "".join(f" {name}={value}" for name, value in _extras(record).items() if not isinstance(value, Mapping))
        failed = _exception(record)
        line = f"{_time(record)} {record.levelname} {_logger(record)}: {record.getMessage()}{more}"
        return " | ".join(
            part.strip() for part in (f"{line}\n{failed}" if failed else line).splitlines() if part.strip()
        )


class JsonLine(logging.Formatter):
    """An object of ``time``, ``level``, ``logger``, ``message``, and what is at hand: ``request_id``, ``exception``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line of JSON, in ASCII."""
        fields = {
            "time": _time(record),
            "level": record.levelname,
            "logger": _logger(record),
            "message": record.getMessage(),
            **_extras(record),
        }
        failed = _exception(record)
        return json.dumps(fields | ({"exception": failed} if failed else {}), default=str)


def _time(record: logging.LogRecord) -> str:
    at = datetime.fromtimestamp(record.created, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _logger(record: logging.LogRecord) -> str:
    return record.name.removeprefix("rankstream.")


def _extras(record: logging.LogRecord) -> dict[str, object]:
    """Return what the log was told besides the message: ``log.warning("...", extra={"request_id": 7})``."""
    return {name: value for name, value in vars(record).items() if name not in PLAIN and value is not None}


def _exception(record: logging.LogRecord) -> str:
    if record.exc_info and record.exc_info[0] is not None:
        return "".join(traceback.format_exception(*record.exc_info)).strip()
    return (record.exc_text or record.stack_info or "").strip()


class Quiet(logging.Filter):
    """Leaves out what libraries tell of themselves: below WARNING, while brokers are away, and over and over."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        super().__init__()
        self.is_down: Callable[[], bool] = lambda: False  # whether no broker answers: that is told already
        self.has_told_why: Callable[[], bool] = lambda: False  # whether it was told why the worker ends
        self._clock = clock
        self._streaks: dict[str, tuple[float, float]] = {}  # by template: when it began, when it came last
        self._told_at: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a record is logged."""
        is_ours = record.name.partition(".")[0] not in LIBRARIES and not str(record.msg).startswith(STEP)
        if not is_ours and self.has_told_why() and any(words in str(record.msg) for words in CRASHED):
            return False
        if is_ours or record.levelno >= logging.CRITICAL or ENDS in str(record.msg):
            return True
        if logging.root.level <= logging.DEBUG:
            return True
        if record.levelno < logging.WARNING:
            return str(record.msg).endswith(KEPT)
        if self.is_down():
            self._streaks.clear()  # what comes once brokers are back begins anew
            return False
        return self._is_news(record)

    def _is_news(self, record: logging.LogRecord) -> bool:
        """Return whether it was not told a minute ago; what is about connections must last for a while first."""
        now, template = self._clock(), str(record.msg)
        began, last = self._streaks.get(template, (now, now))
        if now - last > TOLD_EVERY_S:
            began = now
        self._streaks[template] = (began, now)
        lasts = now - began >= PASSES_S
        if (ABOUT_CONNECTIONS.search(record.getMessage()) and not lasts) or self._was_told(template, now):
            return False
        self._told_at[template] = now
        return True

    def _was_told(self, template: str, now: float) -> bool:
        return now - self._told_at.get(template, -TOLD_EVERY_S) < TOLD_EVERY_S
