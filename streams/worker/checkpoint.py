"""One partition and its checkpoint: the order that loses nothing.

::

    1. feeds acknowledged by the broker                        a kill here repeats some of them
    2. dead letters, changed users and their position in the changelog, the group's offsets: ONE transaction
    3. changed users and the position in the store: ONE write  a kill before it: actions are applied again, in silence

Where the broker knows no transactions, dead letters are acknowledged with the feeds, then the changelog, and the
group's offsets are committed last (``ownership.py``).

What is applied but not checkpointed is read again after a kill. Between checkpoints changed users wait in the cache,
where requests see them at once.
"""

import asyncio
import logging
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from operator import attrgetter
from time import monotonic

from faust.types import TP

from rankstream.events.action_event import Record, Unread
from rankstream.features.stores.cache import Changes
from rankstream.features.user_state import NO_OFFSET
from rankstream.streams.columns import newest_ms_of
from rankstream.streams.counters import SOURCES
from rankstream.streams.pipeline import PendingRequests, Pipeline
from rankstream.streams.records import Outgoing
from rankstream.streams.skips import NOTHING
from rankstream.streams.worker.chunks import AsJson, Chunk
from rankstream.streams.worker.in_hand import InHand
from rankstream.streams.worker.load import Load
from rankstream.streams.worker.outbox import Outbox
from rankstream.streams.worker.source import UNKNOWN, Source
from rankstream.streams.worker.sweep import Sweep

log = logging.getLogger(__name__)

CATCH_UP_WAIT_S = 10.0  # about a million actions; after it an old answer is better than none
CATCH_UP_POLL_S = 0.005
CHANGED_USERS = 20_000
HELD_BYTES = 8 << 20  # of dead letters
Run = Callable[[PendingRequests], Awaitable[list[Outgoing]]]


class OffsetGapError(RuntimeError):
    """Records went missing between the broker and here; going on would lose them for good."""


class RewindError(Exception):
    """Reading must go back to ``offset`` before it goes on."""

    def __init__(self, offset: int) -> None:
        super().__init__(f"read again from offset {offset}")
        self.offset = offset


class Cursor:
    """How far one source partition is processed."""

    def __init__(
        self,
        tp: TP,
        processed: int,
        in_hand: InHand | None = None,
        skipped: range = NOTHING,
        last_known: Source = UNKNOWN,
    ) -> None:
        self.tp = tp
        self.name = f"{tp.topic} {tp.partition}"
        self.in_hand = in_hand or InHand()
        self.skipped = skipped  # offsets to pass over unread
        self.processed = processed  # first offset not processed
        self.checkpointed = processed  # the same as of the last checkpoint
        self.committed = 0  # the same as the group knows it
        self.unread = 0  # offsets that expired before they were read
        self.last: Record | None = None  # that was processed and read whole, since the opening
        self.last_known = last_known  # the same, and of before the opening; and what stood behind it
        self._gap_seen_at = -1

    def fresh(self, chunk: Chunk) -> Sequence[Record]:
        """Return the chunk's records that are not processed yet.

        Raises ``OffsetGapError`` if a chunk before it never came, and ``RewindError`` once where reading began behind
        what is processed: seen twice, those offsets are not in the log. An offset without a record *inside* of what
        was read is no gap: a transaction's marker, or what was aborted or compacted.
        """
        records, processed = chunk.records, self.processed
        if chunk.start is not None and chunk.start > processed:
            raise OffsetGapError(
                f"{self.name}: processed up to {processed}, but the next chunk starts at {chunk.start}"
            )
        if chunk.begin > processed and self._gap_seen_at != processed:
            self._gap_seen_at = processed
            raise RewindError(processed)
        if chunk.begin > processed:
            self.pass_over(chunk.begin)
        if records:
            self.last_known = self.last_known.with_times(chunk.begin, newest_ms_of(records))
        if not records or (records[0].offset >= processed and records[0].offset >= self.skipped.stop):
            return records
        return [one for one in records if one.offset >= processed and one.offset not in self.skipped]

    def pass_over(self, begin: int) -> None:
        """Note that what was not read before ``begin`` is not in the log any more."""
        self.unread += begin - self.processed
        log.warning(
            "%s: offsets %d to %d, %d in all, were deleted before they were read: it waited for longer than the topic "
            "keeps records (retention.ms, retention.bytes), or somebody deleted them",
            self.name,
            self.processed,
            begin - 1,
            begin - self.processed,
        )
        self.advance(begin)

    def advance(self, offset: int) -> None:
        """Note that everything before ``offset`` is processed; never backwards."""
        self.processed = max(self.processed, offset)

    def note(self, records: Sequence[Record], chunk: Chunk) -> None:
        """Note which of these records of a chunk was processed last, of those that could be read."""
        last = next((one for one in reversed(records) if not isinstance(one.value, Unread)), None)
        if last is not None:
            self.last = last
            self.last_known = self.last_known.after(last, chunk.newest_epoch)

    def finish(self, chunk: Chunk) -> None:
        """Note that all of a chunk is processed, and whether nothing more stood in it than the last record known."""
        known = self.last_known
        self.advance(chunk.end)
        behind = chunk.records[-1].offset if chunk.records else known.last_offset
        if known.last_offset != NO_OFFSET and behind == known.last_offset and known.nothing_before >= chunk.begin:
            self.last_known = known.with_nothing_before(chunk.end)

    def set_back(self, offset: int) -> None:
        """Process from ``offset`` on: other records stand there than those that were."""
        self.processed = self.checkpointed = self.committed = offset
        self.last, self.last_known = None, UNKNOWN


@dataclass(frozen=True)
class Snapshot:
    """What one checkpoint makes durable."""

    actions: int  # offset
    requests: int  # offset
    acks: Sequence[Awaitable[object]]
    outgoing: Sequence[Outgoing]  # that waited for a transaction
    changes: Changes | None
    offsets: Mapping[TP, int]  # those that the group does not have yet
    last: Source  # what is known of the last action applied


class Partition:
    """The pipeline of one partition number, the cursors of its two sources, and its outputs in flight."""

    def __init__(
        self,
        number: int,
        pipeline: Pipeline,
        outbox: Outbox,
        actions: Cursor,
        requests: Cursor,
        log_changes: bool,
        load: Load | None = None,
        keep_names: Callable[[], None] = lambda: None,
    ) -> None:
        self.number = number
        self.pipeline = pipeline
        self.actions = actions
        self.requests = requests
        self.outputs_committed_until = 0  # dead letters of actions below this offset are out
        self.logged_until = 0  # states of actions below this offset are in the changelog: it is not set back
        self.catch_up_until = 0  # requests wait for actions below this offset: earlier answers may show them
        self.closing = False  # accept no more records
        self.checkpointed_at = monotonic()  # or opened
        self.failed = False  # it is not known what was sent: write nothing any more
        self._is_left = False  # what still fails is no news
        self._outbox = outbox
        outbox.feed_s = pipeline.counters.way_s["send"]
        self._log_changes = log_changes
        self._load = load or Load(within_s=0.0)
        self._keep_names = keep_names  # of the codes in states, before these are written
        self._turn = asyncio.Lock()  # apply a chunk and send its outputs, or take a snapshot
        self.cursors = (actions, requests)
        self._count_unread()
        self._sweep = Sweep(pipeline.users)
        self._scoring = asyncio.Lock()  # requests that are scored
        self._checkpointing = asyncio.Lock()

    def _count_unread(self) -> None:
        found = zip(SOURCES, self.cursors, strict=True)
        self.pipeline.counters.unread = {name: cursor.unread for name, cursor in found if cursor.unread}

    def _fresh(self, cursor: Cursor, chunk: Chunk) -> Sequence[Record]:
        records = cursor.fresh(chunk)
        self._count_unread()
        return records

    @property
    def is_full(self) -> bool:
        """Return whether so much waits for the next checkpoint that it should come early."""
        return self.pipeline.users.num_changed > CHANGED_USERS or self._outbox.held_bytes > HELD_BYTES

    async def apply_actions(self, chunk: Chunk, is_current: Callable[[Chunk], bool]) -> None:
        """Apply a chunk of actions and send its dead letters."""
        async with self._turn:
            if self.closing or self.failed or not is_current(chunk):
                return
            started = monotonic()
            records = self._fresh(self.actions, chunk)
            with self._poisoned_by_failure():
                for part in self.actions.in_hand.parts(records, max(1, len(records))):
                    if self.closing or self.failed or not is_current(chunk):
                        return
                    dead_letters = self._apply(part, chunk.as_json)
                    self.actions.advance(part[-1].offset + 1)
                    self.actions.note(part, chunk)
                    await self._outbox.send(dead_letters)
                    await asyncio.sleep(0)  # many parts of one record may take long: let heartbeats through
                self.actions.finish(chunk)
            self.pipeline.counters.chunk_s.observe(monotonic() - started)

    def _apply(self, records: Sequence[Record], as_json: AsJson) -> list[Outgoing]:
        """Apply actions that are worked on together; return the dead letters that were not acknowledged before."""
        in_hand, until = self.actions.in_hand, self.outputs_committed_until
        known = bisect_left(records, until, key=attrgetter("offset"))
        if records[0].offset in in_hand.killers:
            return self.pipeline.on_killer(records[0])[known:]
        with in_hand.held(records):
            if known:
                self.pipeline.on_actions(as_json(records[:known]))
            return self.pipeline.on_actions(as_json(records[known:]))

    async def answer(
        self, chunk: Chunk, is_current: Callable[[Chunk], bool], run: Run, behind: Callable[[], int] = lambda: 0
    ) -> None:
        """Answer a chunk of requests, a few at a time; ``run`` has the slow part done (``scoring.py``).

        ``behind`` says how many wait in later chunks: those that there is no time to rank are answered without.
        """
        async with self._scoring:
            await self._caught_up()
            if self.closing or self.failed or not is_current(chunk):
                return
            records = self._fresh(self.requests, chunk)
            while records:
                if self.closing or self.failed or not is_current(chunk):
                    return
                with self._poisoned_by_failure():
                    some, feeds = await self._next_answers(records, run, behind(), chunk)
                    async with self._turn:
                        if self.failed:
                            return
                        self.requests.advance(some[-1].offset + 1)
                        self.requests.note(some, chunk)
                        await self._outbox.answer(feeds)
                records = records[len(some) :]
            self.requests.finish(chunk)

    async def _next_answers(
        self, records: Sequence[Record], run: Run, behind: int, chunk: Chunk
    ) -> tuple[Sequence[Record], list[Outgoing]]:
        """Return the next requests of these, of a chunk, that are worked on together, and their answers."""
        as_json = chunk.as_json
        in_hand, load = self.requests.in_hand, self._load
        shed = load.to_shed(records, behind, self._age_s(records[0]))
        some = next(iter(in_hand.parts(records, shed or load.at_once)))
        if some[0].offset in in_hand.killers:
            return some, self.pipeline.on_killer(some[0])
        with in_hand.held(some):
            if shed:
                await asyncio.sleep(0)  # many in a row must let others through
                return some, self.pipeline.on_too_many(as_json(some)).by_popularity()
            started = monotonic()
            self._observe_way(some, chunk, started)
            feeds = await run(self.pipeline.on_requests(as_json(some)))
            load.took(monotonic() - started, len(some))
            return some, feeds

    def _observe_way(self, records: Sequence[Record], chunk: Chunk, now_s: float) -> None:
        """Note what requests have waited for until now, when they are ranked."""
        way_s = self.pipeline.counters.way_s
        for record in records:
            if record.timestamp > 0:
                way_s["fetch"].observe(max(0.0, self._age_s(record) - (now_s - chunk.read_at_s)))
            way_s["hand_over"].observe(chunk.taken_at_s - chunk.read_at_s)
            way_s["turn"].observe(now_s - chunk.taken_at_s)

    def _age_s(self, record: Record) -> float:
        """Return how long ago a record was produced; 0 if it does not say."""
        return max(0, self.pipeline.clock() - record.timestamp) / 1000 if record.timestamp > 0 else 0.0

    async def _caught_up(self) -> None:
        """Wait until the actions that were there when the partition was opened are applied, but not for ever.

        After a kill they are read again; a request that did not wait would see its user as of the last checkpoint.
        """
        deadline = monotonic() + CATCH_UP_WAIT_S
        while self.actions.processed < self.catch_up_until and not (self.closing or self.failed):
            if monotonic() > deadline:
                log.warning("partition %d: requests go on before %d actions are read", self.number, self.lag)
                self.catch_up_until = 0
                return
            await asyncio.sleep(CATCH_UP_POLL_S)

    @property
    def lag(self) -> int:
        """How many of the actions that were there at the opening are still to be applied."""
        return max(0, self.catch_up_until - self.actions.processed)

    async def checkpoint(self) -> None:
        """Make durable what is processed so far. Any failure poisons the partition."""
        async with self._checkpointing:
            if self.failed:
                return
            with self._unless_left(), self._poisoned_by_failure():
                await self._checkpoint()

    async def commit_answers(self) -> None:
        """Make the answers that wait count, in one transaction with the offset of their requests."""
        async with self._checkpointing:
            if self.failed:
                return
            with self._unless_left(), self._poisoned_by_failure():
                async with self._turn:
                    answers, answered = self._outbox.take_answers(), self.requests.processed
                if answers:
                    await self._outbox.write(answers, None, {self.requests.tp: answered})
                    self.requests.committed = self.requests.checkpointed = answered

    @contextmanager
    def _poisoned_by_failure(self) -> Iterator[None]:
        """Write nothing any more after a failure: what was applied and what was sent may not agree."""
        try:
            yield
        except BaseException:
            self.failed = True
            raise

    @contextmanager
    def _unless_left(self) -> Iterator[None]:
        """Raise nothing where the partition was left meanwhile: its last checkpoint took too long and was given up."""
        try:
            yield
        except Exception as exc:
            if not self._is_left:
                raise
            log.info("partition %d: a checkpoint was given up: %r", self.number, exc)

    async def _checkpoint(self) -> None:
        started = monotonic()
        async with self._turn:
            self._keep_names()
            self._sweep_on()
            snapshot = self._snapshot()
        await asyncio.gather(*snapshot.acks)
        self._outbox.source = self._outbox.source.with_last_of(snapshot.last)
        logged = snapshot.changes if self._log_changes and snapshot.actions > self.logged_until else None
        if await self._outbox.write(snapshot.outgoing, logged, snapshot.offsets):
            for cursor in self.cursors:
                cursor.committed = snapshot.offsets.get(cursor.tp, cursor.committed)
        if snapshot.changes is not None:
            self.pipeline.users.commit(snapshot.changes)
            self.pipeline.users.store.set_source(self._outbox.source.packed())
        self.actions.checkpointed, self.requests.checkpointed = snapshot.actions, snapshot.requests
        self.checkpointed_at = monotonic()
        if snapshot.changes is not None or snapshot.offsets:  # else there was nothing to make durable
            self.pipeline.counters.checkpoint_s.observe(self.checkpointed_at - started)

    def _sweep_on(self) -> None:
        """Have users forgotten of whom nothing came for long, where this checkpoint has something to write."""
        if self.actions.last is not None and self.actions.processed != self.actions.checkpointed:
            log_ms = min(self.actions.last.timestamp, self.pipeline.clock())
            self.pipeline.counters.expired += self._sweep.go_on(log_ms)

    def _snapshot(self) -> Snapshot:
        processed = self.actions.processed
        moved = processed != self.actions.checkpointed
        return Snapshot(
            processed,
            self.requests.processed,
            self._outbox.take_acks(),
            self._outbox.take_letters() + self._outbox.take_answers(),
            self.pipeline.users.take_changes(processed) if moved else None,
            {one.tp: one.processed for one in self.cursors if one.processed > one.committed},
            self.actions.last_known,
        )

    async def answer_again(self, offset: int) -> None:
        """Answer requests from ``offset`` on: the topic lost those that were answered, and has others there."""
        async with self._scoring, self._checkpointing:
            self.requests.set_back(offset)

    async def is_refused(self) -> bool:
        """Return whether another worker has the partition."""
        async with self._checkpointing:
            return await self._outbox.is_refused()

    async def close(self, timeout_s: float) -> None:
        """Finish the requests being answered and make a last checkpoint; nothing is lost if that fails."""
        self.closing = True
        try:
            async with asyncio.timeout(timeout_s):
                async with self._scoring:
                    await self.checkpoint()
        except Exception as exc:
            self.failed = True
            log.warning("partition %d: closed without a checkpoint, so it will be read again: %r", self.number, exc)

    async def release(self) -> None:
        """Close the store and leave the brokers; the partition must not be used afterwards."""
        is_whole, self.failed, self._is_left = not self.failed, True, True
        log.info("partition %d: %s", self.number, self.pipeline.counters.told())
        self.actions.in_hand.close()
        self.requests.in_hand.close()
        self.pipeline.users.store.close()
        await self._outbox.close(flush=is_whole)
