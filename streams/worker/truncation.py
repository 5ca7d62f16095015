"""Records that a topic loses while it is served: an unclean election of a leader, a disk set back.

The log is shorter then, and new records take the offsets of lost ones. A worker that reads on takes those below its
position for processed already, and passes over them in silence. So what was processed last is compared with what the
topic holds: every while, and before anything is processed that may stand behind a cut. That is what a later leader
wrote than the one known (KIP-320's epochs: no log is cut without a new one), or where reading went back by itself, as
aiokafka does where its position lies behind the end.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from aiokafka import TopicPartition
from faust.types import TP

from rankstream.events.action_event import Unread
from rankstream.features.user_state import NO_OFFSET
from rankstream.streams.settings import Settings
from rankstream.streams.worker.checkpoint import Cursor
from rankstream.streams.worker.chunks import Chunk
from rankstream.streams.worker.offsets import Bounds, bounds_of, reader, records_at
from rankstream.streams.worker.source import Source
from rankstream.streams.worker.unpacking import NO_EPOCH


@dataclass(frozen=True)
class Cut:
    """A source partition that has lost records that were processed."""

    position: int  # what lies before it was processed
    end: int  # of the topic now
    replaced: int | None  # the offset of the last record processed; another one stands there now, or behind it

    def __str__(self) -> str:
        """Return what shows it."""
        if self.replaced is None:
            return f"it ends at offset {self.end}, and all before {self.position} were processed"
        return f"another record stands at offset {self.replaced}, or right behind it, than the one that was processed"


class CutWatch:
    """Up to which leaders' epochs partitions were compared, and the comparison."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._compared: dict[TP, int] = {}  # the epoch of the leader at that time

    def compared(self, tp: TP, leader_epoch: int) -> None:
        """Note that a partition held all that was processed when it had this leader."""
        self._compared[tp] = max(leader_epoch, self._compared.get(tp, NO_EPOCH))

    def is_in_doubt(self, chunk: Chunk, cursor: Cursor) -> bool:
        """Return whether the log may have been cut before this chunk was read."""
        return chunk.begin < cursor.processed or chunk.leader_epoch > self._compared.get(chunk.tp, NO_EPOCH)

    async def cuts(self, cursors: Collection[Cursor]) -> dict[TP, Cut]:
        """Return which of these partitions were cut. Raises ``TimeoutError`` or ``KafkaError`` where brokers are away.

        What was processed is noted before the brokers are asked: it goes on meanwhile.
        """
        done = {one.tp: (one.processed, one.last_known) for one in cursors}
        passed = {one.tp: Bounds(one.last.offset + 1, one.processed) for one in cursors if one.last is not None}
        bounds = await bounds_of(self._settings, done)
        short = {tp for tp, (position, _) in done.items() if bounds[tp].written < position}
        known = {tp: last for tp, (_, last) in done.items() if tp not in short}
        replaced = await replaced_records(self._settings, known, bounds)
        readable = {tp: Bounds(one.begin, min(one.end, bounds[tp].end)) for tp, one in passed.items() if tp in known}
        replaced |= await self._new_records(readable, cursors)
        return {
            tp: Cut(position, bounds[tp].written, None if tp in short else last.last_offset)
            for tp, (position, last) in done.items()
            if tp in short or tp in replaced
        }

    async def _new_records(self, passed: Mapping[TP, Bounds], cursors: Collection[Cursor]) -> set[TP]:
        """Return where a record stands between the last one that was processed and the position.

        Nothing was there: markers of transactions, aborted records, what was skipped or can't be read.
        """
        asked = {tp: window for tp, window in passed.items() if window.count > 0}
        found = await records_at(self._settings, asked) if asked else {}
        skipped = {one.tp: one.skipped for one in cursors}
        return {
            tp
            for tp, record in found.items()
            if record is not None
            and record.offset < asked[tp].end
            and record.offset not in skipped[tp]
            and not isinstance(record.value, Unread)
        }


async def replaced_records(settings: Settings, kept: Mapping[TP, Source], bounds: Mapping[TP, Bounds]) -> set[TP]:
    """Return where another record stands now than the last one known; what is not known or expired is left out."""
    known = {tp: source for tp, source in kept.items() if source.last_offset != NO_OFFSET}
    windows = {tp: Bounds(one.last_offset, bounds[tp].end) for tp, one in known.items()}
    asked = {tp: window for tp, window in windows.items() if bounds[tp].begin <= window.begin < window.end}
    if not asked:
        return set()
    found = await records_at(settings, asked)
    return {tp for tp, record in found.items() if record is None or known[tp].after(record) != known[tp]}


async def first_not_before(settings: Settings, tp: TP, timestamp_ms: int) -> int | None:
    """Return the offset of the first record of that time or a later one; None where there is none."""
    kafka_tp = TopicPartition(*tp)
    async with reader(settings) as consumer:
        consumer.assign([kafka_tp])
        found = (await consumer.offsets_for_times({kafka_tp: timestamp_ms}))[kafka_tp]
    return None if found is None else int(found.offset)
