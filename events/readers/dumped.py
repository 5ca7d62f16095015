"""Records of topics as files, as ``rankstream topics dump`` writes them; those of user-actions are a log.

::

    {"partition": 3, "offset": 17, "timestamp_ms": ..., "key": "u1", "value": {"user_id": "u1", "action": "save", ...}}

Actions are decoded as a worker does. ``shown_lists.py`` reads the topics that say what was shown; their values may also
lie in a file without what the dump adds, one a line.
"""

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
from msgspec import UNSET, Struct

from rankstream.events.action_event import Recorded
from rankstream.events.arrivals import Arrivals, LogError, arrivals_of
from rankstream.events.dumps import DumpError, record_of
from rankstream.events.readers.json_lines import BATCH_ROWS, Reading
from rankstream.events.readers.rows import Row, Shape, json_row
from rankstream.events.readers.text import Layout
from rankstream.events.readers.unpacked import NOT_WHOLE, open_bytes
from rankstream.features.decoding import UNREADABLE

USER_ACTIONS, RANKED_FEEDS, IMPRESSIONS = "user-actions", "ranked-feeds", "impressions"
OF_LISTS = (RANKED_FEEDS, IMPRESSIONS)  # topics that say what was shown
OTHER = "other"
LOOKED_AT = 20  # first lines, of which the first that can be read tells the topic
ADDED = frozenset({"partition", "offset", "timestamp_ms"})  # by the dump, to each value
VALUE = frozenset({"value", "value_base64"})
TELLING = frozenset({"ranked_at_ms", "item_ids"})  # fields of what says what was shown, a list a line


class _Told(Struct):
    """The fields that tell which topic a value is of."""

    action: Any = UNSET
    ranked_at_ms: Any = UNSET
    item_ids: Any = UNSET

    @property
    def topic(self) -> str:
        """The topic."""
        if self.ranked_at_ms is not UNSET:
            return RANKED_FEEDS
        if self.item_ids is not UNSET:
            return IMPRESSIONS
        return OTHER if self.action is UNSET else USER_ACTIONS


class _Names(Struct):
    action: str
    surface: str | None = None


_told = msgspec.json.Decoder(_Told).decode
_names = msgspec.json.Decoder(_Names).decode


def topic_of(layout: Layout) -> str | None:
    """Return the topic whose records a file holds, by its first lines; None if they are no records."""
    if layout.type != "json" or not (_is_dump(layout) or TELLING & set(layout.columns)):
        return None
    with closing(_lines(layout.path)) as lines:
        for line in islice(lines, LOOKED_AT):
            try:
                return _told(_recorded(line, layout).value or b"").topic
            except (DumpError, *UNREADABLE):
                continue
    return OTHER


def records_of(layout: Layout, reading: Reading | None = None) -> Iterator[tuple[int, Recorded]]:
    """Yield the records with the numbers of their lines, from 1; lines that are none are counted.

    Raises ``LogError`` for a file that is not whole.
    """
    for number, line in enumerate(_lines(layout.path), 1):
        if not line.strip():
            continue
        try:
            yield number, _recorded(line, layout)
        except DumpError as exc:
            if reading is not None:
                reading.skipped.add("schema: no record of a dump", str(exc), reading.where(number))


def _lines(path: Path) -> Generator[bytes, None, None]:
    try:
        with open_bytes(path) as file:
            yield from file
    except NOT_WHOLE as exc:
        raise LogError(f"{path} can't be read on ({exc}); give a whole file of records") from exc


def rows_of_records(layout: Layout) -> Generator[Row, None, None]:
    """Yield the values as they lie in the file."""
    for _, record in records_of(layout):
        yield json_row(record.value or b"")


def _is_dump(layout: Layout) -> bool:
    columns = set(layout.columns)
    return columns >= ADDED and not VALUE.isdisjoint(columns) and "user_id" not in columns


def _recorded(line: bytes, layout: Layout) -> Recorded:
    """Return the record of a line; a value without what a dump adds has no key and no time. Raises ``DumpError``."""
    name = str(layout.path)
    return record_of(line, name) if _is_dump(layout) else Recorded(name, 0, 0, -1, None, line)


@dataclass(frozen=True)
class ActionReader:
    """Reads user-actions, as a worker decodes their records."""

    layout: Layout

    def read(self, reading: Reading) -> Iterator[Arrivals]:
        """Yield the arrivals, in batches."""
        records = (record for _, record in records_of(self.layout, reading.of(self.layout.path, "line")))
        while batch := list(islice(records, BATCH_ROWS)):
            arrivals = arrivals_of(batch, reading.vocabulary, reading.skipped)
            if len(arrivals):
                yield arrivals

    def names(self, shape: Shape) -> tuple[set[str], set[str]]:
        """Return the names of actions and of surfaces that occur."""
        actions, surfaces = set[str](), set[str]()
        for _, record in records_of(self.layout):
            try:
                found = _names(record.value or b"")
            except UNREADABLE:
                continue
            actions.add(found.action)
            surfaces.update([found.surface] if found.surface else [])
        return actions, surfaces

    def rows(self) -> Generator[Row, None, None]:
        """Yield the actions as they lie in the file."""
        yield from rows_of_records(self.layout)
