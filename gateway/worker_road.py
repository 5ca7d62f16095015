"""The road in one process, no Kafka: the very Pipeline of workers, its states in a store beside it.

What it does not promise: there is no log, so states are all that is left of actions, and nothing can be replayed,
verified or trained on; there is one process, so nothing takes over where it ends; and the store is written without
fsync, so a power failure, though no kill, may lose the last seconds.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from rankstream.features.history import DEFAULT_LIMIT
from rankstream.features.stores.base import StoreRefusedError, UserStore
from rankstream.features.stores.cache import UserCache
from rankstream.features.stores.folder import usable_folder
from rankstream.features.stores.rocksdb import RocksStore
from rankstream.features.user_state import NEVER
from rankstream.gateway.answers import RefusedError, RejectedItem
from rankstream.gateway.intake import Keyed
from rankstream.gateway.road import OnFeed
from rankstream.streams.codec import DeadLetter
from rankstream.streams.columns import Headed
from rankstream.streams.counters import Counters
from rankstream.streams.pipeline import Pipeline, ServingState, wall_clock_ms
from rankstream.streams.records import Channel, Outgoing
from rankstream.streams.topics import ACTIONS, REQUESTS, Topic
from rankstream.streams.tracing import NO_TRACES, UNTRACED_CALL, CallTrace, Headers, Traces
from rankstream.streams.worker.admission import Swaps
from rankstream.streams.worker.following import keep_up
from rankstream.streams.worker.vocabulary_guard import WITHOUT_A_LOG, KeptVocabulary

log = logging.getLogger(__name__)

_decode_dead_letter = msgspec.json.Decoder(DeadLetter).decode


class WorkerRoad:
    """Applies actions in one thread, as partitions are, and scores requests in others."""

    def __init__(
        self,
        serving: ServingState,
        store: UserStore,
        history_limit: int = DEFAULT_LIMIT,
        scoring_threads: int = 1,
        forget_after_ms: int = NEVER,
        clock: Callable[[], int] = wall_clock_ms,
        traces: Traces = NO_TRACES,
    ) -> None:
        users = UserCache(store, history_limit, forget_after_ms=forget_after_ms)
        self.pipeline = Pipeline(users, serving, clock=clock, record_clock=clock, traces=traces)
        self._serving = serving
        self._following: asyncio.Task[None] | None = None  # of what is published
        self._clock = clock
        self._offset = store.next_offset or 0
        self._broken: str | None = None  # why nothing is applied any more
        self._answering: set[asyncio.Task[None]] = set()  # asyncio itself keeps no hold of its tasks
        self._applying = ThreadPoolExecutor(1, "apply")
        self._scoring = ThreadPoolExecutor(scoring_threads, "score")

    async def open(self, on_feed: OnFeed) -> None:
        """Begin; the store is open already."""
        self._on_feed = on_feed
        self._following = asyncio.create_task(keep_up(self._serving))

    async def close(self) -> None:
        """End, with the states written and the store closed."""
        if self._following is not None:
            self._following.cancel()
        await asyncio.gather(*self._answering, return_exceptions=True)
        for pool in (self._scoring, self._applying):
            await asyncio.to_thread(pool.shutdown)
        self.pipeline.users.store.close()

    def why_lacks(self, topic: Topic) -> str | None:
        """Return that nothing is kept to be trained on, of what is neither an action nor a request."""
        if topic in (ACTIONS, REQUESTS):
            return None
        return (
            f"this gateway ranks by itself and keeps no {topic.name}; one beside Kafka, without --worker, sends them on"
        )

    def why_not(self) -> str | None:
        """Return why nothing is applied any more; who answers is this process."""
        return self._broken

    def counters(self) -> Counters:
        """Return what this process has counted."""
        return self.pipeline.counters

    async def send(
        self, topic: Topic, records: Sequence[Keyed], trace: CallTrace = UNTRACED_CALL
    ) -> Sequence[RejectedItem]:
        """Apply actions, and return those that can't be; or take requests, whose feeds come later.

        Raises ``RefusedError`` where states can't be written. Requests are answered by the states in memory even then.
        """
        loop = asyncio.get_running_loop()
        if topic is ACTIONS:
            return await loop.run_in_executor(self._applying, self._apply, records)
        answering = asyncio.create_task(self._answer(self._recorded(topic, records, 0, trace.headers)))
        self._answering.add(answering)
        answering.add_done_callback(self._answering.discard)
        return ()

    async def _answer(self, records: Sequence[Headed]) -> None:
        """Rank with the users' states as they are after all that was applied before."""
        loop = asyncio.get_running_loop()
        pending = await loop.run_in_executor(self._applying, self.pipeline.on_requests, records)
        for out in await loop.run_in_executor(self._scoring, pending.answer):
            if out.channel is Channel.FEEDS:
                self._on_feed(out.value)

    def _apply(self, records: Sequence[Keyed]) -> list[RejectedItem]:
        """Apply actions and write the states that they changed: what is answered survives a kill.

        Where they can't be written nothing is applied from then on: an action that comes again would change nothing in
        memory, and be taken without being on disk.
        """
        if self._broken is not None:
            raise _no_store(self._broken)
        try:
            return self._apply_and_write(records)
        except StoreRefusedError as exc:
            self._broken = str(exc)
            log.critical("no action is taken any more: %s", exc)
            raise _no_store(self._broken) from exc

    def _apply_and_write(self, records: Sequence[Keyed]) -> list[RejectedItem]:
        first, users = self._offset, self.pipeline.users
        self._offset += len(records)
        dead_letters = self.pipeline.on_actions(self._recorded(ACTIONS, records, first))
        users.commit(users.take_changes(self._offset))
        return [_rejected(one, first) for one in dead_letters]

    def _recorded(self, topic: Topic, records: Sequence[Keyed], first: int, headers: Headers = ()) -> list[Headed]:
        now_ms = self._clock()
        return [
            Headed(topic.name, 0, offset, now_ms, key, value, headers)
            for offset, (key, value) in enumerate(records, start=first)
        ]


def open_states(folder: Path, serving: ServingState) -> UserStore:
    """Open the states in a folder, and have no bundle serve whose names don't fit them.

    Raises ``StoreRefusedError``, ``VocabularyRefusedError``.
    """
    usable_folder(folder)
    store = RocksStore(folder)
    try:
        kept = KeptVocabulary(folder, lambda: serving.vocabulary, WITHOUT_A_LOG)
        kept.keep()
    except BaseException:
        store.close()
        raise
    if isinstance(serving, Swaps):
        serving.admit_by(kept.admit)
    return store


def _no_store(why: str) -> RefusedError:
    return RefusedError(503, "no-store", why)


def _rejected(outgoing: Outgoing, first: int) -> RejectedItem:
    letter = _decode_dead_letter(outgoing.value)
    return RejectedItem(letter.offset - first, letter.reason, letter.message)
