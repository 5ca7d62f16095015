"""What users were shown, a list a record: feeds that rankstream served, and the topic impressions.

::

    {"request_id": "r1", "user_id": "u", "ranked_at_ms": 5, "items": [{"item_id": "a", ...}, {"item_id": "b", ...}]}

    {"list_id": "r1", "user_id": "u", "timestamp_ms": 5, "item_ids": ["a", "b"]}

    user u, item a, list r1, position 0, time 5          both become rows of impressions, as other files hold them
    user u, item b, list r1, position 1, time 5

A request that was answered with an error showed nothing, and a list that came twice was shown once. Scores and
propensities are not read.
"""

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field

import msgspec
import numpy as np
from msgspec import Struct

from rankstream.events.action_event import Name, Record, Rejected, TimeMs, WireId, decoded
from rankstream.events.arrivals import Arrivals, pack_columns
from rankstream.events.impression_event import ImpressionEvent, check_record, decode_impressions
from rankstream.events.readers.dumped import IMPRESSIONS, RANKED_FEEDS, records_of, rows_of_records
from rankstream.events.readers.json_lines import BATCH_ROWS, UNKNOWN_SURFACE, Reading
from rankstream.events.readers.rows import Row, Shape
from rankstream.events.readers.text import Layout
from rankstream.events.skipped import shown
from rankstream.features.ids import Id, id_bytes, id_key

MAX_FEED_BYTES = 16 << 20
NO_FEED = "an answer with an error, which showed nothing"
EMPTY = "a feed without items"
TWICE = "a list that came again"


class _Item(Struct):
    item_id: WireId


class _Error(Struct):
    reason: str


class _Feed(Struct):
    """What of a ranked feed says what was shown (``streams.codec.RankedFeed``)."""

    request_id: WireId
    user_id: WireId
    ranked_at_ms: TimeMs
    items: tuple[_Item, ...] = ()
    surface: Name | None = None
    error: _Error | None = None


_decode_feed: Callable[[bytes], _Feed] = msgspec.json.Decoder(_Feed).decode


class NothingShown(Exception):
    """A sound record that shows nothing; ``kind`` is what it is counted by, the message has the facts."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def list_of_feed(record: Record, now_ms: int) -> ImpressionEvent:
    """Return the list of a ranked feed's record. Raises ``Rejected``, and ``NothingShown``."""
    feed = decoded(record.value, _decode_feed, MAX_FEED_BYTES, "a ranked feed")
    check_record(record, feed.user_id, "ranked_at_ms", feed.ranked_at_ms, now_ms)
    if not feed.items:
        why = "no items" if feed.error is None else feed.error.reason
        raise NothingShown(EMPTY if feed.error is None else NO_FEED, f"request {feed.request_id}: {why}")
    items = tuple(item.item_id for item in feed.items)
    return ImpressionEvent(feed.request_id, feed.user_id, items, feed.ranked_at_ms, feed.surface)


DECODERS = {RANKED_FEEDS: list_of_feed, IMPRESSIONS: decode_impressions}


@dataclass
class _Rows:
    """Impressions that are collected for a batch."""

    user_ids: list[Id] = field(default_factory=list)
    user_keys: list[bytes] = field(default_factory=list)
    item_ids: list[Id] = field(default_factory=list)
    list_ids: list[Id | None] = field(default_factory=list)
    times_ms: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    surfaces: list[int] = field(default_factory=list)

    def add(self, one: ImpressionEvent, surface: int) -> None:
        count = len(one.item_ids)
        self.user_ids += [one.user_id] * count
        self.user_keys += [id_bytes(one.user_id)] * count
        self.item_ids += one.item_ids
        self.list_ids += [one.list_id] * count
        self.times_ms += [one.timestamp_ms] * count
        self.surfaces += [surface] * count
        self.positions += range(count)

    def packed(self, code: int) -> Arrivals:
        count = len(self.item_ids)
        return pack_columns(
            self.user_ids, self.item_ids, np.full(count, code), np.array(self.times_ms, np.int64),
            np.array(self.surfaces, np.int64), np.full(count, np.nan), user_keys=self.user_keys, list_ids=self.list_ids,
            positions=np.array(self.positions, np.int64),
        )  # fmt: skip


@dataclass(frozen=True)
class ListReader:
    """Reads a file of lists; all rows have the one action that the shape names."""

    layout: Layout
    topic: str  # whose records they are

    def read(self, reading: Reading) -> Iterator[Arrivals]:
        """Yield the items of lists as arrivals, in batches; lists are whole."""
        code = reading.vocabulary.action_codes[reading.shape.constants["action"]]
        known = reading.vocabulary.surface_codes
        rows, reading = _Rows(), reading.of(self.layout.path, "line")
        for number, one in self._lists(reading):
            if one.surface is not None and one.surface not in known:
                reading.skipped.ignore(UNKNOWN_SURFACE, f"surface is {shown(one.surface)}", reading.where(number))
            rows.add(one, known.get(one.surface or "", 0))
            if len(rows.item_ids) >= BATCH_ROWS:
                yield rows.packed(code)
                rows = _Rows()
        if rows.item_ids:
            yield rows.packed(code)

    def _lists(self, reading: Reading) -> Iterator[tuple[int, ImpressionEvent]]:
        """Yield the lists with the numbers of their lines, each list once, and count what is left out."""
        known: set[tuple[int, int]] = set()
        decode = DECODERS[self.topic]
        for number, record in records_of(self.layout, reading):
            try:
                one = decode(record, reading.now_ms)
            except Rejected as why:
                reading.skipped.reject(why, reading.where(number))
                continue
            except NothingShown as why:
                reading.skipped.ignore(why.kind, str(why), reading.where(number))
                continue
            keys = id_key(one.user_id), id_key(one.list_id)
            if keys in known:
                reading.skipped.ignore(TWICE, f"list {one.list_id}", reading.where(number))
                continue
            known.add(keys)
            yield number, one

    def names(self, shape: Shape) -> tuple[set[str], set[str]]:
        """Return the one action, and the surfaces that occur."""
        surfaces = set[str]()
        for row in self.rows():
            if isinstance(surface := row.get("surface"), str) and surface:
                surfaces.add(surface)
        return {shape.constants["action"]}, surfaces

    def rows(self) -> Generator[Row, None, None]:
        """Yield the records as they lie in the file."""
        yield from rows_of_records(self.layout)
