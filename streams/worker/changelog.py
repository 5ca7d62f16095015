"""Restore from the changelog: a partition's users where the local folder is lost or behind.

The topic is compacted: the last state of every user, and one position, the source offset up to which the states written
before it have applied all actions. It is the position that says that a changelog is whole: it is written behind a
complete set, never before, so a changelog without one holds only a part. Beside it stands the id of the topic that it
was written for: one that was deleted and created anew under a running worker holds the users who acted since, and a
position that says more than is there. And where that log began: one that begins later has lost users.

Each state carries the offset of its own last action, so states newer than the position do no harm: the source is read
again from the position, and actions that a user already has are skipped.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic

from aiokafka import TopicPartition
from faust.types import TP

from rankstream.events.action_event import Record
from rankstream.features.stores.base import UserStore
from rankstream.features.stores.cache import Changes
from rankstream.features.stores.rocksdb import POSITION, POSITION_BYTES
from rankstream.features.user_state import NO_OFFSET
from rankstream.streams.clients.throttling import OF_THIS_PROCESS
from rankstream.streams.columns import AsColumns, RecordColumns
from rankstream.streams.engine import SoundStates
from rankstream.streams.settings import Settings
from rankstream.streams.topics import CHANGELOG, TopicNames
from rankstream.streams.worker.changelog_marks import BEGIN_HEADER, LOG_HEADER, NAMES_HEADER, begin_in
from rankstream.streams.worker.logged_states import RestoreError, offset_in, offset_of, where_of
from rankstream.streams.worker.newest_offsets import SLOTS, NewestOffsets
from rankstream.streams.worker.offsets import Bounds, bounds_of, reader
from rankstream.streams.worker.outbox import Outbox
from rankstream.streams.worker.source import HEADER, Source, source_of, unpacked
from rankstream.streams.worker.vocabulary_guard import NO_NAMES, Names, names_in

log = logging.getLogger(__name__)

RECORDS_AT_ONCE = 4_000
HELD_BYTES = 32 << 20  # of states, of all partitions that are restored side by side
MAX_OFFSET = (1 << 63) - 1
TAIL = 200  # offsets: of a changelog, looked at first for its position


@dataclass(frozen=True)
class Logged:
    """Up to where a changelog is whole."""

    position: int  # all actions before it are in the states
    source: Source  # what it counts in
    log_id: str = ""  # of the topic that it was written for; "" where it does not say
    begin: int | None = None  # of that log as it was whole; None where it does not say
    names: Names = NO_NAMES  # of the codes in its states

    def is_of_another(self, log_id: str) -> bool:
        """Return whether both topics are known, and not the same."""
        return bool(log_id and self.log_id) and self.log_id != log_id

    def lacks_since(self, begin: int) -> bool:
        """Return whether a log that begins there now has lost what this counts on."""
        return self.begin is not None and begin > self.begin


@dataclass
class RestoreJob:
    """The restore of one partition."""

    tp: TP  # of the changelog
    store: UserStore
    bounds: Bounds
    log_id: str = ""  # of the topic: positions that were written for another one say nothing; "" where it is not known
    position: int | None = None  # the last position record read
    source: bytes | None = None  # what it counts in, where the record says so
    sound_states: SoundStates | None = None  # how records that come as columns are read
    written: NewestOffsets | None = None  # by this restore, into an empty store; None: each user is looked up
    hold_bytes: int = 0  # of states, before they are put into the store: many together take half the time
    read_to: int = field(init=False)

    def __post_init__(self) -> None:
        self.read_to = self.bounds.begin
        self._offsets: dict[bytes, int] = {}  # of the states held
        self._held: dict[bytes, bytes] = {}
        self._held_bytes = 0

    @property
    def is_done(self) -> bool:
        """Return whether everything is read that the changelog held at the start."""
        return self.read_to >= self.bounds.end

    def apply(self, records: Sequence[Record]) -> None:
        """Put states into the store, never over a newer one; the store's position does not move before ``finish``."""
        offsets: dict[bytes, int] = {}
        states: dict[bytes, bytes] = {}
        if isinstance(records, RecordColumns) and self.sound_states is not None:
            offsets, states, records = self.sound_states(records)
        for record in records:
            key, value = record.key, record.value
            if key == POSITION and value is not None:
                position = position_in(record, value)
                if position is not None:
                    logged = _logged(record, position)
                    is_whole = not (logged.is_of_another(self.log_id) or logged.lacks_since(self.bounds.begin))
                    self.position = position if is_whole else None
                    self.source = _header(record, HEADER)
            elif key is not None and value is not None:
                offset = offset_in(record, value)
                if offset is not None and offsets.get(key, offset) <= offset:
                    offsets[key], states[key] = offset, value
        self._hold(offsets, states)
        if self._held_bytes >= self.hold_bytes:
            self.put_held()

    def _hold(self, offsets: Mapping[bytes, int], states: Mapping[bytes, bytes]) -> None:
        """Keep states until they are put, the newest of each user."""
        held = self._offsets
        if not held.keys().isdisjoint(offsets):
            newer = [key for key, offset in offsets.items() if held.get(key, offset) <= offset]
            offsets, states = {key: offsets[key] for key in newer}, {key: states[key] for key in newer}
        held.update(offsets)
        self._held.update(states)
        self._held_bytes += sum(map(len, states.values()))

    def put_held(self) -> None:
        """Put what is held into the store, but for users who have something newer there."""
        for key in self._newer_in_store(self._offsets):
            del self._held[key]
        self.store.write_unlogged(self._held)
        self._offsets, self._held, self._held_bytes = {}, {}, 0

    def _newer_in_store(self, offsets: Mapping[bytes, int]) -> list[bytes]:
        """Return the users whose state in the store is newer than these."""
        asked = list(offsets) if self.written is None else self.written.to_ask(offsets)
        stored = zip(asked, self.store.get_many(asked), strict=True)
        return [key for key, record in stored if record is not None and offset_of(record) > offsets[key]]

    def finish(self) -> None:
        """Set the store to the position read, unless it is further already; all before it is on disk then."""
        self.put_held()
        self.store.flush()
        at = NO_OFFSET if self.store.next_offset is None else self.store.next_offset
        if self.position is not None and self.position > at:
            self.store.write({}, self.position)
            if self.source is not None:
                self.store.set_source(self.source)


def position_in(record: Record, value: bytes) -> int | None:
    """Return the offset in a position's record; None, with a word in the log, where it holds none."""
    position = int.from_bytes(value, "little")
    if len(value) == POSITION_BYTES and position <= MAX_OFFSET:
        return position
    log.error("%s: no position, and something else wrote it: it is skipped", where_of(record))
    return None


def _header(record: Record, wanted: str) -> bytes | None:
    """Return a header of a position; records of dumps have none at all."""
    headers: Sequence[tuple[str, bytes]] = getattr(record, "headers", ())
    return next((value for name, value in headers if name == wanted), None)


async def logged_positions(settings: Settings, logs: Mapping[TP, Bounds]) -> dict[TP, Logged]:
    """Return up to where each changelog is whole: its newest position. Those without one are not whole, and left out.

    Every checkpoint ends with it, so it is among the last records, unless the last one was broken off. One that was
    written for another topic of the same name is none, nor is one of a log that has lost its beginning since.
    """
    found: dict[TP, Logged] = {}
    ids = {topic: (await source_of(settings, topic)).topic_id for topic in {tp.topic for tp in logs}}
    tail, before = TAIL, {tp: bounds.end for tp, bounds in logs.items()}
    async with OF_THIS_PROCESS.answered_within(settings.restore_deadline_s):
        while True:
            starts = {tp: max(bounds.begin, bounds.end - tail) for tp, bounds in logs.items()}
            windows = {tp: Bounds(starts[tp], before[tp]) for tp in logs if tp not in found}
            windows = {tp: window for tp, window in windows.items() if window.count}
            if not windows:
                return {tp: one for tp, one in found.items() if _is_of(one, ids[tp.topic], logs[tp].begin, tp)}
            found |= await _newest_positions(settings, windows)
            tail, before = tail * 10, starts


async def logged_names(settings: Settings) -> dict[int, Names]:
    """Return the names of the codes in the states of each partition of the changelog, whoever owns it now.

    Raises ``ClientError``, ``KafkaError`` and ``TimeoutError`` where brokers don't answer.
    """
    topic = TopicNames(settings.topic_prefix).of(CHANGELOG)
    numbers = range((await source_of(settings, topic)).partitions if settings.changelog else 0)
    bounds = await bounds_of(settings, [TP(topic, number) for number in numbers]) if numbers else {}
    logged = await logged_positions(settings, bounds) if bounds else {}
    return {tp.partition: one.names for tp, one in logged.items()}


def _is_of(logged: Logged, log_id: str, begin: int, tp: TP) -> bool:
    """Return whether a position was written for this very log, all of which is there; say so where it was not."""
    if logged.lacks_since(begin):
        log.warning(
            "%s %d began at offset %d while it was whole and begins at %d now: records were deleted from it, or it was "
            "not compacted for a while, so it lacks users, and all are written to it again",
            tp.topic, tp.partition, logged.begin, begin,
        )  # fmt: skip
        return False
    if logged.is_of_another(log_id):
        log.warning(
            "%s %d was created anew (its id was %s and is %s) while states were logged to it, so it holds only those "
            "of users who acted since: all others are written to it again",
            tp.topic, tp.partition, logged.log_id, log_id,
        )  # fmt: skip
        return False
    return True


async def _newest_positions(settings: Settings, windows: Mapping[TP, Bounds]) -> dict[TP, Logged]:
    """Return the last position between these offsets, of those changelogs that have one there."""
    found: dict[TP, Logged] = {}
    todo = {TopicPartition(tp.topic, tp.partition): window for tp, window in windows.items()}
    async with reader(settings) as consumer:
        consumer.assign(list(todo))
        for kafka_tp, window in todo.items():
            consumer.seek(kafka_tp, window.begin)
        while todo:
            fetched = await consumer.getmany(*todo, timeout_ms=200, max_records=RECORDS_AT_ONCE)
            for kafka_tp, records in fetched.items():
                for record in records:
                    if record.key == POSITION and record.value is not None and record.offset < todo[kafka_tp].end:
                        position = position_in(record, record.value)
                        if position is not None:
                            found[TP(*kafka_tp)] = _logged(record, position)
            for kafka_tp in list(todo):
                if await consumer.position(kafka_tp) >= todo[kafka_tp].end:
                    del todo[kafka_tp]
    return found


def _logged(record: Record, position: int) -> Logged:
    """Return a position with what stands beside it."""
    log_id = (_header(record, LOG_HEADER) or b"").decode(errors="replace")
    begin, names = begin_in(_header(record, BEGIN_HEADER)), names_in(_header(record, NAMES_HEADER))
    return Logged(position, unpacked(_header(record, HEADER)), log_id, begin, names)


async def restore(settings: Settings, jobs: Sequence[RestoreJob]) -> None:
    """Read the changelog of all these partitions to its end, side by side. Raises ``RestoreError``."""
    todo = {TopicPartition(job.tp.topic, job.tp.partition): job for job in jobs if not job.is_done}
    progress = _Progress(jobs)
    for job in jobs:
        job.hold_bytes = HELD_BYTES // len(jobs)
        if next(iter(job.store.items()), None) is None:
            job.written = NewestOffsets(SLOTS // len(jobs))
    columns = _as_columns(jobs)
    most = RECORDS_AT_ONCE if columns is None else None  # columns come a batch at a time, bounded by their bytes alone
    async with reader(settings, key_deserializer=columns) as consumer:
        consumer.assign(list(todo))
        for tp, job in todo.items():
            consumer.seek(tp, job.bounds.begin)
        while todo:
            fetched = await consumer.getmany(*todo, timeout_ms=200, max_records=most)
            for tp, records in fetched.items():
                todo[tp].apply(records)
                progress.records += len(records)
                await asyncio.sleep(0)  # let others on this loop run
            for tp, job in list(todo.items()):
                job.read_to = await consumer.position(tp)
                if job.is_done:
                    job.finish()
                    del todo[tp]
            progress.log()
            if todo and progress.seconds > settings.restore_deadline_s:
                for job in todo.values():
                    job.put_held()
                raise RestoreError(
                    f"restoring {_listed(jobs)} took more than restore_deadline_s = {settings.restore_deadline_s:g} s, "
                    f"with {progress.records:,} records read: raise restore_deadline_s, or give a worker fewer "
                    "partitions; what was read is kept"
                )
    progress.end()


def _as_columns(jobs: Sequence[RestoreJob]) -> AsColumns | None:
    """Have batches read as columns where the jobs can, with the headers that a position has."""
    return AsColumns(jobs[0].tp.topic, with_headers=True) if all(job.sound_states for job in jobs) else None


async def seed(outbox: Outbox, store: UserStore, position: int, since: int) -> int:
    """Write what a changelog lacks that is whole up to ``since``: it was just switched on, or lost. Return how many.

    The position comes last: killed before, the next owner begins again.
    """
    batch: dict[bytes, bytes] = {}
    count = 0
    for key, record in store.items():
        if offset_of(record) < since:
            continue
        batch[key] = record
        count += 1
        if len(batch) == RECORDS_AT_ONCE:
            await outbox.write([], Changes(batch, None), {})
            batch = {}
    await outbox.write([], Changes(batch, position), {})
    return count


class _Progress:
    """Logs each second how far a restore is."""

    def __init__(self, jobs: Sequence[RestoreJob]) -> None:
        self.jobs = jobs
        self.records = 0
        self._started = self._logged_at = monotonic()

    @property
    def seconds(self) -> float:
        """Return the time since the start."""
        return monotonic() - self._started

    def log(self) -> None:
        """Log the progress, once a second."""
        if monotonic() - self._logged_at < 1.0:
            return
        self._logged_at = monotonic()
        total = sum(job.bounds.count for job in self.jobs)
        read = sum(job.read_to - job.bounds.begin for job in self.jobs)
        percent, rate = 100.0 * read / max(1, total), self.records / self.seconds
        what = _listed(self.jobs)
        log.info("restoring %s: %d records, %.0f %%, %.0f records/s", what, self.records, percent, rate)

    def end(self) -> None:
        """Log the totals."""
        rate = self.records / max(self.seconds, 1e-9)
        log.info("restored %s: %d records in %.1f s, %.0f/s", _listed(self.jobs), self.records, self.seconds, rate)


def _listed(jobs: Sequence[RestoreJob]) -> str:
    """Name the partitions: ``user-state-changelog 0, 3``."""
    return f"{jobs[0].tp.topic} {', '.join(str(job.tp.partition) for job in jobs)}"
