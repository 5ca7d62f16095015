"""A recorded log, batch by batch in the order that it arrived: what training, replay and every other command read.

::

    a file's rows  ->  Arrivals: keys and packed actions, exactly what a worker's decoder makes of the records
                   ->  skipped: what a worker would reject, counted by the same reasons

An erasure of a user is a row of its own, of code 0 and without an item, for those who ask for them.

``open.open_log`` opens files, ``readers.topic`` a Kafka topic, ``log.event_log_of`` collects the batches as columns.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import repeat
from typing import Any, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from rankstream.events.action_event import (
    FORGET,
    ActionDecoder,
    ActionEvent,
    ErasureEvent,
    Record,
    Rejected,
    decode_erasure,
)
from rankstream.events.column import Packed, joined
from rankstream.events.skipped import Skipped, Where
from rankstream.features.actions import (
    ERASURE,
    ITEM,
    Vocabulary,
    action_time_ms,
    action_type,
    action_words,
    is_erasure,
    value_codes,
)
from rankstream.features.ids import Id, Keys, id_bytes, id_keys

Ints = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

NO_ITEM = ""  # of an erasure
LATE_MS = 60_000  # what happened longer before something that had arrived is late
UNSORTED = 0.05  # share of late rows from which on a log is taken for unsorted

_decode_event = msgspec.json.Decoder(ActionEvent).decode


class LogError(ValueError):
    """A recorded log can't be read; one sentence, with what came, what was wanted and what to do."""


def late(times_ms: Ints, newest_ms: int) -> Bools:
    """Return which rows come after later ones, of those in their order or of ``newest_ms`` before them, ``(n,)``."""
    newest = np.maximum.accumulate(np.append(newest_ms, times_ms))
    return times_ms < newest[:-1] - LATE_MS


@dataclass(frozen=True)
class Arrivals:
    """Actions of a log, in the order that they arrived; columns of n rows.

    Those of ids, keys and packed actions are lists, or ``column.Column``: sequences that make objects only when asked.
    """

    user_ids: Sequence[Id]  # as the log writes them
    item_ids: Sequence[Id]
    user_keys: Sequence[bytes]  # what records are keyed by, and states kept under
    item_keys: Keys  # (n,) uint64
    codes: Ints  # (n,) of the vocabulary's actions, from 1; 0 for an erasure
    times_ms: Ints  # (n,) when it happened, UTC
    surfaces: Ints  # (n,) of the vocabulary's surfaces, 0 for none
    values: Values  # (n,) as the log writes them, NaN for none
    arrived_ms: Ints  # (n,) when the record was produced; times_ms where the log doesn't have it
    packed: Sequence[bytes]  # 16 bytes an action, as ActionDecoder returns them
    offsets: Ints  # (n,) in the log, ascending
    list_ids: list[Id | None] | None = None  # the shown list that each names; None: the log can't name any
    positions: Ints | None = None  # (n,) in that list, as the log counts them; -1 for none
    collection_ids: list[Id | None] | None = None  # that each put its item into; None: the log can't name any

    def __len__(self) -> int:
        return len(self.packed)

    @property
    def erasures(self) -> Bools:
        """Return which rows erase their user, ``(n,)``."""
        erasures: Bools = self.codes == ERASURE
        return erasures

    def without_erasures(self) -> "Arrivals":
        """Return the actions alone."""
        erasures = self.erasures
        return self.taken(np.flatnonzero(~erasures)) if erasures.any() else self

    @property
    def first_offset(self) -> int:
        """Offset of the first action."""
        return int(self.offsets[0])

    def rows(self, which: slice) -> "Arrivals":
        """Return a range of them."""
        return self._each(lambda column: column[which])

    def taken(self, order: Ints) -> "Arrivals":
        """Return these rows in this order; each keeps its offset."""
        return self._each(lambda column: _of_list(column, order) if isinstance(column, list) else column[order])

    def numbered(self, first_offset: int) -> "Arrivals":
        """Return them with consecutive offsets."""
        return replace(self, offsets=np.arange(first_offset, first_offset + len(self), dtype=np.int64))

    def _each(self, change: Callable[[Any], Any]) -> "Arrivals":
        columns: dict[str, Any] = {one.name: getattr(self, one.name) for one in fields(self)}
        columns = {name: None if column is None else change(column) for name, column in columns.items()}
        return Arrivals(**columns)


def _of_list(values: list[Any], order: Ints) -> list[Any]:
    return [values[row] for row in order.tolist()]


def concatenated(parts: Sequence[Arrivals]) -> Arrivals:
    """Return batches as one."""
    if len(parts) == 1:
        return parts[0]
    whole: dict[str, Any] = {}
    for one in fields(Arrivals):
        columns = [getattr(part, one.name) for part in parts]
        if any(column is None for column in columns):
            whole[one.name] = None
        else:
            is_array = isinstance(columns[0], np.ndarray)
            whole[one.name] = np.concatenate(columns) if is_array else joined(columns)
    return Arrivals(**whole)


class RecordedLog(Protocol):
    """What is needed of a log, wherever it is kept."""

    @property
    def name(self) -> str:
        """Its path, or its topic."""
        ...

    @property
    def vocabulary(self) -> Vocabulary:
        """The names of actions and surfaces in the log."""
        ...

    @property
    def skipped(self) -> Skipped:
        """What was skipped, by kind of reason; filled while the log is read."""
        ...

    def checksum(self) -> str:
        """Return the sha256 of what is read."""
        ...

    def batches(self, vocabulary: Vocabulary, erasures: bool = False) -> Iterator[Arrivals]:
        """Read from the start, by the codes of this vocabulary (the bundle's). Raises ``LogError``.

        ``erasures`` are rows too where they are asked for, as of who keeps users' states.
        """
        ...


def pack_columns(
    user_ids: Sequence[Id],
    item_ids: Sequence[Id],
    codes: Ints,
    times_ms: Ints,
    surfaces: Ints,
    values: Values,
    arrived_ms: Ints | None = None,
    *,
    user_keys: Sequence[bytes] | None = None,
    item_keys: Keys | None = None,
    list_ids: list[Id | None] | None = None,
    positions: Ints | None = None,
    collection_ids: list[Id | None] | None = None,
) -> Arrivals:
    """Pack columns of checked actions; negative and infinite values count as missing."""
    if item_keys is None:
        item_keys = id_keys(item_ids)
        item_keys[codes == ERASURE] = 0
    if user_keys is None:
        user_keys = [id_bytes(user) for user in user_ids]
    some = np.isfinite(values) & (values >= 0)
    values = np.where(some, values, np.nan)
    packed = Packed(*action_words(times_ms, codes, item_keys, surfaces, codes_of_values(values)))
    arrived_ms = times_ms if arrived_ms is None else arrived_ms
    offsets = np.arange(len(packed), dtype=np.int64)
    return Arrivals(
        user_ids, item_ids, user_keys, item_keys, codes, times_ms, surfaces, values, arrived_ms, packed, offsets,
        list_ids, positions, collection_ids,
    )  # fmt: skip


def events_of(arrivals: Arrivals, vocabulary: Vocabulary) -> Iterator[ActionEvent | ErasureEvent]:
    """Return the actions and erasures as the wire writes them: what ``arrivals_of`` decodes to these arrivals again."""
    actions, surfaces = ("", *vocabulary.actions), (None, *vocabulary.surfaces)
    events = map(  # columns in, so that no event takes a step of Python
        ActionEvent,
        arrivals.user_ids,
        arrivals.item_ids,
        [actions[code] for code in arrivals.codes.tolist()],
        arrivals.times_ms.tolist(),
        [surfaces[code] for code in arrivals.surfaces.tolist()],
        [None if value != value else value for value in arrivals.values.tolist()],
        arrivals.list_ids or repeat(None),
        arrivals.collection_ids or repeat(None),
    )
    if not arrivals.erasures.any():
        return events
    return (
        ErasureEvent(event.user_id, FORGET, event.timestamp_ms) if is_erased else event
        for event, is_erased in zip(events, arrivals.erasures.tolist(), strict=True)
    )


def codes_of_values(values: Values) -> Ints:
    """Return the 8-bit codes of values ``(n,)``, 0 for NaN."""
    codes, some = np.zeros(len(values), np.int64), np.flatnonzero(~np.isnan(values))
    codes[some] = value_codes(values[some])
    return codes


def _arrived_ms(record: Record, event: ActionEvent) -> int:
    """Return when a record was produced; when its action happened where it does not say."""
    return record.timestamp if record.timestamp >= 0 else event.timestamp_ms


def _event_of(record: Record, packed: bytes) -> ActionEvent:
    """Return the event of a record that was decoded to these bytes; of an erasure with what stands for an item."""
    if is_erasure(packed):
        erasure = decode_erasure(record.value or b"")
        return ActionEvent(erasure.user_id, NO_ITEM, erasure.action, erasure.timestamp_ms)
    return _decode_event(record.value or b"")


def arrivals_of(records: Iterable[Record], vocabulary: Vocabulary, skipped: Skipped) -> Arrivals:
    """Decode records one by one, as a worker does, erasures too.

    This is how topics are read, and what the readers of files are tested against.
    """
    decode = ActionDecoder(vocabulary)
    events: list[ActionEvent] = []
    kept: list[Record] = []
    packed: list[bytes] = []
    for record in records:
        try:
            packed.append(decode(record))
        except Rejected as why:
            skipped.reject(why, Where(f"{record.topic}, partition {record.partition}", "offset", record.offset))
            continue
        events.append(_event_of(record, packed[-1]))
        kept.append(record)
    return Arrivals(
        [event.user_id for event in events],
        [event.item_id for event in events],
        [record.key or b"" for record in kept],
        np.array([int.from_bytes(one[ITEM], "big") for one in packed], np.uint64),
        np.array([action_type(one) for one in packed], np.int64),
        np.array([action_time_ms(one) for one in packed], np.int64),
        np.array([vocabulary.surface_codes.get(event.surface or "", 0) for event in events], np.int64),
        np.array([np.nan if event.value is None else event.value for event in events], np.float64),
        np.array([_arrived_ms(*both) for both in zip(kept, events, strict=True)], np.int64),
        packed,
        np.array([record.offset for record in kept], np.int64),
        [event.list_id for event in events],
        collection_ids=[event.collection_id for event in events],
    )
