"""Rows and JSON lines to arrivals: plainly, a row at a time, and fast, for lines as the wire has them.

A row is read as ``rankstream produce`` would send it and a worker would decode it; what either would refuse is skipped
and counted with the worker's reason.
"""

import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO

import msgspec
import numpy as np

from rankstream.events.action_event import MAX_AHEAD_MS, MIN_TIME_MS, ActionEvent, Rejected, TimeMs
from rankstream.events.arrivals import Arrivals, Ints, LogError, pack_columns, skip
from rankstream.events.readers.rows import PROBLEM, Row, Shape, json_row, json_rows
from rankstream.events.readers.text import open_bytes
from rankstream.features.actions import MAX_TIME_MS, Vocabulary
from rankstream.features.ids import Id, id_bytes

BATCH_ROWS = 65_536  # rows read at once, which bounds memory
LINES_BYTES = 6 << 20  # bytes of lines read at once: about as many rows
UNKNOWN = -1  # arrived_ms where the log doesn't have it


class LoggedAction(ActionEvent, gc=False, frozen=True, omit_defaults=True):
    """An action, and when its record was produced where the log has it."""

    arrived_ms: TimeMs | None = None


FIELDS = LoggedAction.__struct_fields__
NEEDED = ("user_id", "item_id", "action", "timestamp_ms")

_decode_lines = msgspec.json.Decoder(LoggedAction).decode_lines


@dataclass(frozen=True)
class Reading:
    """How one pass over a log reads rows, and where it counts those that it skips."""

    vocabulary: Vocabulary
    shape: Shape
    now_ms: int  # times more than a day later are rejected
    skipped: Counter[str]

    def events(self, rows: Iterable[Row]) -> Iterator[LoggedAction | None]:
        """Yield each row's action; None for those that are skipped, which are counted."""
        for row in rows:
            try:
                yield self.event(row)
            except Rejected as why:
                skip(self.skipped, why)
                yield None

    def event(self, row: Row) -> LoggedAction:
        """Return a row's action. Raises ``Rejected`` with the reason that a worker would have."""
        try:
            event = msgspec.convert(self.shape.apply(row, FIELDS), LoggedAction, strict=False)
        except ValueError as exc:  # msgspec's ValidationError is one
            raise Rejected(*_reason(row, exc)) from None
        return self.checked(event)

    def checked(self, event: LoggedAction) -> LoggedAction:
        """Return the action if its name is known and its time is possible. Raises ``Rejected``."""
        if event.action not in self.vocabulary.action_codes:
            known = ", ".join(self.vocabulary.actions)
            raise Rejected("unknown-action", f"action {event.action!r} is not in the vocabulary ({known})")
        if event.timestamp_ms < MIN_TIME_MS:
            raise Rejected("timestamp", "timestamp_ms is before 1973; if the column holds seconds, pass --time-unit s")
        latest = self.now_ms if event.arrived_ms is None else event.arrived_ms
        if event.timestamp_ms > latest + MAX_AHEAD_MS:
            than = "now" if event.arrived_ms is None else "arrived_ms"
            raise Rejected("timestamp", f"timestamp_ms is more than a day after {than}")
        return event

    def accepts_all(self, events: list[LoggedAction]) -> bool:
        """Return whether ``checked`` would reject none of them."""
        if not {event.action for event in events} <= self.vocabulary.action_codes.keys():
            return False
        times, arrived = _times(events)
        latest = np.where(arrived == UNKNOWN, self.now_ms, arrived) + MAX_AHEAD_MS
        return bool(((times >= MIN_TIME_MS) & (times <= latest)).all())

    def pack(self, events: list[LoggedAction]) -> Arrivals:
        """Pack checked actions."""
        codes, surfaces = self.vocabulary.action_codes, self.vocabulary.surface_codes
        users: list[Id] = [event.user_id for event in events]
        items: list[Id] = [event.item_id for event in events]
        times, arrived = _times(events)
        values = [np.nan if event.value is None else event.value for event in events]
        return pack_columns(
            users,
            items,
            np.array([codes[event.action] for event in events], np.int64),
            times,
            np.array([surfaces.get(event.surface, 0) if event.surface else 0 for event in events], np.int64),
            np.array(values, np.float64),
            np.where(arrived == UNKNOWN, times, arrived),
            user_keys=_keys(users),
        )


def _times(events: list[LoggedAction]) -> tuple[Ints, Ints]:
    times = [event.timestamp_ms for event in events]
    arrived = [UNKNOWN if event.arrived_ms is None else event.arrived_ms for event in events]
    return np.array(times, np.int64), np.array(arrived, np.int64)


def _keys(users: list[Id]) -> list[bytes]:
    """Return the Kafka keys; most users come more than once."""
    keys = {user: id_bytes(user) for user in set(users)}
    return [keys[user] for user in users]


def _reason(row: Row, exc: ValueError) -> tuple[str, str]:
    sentence = str(exc)
    if PROBLEM in row and sentence.startswith("not JSON"):
        return "not-json", sentence
    if sentence.endswith("`$.timestamp_ms`") and f"<= {MAX_TIME_MS}" in sentence:
        sentence = "timestamp_ms is after 2109; if the column holds microseconds, pass --time-unit us"
    return "schema", sentence


@dataclass(frozen=True)
class RowReader:
    """Reads any rows, one at a time: the plain reference for the two fast readers."""

    rows: Iterable[Row]

    def read(self, reading: Reading) -> Iterator[Arrivals]:
        """Yield the arrivals of the rows."""
        events = (event for event in reading.events(self.rows) if event is not None)
        while batch := list(islice(events, BATCH_ROWS)):
            yield reading.pack(batch)


@dataclass(frozen=True)
class JsonReader:
    """Reads a file of JSON lines."""

    path: Path

    def read(self, reading: Reading) -> Iterator[Arrivals]:
        """Yield the arrivals of the lines; blocks of lines as the wire has them are decoded at once."""
        as_on_the_wire = reading.shape == Shape()
        for lines in self._blocks():
            events = _decode_block(lines) if as_on_the_wire else None
            if events is None or not reading.accepts_all(events):
                rows = (json_row(line) for line in lines.split(b"\n") if line.strip())
                events = [event for event in reading.events(rows) if event is not None]
            if events:
                yield reading.pack(events)

    def names(self, shape: Shape) -> tuple[set[str], set[str]]:
        """Return the names of actions and of surfaces that occur."""
        actions: set[str] = set()
        surfaces: set[str] = set()
        for lines in self._blocks():
            for line in lines.split(b"\n"):
                row = json_row(line) if line.strip() else {}
                for name, found in (("action", actions), ("surface", surfaces)):
                    given = shape.constants.get(name) or row.get(shape.column(name))
                    if isinstance(given, str) and given:
                        found.add(given)
        return actions, surfaces

    def rows(self) -> Iterator[Row]:
        """Yield the objects of the lines, as ``json_rows`` does."""
        for lines in self._blocks():
            yield from json_rows(lines.split(b"\n"))

    def _blocks(self) -> Iterator[bytes]:
        try:
            with open_bytes(self.path) as file:
                yield from _whole_lines(file)
        except (OSError, EOFError, zlib.error) as exc:
            raise LogError(f"{self.path} can't be read ({exc}); give a whole file of JSON lines") from exc


def _whole_lines(file: IO[bytes]) -> Iterator[bytes]:
    while block := file.read(LINES_BYTES):
        yield block + file.readline()


def _decode_block(lines: bytes) -> list[LoggedAction] | None:
    """Decode lines at once; None if any is not as the wire has it, and they must be looked at one by one."""
    try:
        return _decode_lines(lines)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
