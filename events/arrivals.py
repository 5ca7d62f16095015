"""A recorded log as replay reads it: batches of actions in the order that they arrived.

::

    a file's rows  ->  Arrivals: keys and packed actions, exactly what a worker's decoder makes of the records
                   ->  skipped: what a worker would reject, counted by the same reasons

Readers of files are beside this one (``open.open_log`` chooses); a Kafka topic is handed in as records.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import chain
from typing import Any, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from rankstream.events.action_event import ActionDecoder, ActionEvent, Record, Rejected
from rankstream.features.actions import ACTION_BYTES, Vocabulary, action_time_ms, pack_actions
from rankstream.features.ids import Id, Keys, id_bytes, id_keys

Whole = npt.NDArray[np.int64]

MAX_SENTENCES = 100  # distinct reasons kept: a log of nothing but garbage must not fill memory


class LogError(ValueError):
    """A recorded log can't be read; one sentence, which says what came, what was wanted and what to do."""


@dataclass(frozen=True)
class Arrivals:
    """Actions of a log, in the order that they arrived; columns of n rows."""

    user_ids: list[Id]  # as the log writes them
    item_ids: list[Id]
    user_keys: list[bytes]  # what records are keyed by, and states kept under
    item_keys: Keys  # (n,) uint64
    codes: Whole  # (n,) of the vocabulary's actions, from 1
    times_ms: Whole  # (n,) when it happened, UTC
    arrived_ms: Whole  # (n,) when the record was produced; times_ms where the log doesn't say
    packed: list[bytes]  # 16 bytes an action, as ActionDecoder gives them
    offsets: Whole  # (n,) places in the log, ascending

    def __len__(self) -> int:
        return len(self.packed)

    @property
    def first_offset(self) -> int:
        """Offset of the first action."""
        return int(self.offsets[0])

    def rows(self, which: slice) -> "Arrivals":
        """Return a stretch of them."""
        return self._each(lambda column: column[which])

    def taken(self, order: Whole) -> "Arrivals":
        """Return these rows in this order; offsets are taken along."""
        places = order.tolist()
        return self._each(lambda column: [column[at] for at in places] if isinstance(column, list) else column[order])

    def numbered(self, first_offset: int) -> "Arrivals":
        """Return them with consecutive offsets."""
        return replace(self, offsets=np.arange(first_offset, first_offset + len(self), dtype=np.int64))

    def _each(self, change: Callable[[Any], Any]) -> "Arrivals":
        columns: dict[str, Any] = {one.name: change(getattr(self, one.name)) for one in fields(self)}
        return Arrivals(**columns)


def joined(parts: Sequence[Arrivals]) -> Arrivals:
    """Put batches behind one another."""
    if len(parts) == 1:
        return parts[0]
    whole: dict[str, Any] = {}
    for one in fields(Arrivals):
        columns = [getattr(part, one.name) for part in parts]
        lists = isinstance(columns[0], list)
        whole[one.name] = list(chain.from_iterable(columns)) if lists else np.concatenate(columns)
    return Arrivals(**whole)


class RecordedLog(Protocol):
    """What replay needs of a log, wherever it is kept."""

    @property
    def name(self) -> str:
        """What people call it: a path, a topic."""
        ...

    @property
    def vocabulary(self) -> Vocabulary:
        """The names of actions and surfaces in the log."""
        ...

    @property
    def skipped(self) -> Counter[str]:
        """How many rows were skipped by reason, "reason: sentence"; filled while the log is read."""
        ...

    def checksum(self) -> str:
        """Return the sha256 of what is read."""
        ...

    def batches(self, vocabulary: Vocabulary) -> Iterator[Arrivals]:
        """Read from the start, by the codes of this vocabulary (the bundle's). Raises ``LogError``."""
        ...


def skip(skipped: Counter[str], why: Rejected, count: int = 1) -> None:
    """Count rows that a worker would reject."""
    sentence = f"{why.reason}: {why}"
    if sentence not in skipped and len(skipped) >= MAX_SENTENCES:
        sentence = f"{why.reason}: other sentences than the first {MAX_SENTENCES}"
    skipped[sentence] += count


def pack_columns(
    user_ids: list[Id],
    item_ids: list[Id],
    codes: Whole,
    times_ms: Whole,
    surfaces: Whole,
    values: Whole,
    arrived_ms: Whole | None = None,
    *,
    user_keys: list[bytes] | None = None,
    item_keys: Keys | None = None,
) -> Arrivals:
    """Pack columns of checked actions; ``surfaces`` and ``values`` are codes."""
    if item_keys is None:
        item_keys = id_keys(item_ids)
    if user_keys is None:
        user_keys = [id_bytes(user) for user in user_ids]
    packed = pack_actions(times_ms, codes, item_keys, surfaces, values)
    cut: list[bytes] = np.frombuffer(packed, f"V{ACTION_BYTES}").tolist()
    arrived_ms = times_ms if arrived_ms is None else arrived_ms
    offsets = np.arange(len(cut), dtype=np.int64)
    return Arrivals(user_ids, item_ids, user_keys, item_keys, codes, times_ms, arrived_ms, cut, offsets)


def arrivals_of(records: Iterable[Record], vocabulary: Vocabulary, skipped: Counter[str]) -> Arrivals:
    """Decode records as a worker does, one by one: the road of Kafka topics, and what file readers are held to."""
    decode = ActionDecoder(vocabulary)
    events: list[ActionEvent] = []
    kept: list[Record] = []
    packed: list[bytes] = []
    for record in records:
        try:
            packed.append(decode(record))
        except Rejected as why:
            skip(skipped, why)
            continue
        events.append(_decode_event(record.value or b""))
        kept.append(record)
    return Arrivals(
        [event.user_id for event in events],
        [event.item_id for event in events],
        [record.key or b"" for record in kept],
        id_keys([event.item_id for event in events]),
        np.array([vocabulary.action_codes[event.action] for event in events], np.int64),
        np.array([action_time_ms(one) for one in packed], np.int64),
        np.array([record.timestamp for record in kept], np.int64),
        packed,
        np.array([record.offset for record in kept], np.int64),
    )


_decode_event = msgspec.json.Decoder(ActionEvent).decode
