"""Rows and JSON lines to arrivals: plainly, a row at a time, and fast, for lines as the wire has them.

A row is read as ``rankstream produce`` would send it and a worker would decode it; what either would refuse is skipped
and counted with the worker's reason.
"""

import re
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count, islice, repeat
from pathlib import Path
from typing import IO, Annotated, TypeVar

import msgspec
import numpy as np
from msgspec import Meta

from rankstream.events.action_event import (
    FORGET,
    MAX_AHEAD_MS,
    MIN_TIME_MS,
    ActionEvent,
    ErasureEvent,
    Rejected,
    TimeMs,
)
from rankstream.events.arrivals import NO_ITEM, Arrivals, Ints, LogError, Values, pack_columns
from rankstream.events.readers.dates import NotATimeError, day_of
from rankstream.events.readers.nested import nested, of_an_object
from rankstream.events.readers.rows import PROBLEM, RAGGED, Row, Shape, json_row
from rankstream.events.readers.times import TIMES
from rankstream.events.readers.unpacked import NOT_WHOLE, open_bytes
from rankstream.events.skipped import Skipped, Where, shown
from rankstream.features.actions import ERASURE, Vocabulary
from rankstream.features.decoding import MAX_DEPTH, UNREADABLE, is_too_deep
from rankstream.features.ids import Id, id_bytes

BATCH_ROWS = 65_536  # rows read at once, which bounds memory
LINES_BYTES = 6 << 20  # bytes of lines read at once: about as many rows
S = TypeVar("S", bound=msgspec.Struct)
UNKNOWN = -1  # arrived_ms where the log doesn't have it
INFINITE = "value: infinite, read as none"
UNKNOWN_SURFACE = "surface: not in the vocabulary, read as none"


class LoggedAction(ActionEvent, gc=False, frozen=True, omit_defaults=True):
    """An action, and when its record was produced where the log has it."""

    arrived_ms: TimeMs | None = None


class ListedAction(LoggedAction, gc=False, frozen=True, omit_defaults=True):
    """An action or an impression, and its position in the shown list that it is of, where the log has it."""

    position: Annotated[int, Meta(ge=0)] | None = None


class LoggedErasure(ErasureEvent, gc=False, frozen=True, omit_defaults=True):
    """An erasure, and when its record was produced where the log has it."""

    arrived_ms: TimeMs | None = None


FIELDS = LoggedAction.__struct_fields__
LIST_FIELDS = ("list_id", "position")
LISTED_FIELDS = ListedAction.__struct_fields__  # of a log that says what was shown
TOO_EARLY = "before 1973"  # a kind of reason
NEEDED = ("user_id", "item_id", "action", "timestamp_ms")

_decode_lines = msgspec.json.Decoder(LoggedAction).decode_lines
_decode_listed: Callable[[bytes], list[ListedAction]] = msgspec.json.Decoder(ListedAction).decode_lines


@dataclass(frozen=True)
class Reading:
    """How one pass over a log reads rows, and where it counts those that it skips."""

    vocabulary: Vocabulary
    shape: Shape
    now_ms: int  # times more than a day later are rejected
    skipped: Skipped
    file: str = ""  # that is being read
    counted_in: str = "row"  # or "line"
    positions: bool = False  # are the positions of rows in shown lists read too?

    def of(self, file: Path, counted_in: str = "row") -> "Reading":
        """Return the reading of one file."""
        return replace(self, file=str(file), counted_in=counted_in)

    def where(self, number: int | None = None) -> Where | None:
        """Return where the row or line of a number lies."""
        return Where(self.file, self.counted_in, number) if self.file else None

    def events(self, rows: Iterable[Row], numbers: Iterable[int | None] | None = None) -> Iterator[LoggedAction | None]:
        """Yield each row's action; None for those that are skipped, which are counted.

        ``numbers`` are those of the rows in their file, from 1.
        """
        for row, number in zip(rows, repeat(None) if numbers is None else numbers, strict=False):
            try:
                yield self.event(row)
            except Rejected as why:
                self.skipped.reject(why, self.where(number))
                yield None

    def event(self, row: Row) -> LoggedAction:
        """Return a row's action, or erasure. Raises ``Rejected`` with the reason that a worker would have."""
        kind = ListedAction if self.positions else LoggedAction
        try:
            event = self.converted(row, kind)
        except Rejected as why:
            erasure = self.erasure(row, why)
            return kind(erasure.user_id, NO_ITEM, FORGET, erasure.timestamp_ms, arrived_ms=erasure.arrived_ms)
        if event.action not in self.vocabulary.action_codes:
            known = ", ".join(self.vocabulary.actions)
            raise Rejected("unknown-action", f"action {shown(event.action)} is not in the vocabulary ({known})")
        self.check_time(row, event.timestamp_ms, event.arrived_ms)
        return event

    def erasure(self, row: Row, why_not: Rejected) -> LoggedErasure:
        """Return the erasure of a row that is no action. Raises ``Rejected``, by why it is none, for all others."""
        if PROBLEM in row or row.get(self.shape.column("action")) != FORGET:
            raise why_not
        try:
            event = self.converted(row, LoggedErasure)
        except Rejected:
            raise why_not from None
        self.check_time(row, event.timestamp_ms, event.arrived_ms)
        return event

    def converted(self, row: Row, kind: type[S]) -> S:
        """Return a row as the wire's structure of this kind. Raises ``Rejected``."""
        try:
            return msgspec.convert(self.shape.apply(row, kind.__struct_fields__), kind, strict=False)
        except NotATimeError as exc:
            raise Rejected("schema", f"{exc}{self._times_within(row)}", "a time that can't be read") from None
        except ValueError as exc:  # msgspec's ValidationError is one
            raise self._rejection(row, str(exc)) from None

    def check_time(self, row: Row, at_ms: int, arrived_ms: int | None = None) -> None:
        """Raise ``Rejected`` if a row's time is not possible."""
        if at_ms < MIN_TIME_MS:
            raise Rejected("timestamp", f"{self._came(row, 'timestamp_ms')}, read as {day_of(at_ms)}", TOO_EARLY)
        latest_ms = self.now_ms if arrived_ms is None else arrived_ms
        if at_ms > latest_ms + MAX_AHEAD_MS:
            sentence, than = f"{self._came(row, 'timestamp_ms')}, read as {day_of(at_ms)}", "now"
            if arrived_ms is not None:
                sentence, than = f"{sentence}, and {self._came(row, 'arrived_ms')}", "arrived_ms"
            raise Rejected("timestamp", sentence, f"more than a day after {than}")

    def _came(self, row: Row, name: str) -> str:
        """Return what a field holds, by the name of its column."""
        column = name if name in self.shape.constants else self.shape.column(name)
        return f"{column} is {shown(self.shape.constants.get(name, row.get(column)))}"

    def _rejection(self, row: Row, sentence: str) -> Rejected:
        """Return the rejection of a row that is not of the schema, by msgspec's sentence."""
        if PROBLEM in row:
            return problem(sentence)
        wrong, _, path = sentence.partition(" - at `$.")
        if missing := re.search(r"missing required field `(\w+)`", wrong):
            there = self.shape.column(missing[1]) in row
            came = self._came(row, missing[1]) if there else f"there is no {self.shape.column(missing[1])}"
            return Rejected("schema", came + ("" if there else self._deeper(row, missing[1])), f"no {missing[1]}")
        name = re.split(r"\W", path)[0]
        if name in TIMES:
            return Rejected("schema", self._came(row, name), f"{name} not from 1970 to 2109")
        inner = of_an_object(name, self.shape.column(name), row.get(self.shape.column(name)))
        return Rejected("schema", f"{self._came(row, name)}: {wrong}{inner}", f"{name} is wrong")

    def _times_within(self, row: Row) -> str:
        columns = {name: self.shape.column(name) for name in TIMES}
        return next(filter(None, (of_an_object(name, one, row.get(one)) for name, one in columns.items())), "")

    def _deeper(self, row: Row, name: str) -> str:
        """Return where a missing field, and others that are missing too, may lie deeper in a row."""
        missing = [one for one in NEEDED if one not in self.shape.constants and self.shape.column(one) not in row]
        return nested(row, name, [one for one in missing if one != name])

    def accepts_all(self, events: Sequence[LoggedAction]) -> bool:
        """Return whether ``event`` would reject none of their rows."""
        if not {event.action for event in events} <= self.vocabulary.action_codes.keys():
            return False
        times, arrived = _times(events)
        latest = np.where(arrived == UNKNOWN, self.now_ms, arrived) + MAX_AHEAD_MS
        return bool(((times >= MIN_TIME_MS) & (times <= latest)).all())

    def pack(self, events: Sequence[LoggedAction]) -> Arrivals:
        """Pack checked actions."""
        codes, surfaces = self.vocabulary.action_codes, self.vocabulary.surface_codes
        users: list[Id] = [event.user_id for event in events]
        items: list[Id] = [event.item_id for event in events]
        times, arrived = _times(events)
        values = np.array([np.nan if event.value is None else event.value for event in events], np.float64)
        self._count_lost(events, values)
        listed = [event for event in events if isinstance(event, ListedAction)]
        return pack_columns(
            users,
            items,
            np.array([codes[one.action] if one.item_id != NO_ITEM else ERASURE for one in events], np.int64),
            times,
            np.array([surfaces.get(event.surface, 0) if event.surface else 0 for event in events], np.int64),
            values,
            np.where(arrived == UNKNOWN, times, arrived),
            user_keys=_keys(users),
            list_ids=[event.list_id for event in events],
            collection_ids=[event.collection_id for event in events],
            positions=_positions(listed) if self.positions else None,
        )

    def _count_lost(self, events: Sequence[LoggedAction], values: Values) -> None:
        """Count surfaces and values that a packed action can't have."""
        infinite = np.isinf(values)
        if infinite.any():
            self.skipped.ignore(INFINITE, "value is inf", self.where(), int(infinite.sum()))
        known = self.vocabulary.surface_codes
        if {event.surface for event in events} <= {None, *known}:
            return
        unknown = [event.surface for event in events if event.surface and event.surface not in known]
        self.skipped.ignore(UNKNOWN_SURFACE, f"surface is {shown(unknown[0])}", self.where(), len(unknown))


def problem(sentence: str) -> Rejected:
    """Return the rejection of a row that holds nothing but what is wrong with it (``rows.PROBLEM``)."""
    if sentence.startswith("not JSON"):
        return Rejected("not-json", sentence)
    kinds = {RAGGED: "ragged row", "not a JSON object": "no JSON object"}
    kind = next((kind for start, kind in kinds.items() if sentence.startswith(start)), "a line that can't be read")
    return Rejected("schema", sentence, kind)


def _times(events: Sequence[LoggedAction]) -> tuple[Ints, Ints]:
    times = [event.timestamp_ms for event in events]
    arrived = [UNKNOWN if event.arrived_ms is None else event.arrived_ms for event in events]
    return np.array(times, np.int64), np.array(arrived, np.int64)


def _positions(events: Sequence[ListedAction]) -> Ints:
    return np.array([-1 if event.position is None else event.position for event in events], np.int64)


def _keys(users: list[Id]) -> list[bytes]:
    """Return the Kafka keys; most users come more than once."""
    keys = {user: id_bytes(user) for user in set(users)}
    return [keys[user] for user in users]


@dataclass(frozen=True)
class RowReader:
    """Reads any rows, one at a time: the plain reference for the two fast readers."""

    rows: Iterable[Row]

    def read(self, reading: Reading) -> Iterator[Arrivals]:
        """Yield the arrivals of the rows."""
        events = (event for event in reading.events(self.rows, count(1)) if event is not None)
        while batch := list(islice(events, BATCH_ROWS)):
            yield reading.pack(batch)


@dataclass(frozen=True)
class JsonReader:
    """Reads a file of JSON lines; ``whole`` brings on top of a row what of it is read."""

    path: Path
    whole: Callable[[Row], Row] | None = None

    def read(self, reading: Reading) -> Iterator[Arrivals]:
        """Yield the arrivals of the lines; blocks of lines as the wire has them are decoded at once."""
        as_on_the_wire, reading, first = reading.shape == Shape(), reading.of(self.path, "line"), 1
        for block in self._blocks():
            events = _decode_block(block, reading.positions) if as_on_the_wire else None
            if events is None or not reading.accepts_all(events):
                lines = [(number, line) for number, line in enumerate(block.split(b"\n"), first) if line.strip()]
                rows, numbers = (self._row(line) for _, line in lines), (number for number, _ in lines)
                events = [event for event in reading.events(rows, numbers) if event is not None]
            if events:
                yield reading.pack(events)
            first += block.count(b"\n")

    def names(self, shape: Shape) -> tuple[set[str], set[str]]:
        """Return the names of actions and of surfaces that occur."""
        actions: set[str] = set()
        surfaces: set[str] = set()
        as_on_the_wire = shape == Shape()
        for lines in self._blocks():
            events = _decode_block(lines, positions=False) if as_on_the_wire else None
            if events is not None:
                actions.update({event.action for event in events})
                surfaces.update({event.surface for event in events if event.surface})
                continue
            for line in lines.split(b"\n"):
                row = self._row(line) if line.strip() else {}
                for name, found in (("action", actions), ("surface", surfaces)):
                    given = shape.constants.get(name) or row.get(shape.column(name))
                    if isinstance(given, str) and given:
                        found.add(given)
        return actions, surfaces

    def rows(self) -> Generator[Row, None, None]:
        """Yield the objects of the lines, as ``json_rows`` does."""
        for lines in self._blocks():
            yield from (self._row(line) for line in lines.split(b"\n") if line.strip())

    def _row(self, line: bytes) -> Row:
        row = json_row(line)
        return row if self.whole is None else self.whole(row)

    def _blocks(self) -> Iterator[bytes]:
        try:
            with open_bytes(self.path) as file:
                yield from _whole_lines(file)
        except NOT_WHOLE as exc:
            raise LogError(f"{self.path} can't be read ({exc}); give a whole file of JSON lines") from exc


def _whole_lines(file: IO[bytes]) -> Iterator[bytes]:
    while block := file.read(LINES_BYTES):
        yield block + file.readline()


def _decode_block(lines: bytes, positions: bool) -> Sequence[LoggedAction] | None:
    """Decode lines at once; None if any is not as the wire has it, and they must be looked at one by one."""
    try:
        events = _decode_listed(lines) if positions else _decode_lines(lines)
    except UNREADABLE:
        return None
    return None if _some_too_deep(lines, len(events)) or len(events) != _line_count(lines, len(events)) else events


def _line_count(lines: bytes, expected: int) -> int:
    """Return how many lines are not empty: msgspec takes several objects on one for as many lines."""
    count = lines.count(b"\n") + (not lines.endswith(b"\n"))
    return count if count == expected else sum(bool(line.strip()) for line in lines.split(b"\n"))


def _some_too_deep(lines: bytes, count: int) -> bool:
    """Return whether brackets of any of ``count`` objects are too deep; most have one pair each, no search."""
    brackets = lines.count(b"{") + (lines.count(b"[") if b"[" in lines else 0)
    return brackets - count >= MAX_DEPTH and any(map(is_too_deep, lines.split(b"\n")))
