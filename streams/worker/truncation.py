"""Records that a topic loses while it is served: an unclean election of a leader, a disk set back.

The log is shorter then, and new records take the offsets of lost ones. A worker that reads on takes those below its
position for processed already, and passes over them in silence. So what was processed last is compared with what the
topic holds: every while, and before anything is processed that may stand behind a cut. That is what a later leader
wrote than the one known (KIP-320's epochs), what was fetched over a new connection (epochs come again where the
cluster's metadata is set back, too), or where reading went back by itself, as aiokafka does where its position lies
behind the end.

A broker may also rewrite a log that is whole. A record's checksum is of what it says, so other batches or another
compression change nothing. Compaction takes records away: where the last one is gone, whether the log still reaches
over it tells the epoch of its leader. Where epochs come again and compaction has taken what came in place of the last
record, too, any other record below the position that is later than all that were read there shows it: where there is
none of these either, nothing is left to be read that was passed over. As nothing behind a cut is processed before the
comparison, the last record is always one of before the cut, and older ones would show nothing more.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from aiokafka import TopicPartition
from faust.types import TP

from rankstream.events.action_event import NO_EPOCH, Record
from rankstream.features.actions import MAX_TIME_MS
from rankstream.features.user_state import NO_OFFSET
from rankstream.streams.settings import Settings
from rankstream.streams.worker.checkpoint import Cursor
from rankstream.streams.worker.chunks import Chunk
from rankstream.streams.worker.leader_epochs import ends_of_epochs
from rankstream.streams.worker.offsets import Bounds, bounds_of, reader, records_at
from rankstream.streams.worker.source import Source

NOT_COMPARED = NO_EPOCH, 0


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
    """Up to which leaders' epochs and lost connections partitions were compared, and the comparison."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._compared: dict[TP, tuple[int, int]] = {}  # the epoch of the leader and the lost connections at that time

    def compared(self, tp: TP, leader_epoch: int, lost_connections: int = 0) -> None:
        """Note that a partition held all that was processed, under this leader and after so many lost connections."""
        epoch, lost = self._compared.get(tp, NOT_COMPARED)
        self._compared[tp] = max(leader_epoch, epoch), max(lost_connections, lost)

    def is_in_doubt(self, chunk: Chunk, cursor: Cursor) -> bool:
        """Return whether the log may have been cut before this chunk was read."""
        epoch, lost = self._compared.get(chunk.tp, NOT_COMPARED)
        return chunk.begin < cursor.processed or chunk.leader_epoch > epoch or chunk.lost_connections > lost

    async def cuts(self, cursors: Collection[Cursor]) -> dict[TP, Cut]:
        """Return which of these partitions were cut. Raises ``TimeoutError`` or ``KafkaError`` where brokers are away.

        What was processed is noted before the brokers are asked: it goes on meanwhile.
        """
        done = {one.tp: (one.processed, one.last_known) for one in cursors}
        bounds = await bounds_of(self._settings, done)
        short = {tp for tp, (position, _) in done.items() if bounds[tp].written < position}
        known = {tp: last for tp, (_, last) in done.items() if tp not in short}
        replaced = await replaced_records(self._settings, known, bounds)
        return {
            tp: Cut(position, bounds[tp].written, None if tp in short else last.last_offset)
            for tp, (position, last) in done.items()
            if tp in short or tp in replaced
        }


async def replaced_records(settings: Settings, kept: Mapping[TP, Source], bounds: Mapping[TP, Bounds]) -> set[TP]:
    """Return where another record stands now than the last one known, or behind it where none was.

    What is not known or expired is left out. Raises ``ClientError``, ``TimeoutError`` or ``KafkaError`` where brokers
    are away.
    """
    known = {tp: source for tp, source in kept.items() if source.last_offset != NO_OFFSET}
    lasts = {tp: Bounds(one.last_offset, bounds[tp].end) for tp, one in known.items()}
    found = await _first_of(settings, lasts, bounds)
    gone = {tp for tp, record in found.items() if record is None or record.offset > known[tp].last_offset}
    others = {tp for tp, record in found.items() if record is not None and not known[tp].is_last(record)}
    quiet = {tp: Bounds(one.last_offset + 1, min(one.nothing_before, bounds[tp].end)) for tp, one in known.items()}
    came = await _first_of(settings, quiet, bounds)
    between = {tp for tp, record in came.items() if record is not None and record.offset < quiet[tp].end}
    cut_off = await _cut_off(settings, {tp: known[tp] for tp in gone})
    return (others - gone) | between | cut_off | await _later_below(settings, known, bounds)


async def _first_of(
    settings: Settings, windows: Mapping[TP, Bounds], bounds: Mapping[TP, Bounds]
) -> dict[TP, Record | None]:
    """Return the first record of each window that is not empty and has not expired."""
    asked = {tp: window for tp, window in windows.items() if bounds[tp].begin <= window.begin < window.end}
    return await records_at(settings, asked) if asked else {}


async def _cut_off(settings: Settings, gone: Mapping[TP, Source]) -> set[TP]:
    """Return where a record is gone by a cut, not by compaction; that its leader's epoch tells, where it is known."""
    epochs = {tp: one.last_epoch for tp, one in gone.items() if one.last_epoch != NO_EPOCH}
    ends = await ends_of_epochs(settings, epochs)
    return {tp for tp, one in gone.items() if ends.get(tp, NO_EPOCH) <= one.last_offset}


async def _later_below(settings: Settings, known: Mapping[TP, Source], bounds: Mapping[TP, Bounds]) -> set[TP]:
    """Return where a record stands below the position that is later than all that were read there.

    It came in place of one that was lost; compaction may have taken what else would show that.
    """
    latest = {tp: one.newest_ms for tp, one in known.items() if 0 <= one.newest_ms < MAX_TIME_MS}
    firsts = await first_not_before(settings, {tp: newest_ms + 1 for tp, newest_ms in latest.items()})
    begins = {tp: max(first, known[tp].newest_from) for tp, first in firsts.items() if first is not None}
    windows = {tp: Bounds(begin, min(known[tp].nothing_before, bounds[tp].end)) for tp, begin in begins.items()}
    found = {tp: record for tp, record in (await _first_of(settings, windows, bounds)).items() if record is not None}
    return {tp for tp, record in found.items() if record.offset < windows[tp].end and record.timestamp > latest[tp]}


async def first_not_before(settings: Settings, times_ms: Mapping[TP, int]) -> dict[TP, int | None]:
    """Return the offset of each partition's first record of that time or a later one; None where there is none."""
    if not times_ms:
        return {}
    kafka_tps = {TopicPartition(*tp): time_ms for tp, time_ms in times_ms.items()}
    async with reader(settings) as consumer:
        consumer.assign(list(kafka_tps))
        found = await consumer.offsets_for_times(kafka_tps)
    return {TP(*tp): None if one is None else int(one.offset) for tp, one in found.items()}
