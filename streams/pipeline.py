"""The whole path of one partition: encoded records in, encoded records out, no broker.

::

    user-actions      bytes -> 16-byte action -> grouped by user -> UserState.apply -> UserCache
    ranking-requests  bytes -> RankingRequest + the user's state now -> Ranker.rank -> bytes
                      and, where that is switched on, what the feed was made from (served-features)

The Faust app, replay, benchmarks, examples and tests all drive this object, so they cannot disagree. Bad data never
raises: it becomes a dead letter or an error feed. What does raise is a broken store or a bug in this file, and the
worker stops for it.
"""

import time
import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import compress
from typing import Protocol

import numpy as np
import numpy.typing as npt

from rankstream.events.action_event import ActionDecoder, Record, Rejected
from rankstream.features.actions import Vocabulary
from rankstream.features.ids import id_bytes
from rankstream.features.join import OfflineFeatures, fold_ended
from rankstream.features.stores.cache import UserCache
from rankstream.features.user_state import Applied, UserState
from rankstream.ranking.request import Ranking, RankingRefusedError, RankingRequest, Variant, check_deadline
from rankstream.streams.codec import (
    decode_request,
    encode_dead_letter,
    encode_error,
    encode_feed,
    encode_served,
    ids_of,
)
from rankstream.streams.counters import Counters
from rankstream.streams.partitioner import KeyCheck, anywhere
from rankstream.streams.records import Channel, Outgoing
from rankstream.streams.tracing import NO_TRACES, RequestTrace, Traces

INTERNAL = "internal"  # the reason of what a bug, not the record alone, has refused
KILLED_WORKER = "killed-worker"
WRONG_PARTITION = "wrong-partition"
TRACEBACK_CHARS = 4_000  # of its letter, the last


class RankerLike(Protocol):
    """What the pipeline needs of ``ranking.ranker.Ranker``."""

    @property
    def offline(self) -> OfflineFeatures:
        """The tables and encoders that the ranker joins with."""
        ...

    @property
    def variant(self) -> Variant | None:
        """The side of an experiment that it ranks; None outside one."""
        ...

    def rank(self, request: RankingRequest, state: UserState, now_ms: int) -> Ranking:
        """Rank as of the request's own time, or ``now_ms`` where it has none. Raises ``RankingRefusedError``."""
        ...

    def rank_by_popularity(self, request: RankingRequest) -> Ranking:
        """Order items without scoring them. Raises ``RankingRefusedError``."""
        ...


class ServingState(Protocol):
    """What the pipeline needs of ``ranking.serving.LiveRanker``: the vocabulary and the rankers that serve now."""

    @property
    def vocabulary(self) -> Vocabulary:
        """The names of actions and surfaces; another bundle may add names, never change a code."""
        ...

    @property
    def current(self) -> RankerLike:
        """The ranker to use now; another one after a hot swap."""
        ...

    def for_user(self, key: bytes) -> RankerLike:
        """Return the ranker of a user: in an experiment (``ranking/experiment.py``) not that of all others."""
        ...


Sample = Callable[[RankingRequest, UserState, int], None]  # a request, its user's state, and when it was asked
Asked = tuple[Record, RankingRequest, RequestTrace]


@dataclass(frozen=True, slots=True)
class Decoded:
    """The actions of a chunk, in ascending order of offset."""

    keys: list[bytes]  # of the users
    actions: list[bytes]  # packed
    offsets: list[int]

    def without(self, keys: Collection[bytes]) -> "Decoded":
        """Return those of other users."""
        kept = [key not in keys for key in self.keys]
        columns = compress(self.keys, kept), compress(self.actions, kept), compress(self.offsets, kept)
        return Decoded(list(columns[0]), list(columns[1]), list(columns[2]))


Offsets = npt.NDArray[np.int64]
Arrived = tuple[list[bytes], list[int]]  # packed actions of one user in a chunk, and their offsets


def wall_clock_ms() -> int:
    """Return the time in milliseconds since 1970, UTC."""
    return time.time_ns() // 1_000_000


class Pipeline:
    """One partition's users, and what is done with its records. One thread only, but for ``answer``."""

    def __init__(
        self,
        users: UserCache,
        serving: ServingState,
        clock: Callable[[], int] = wall_clock_ms,
        log_served: bool = False,
        record_clock: Callable[[], int] | None = wall_clock_ms,
        observe: Callable[[Ranking], None] = lambda ranking: None,
        wrong_partition: KeyCheck = anywhere,
        sample: Sample = lambda request, state, asked_ms: None,
        traces: Traces = NO_TRACES,
    ) -> None:
        self.users = users
        self.serving = serving
        self.clock = clock  # for deadlines and ranked_at_ms only: results depend on the records' times
        self.record_clock = record_clock  # for records that have no time; None where they were read before
        self.log_served = log_served  # write beside each feed what it was made from
        self.observe = observe  # sees each answer, in the thread that ranked it; changes none
        self.wrong_partition = wrong_partition  # finds the keys that lie elsewhere than they belong
        self.sample = sample  # is handed what was answered, once the answer is made; returns at once
        self.traces = traces  # is told of each request
        self.counters = Counters()
        self._vocabulary = serving.vocabulary
        self._decode_action = ActionDecoder(self._vocabulary, record_clock)

    def on_actions(self, records: Sequence[Record]) -> list[Outgoing]:
        """Apply a chunk of user-actions, in order of offset; return the dead letters."""
        dead_letters, decoded = self._decode(records)
        wrong = self._wrong(decoded.keys)
        if wrong:
            at = {record.offset: record for record in records}
            misplaced = [
                (key, at[offset]) for key, offset in zip(decoded.keys, decoded.offsets, strict=True) if key in wrong
            ]
            dead_letters += [self._dead_letter(record, WRONG_PARTITION, wrong[key]) for key, record in misplaced]
            decoded = decoded.without(wrong)
        self.apply(decoded.keys, decoded.actions, decoded.offsets)
        return dead_letters

    def _decode(self, records: Sequence[Record]) -> tuple[list[Outgoing], Decoded]:
        """Return the dead letters of what is no action, and the actions."""
        dead_letters: list[Outgoing] = []
        keys: list[bytes] = []
        actions: list[bytes] = []
        offsets: list[int] = []
        decode = self._decoder()
        ahead_before = decode.ahead
        for record in records:
            try:
                actions.append(decode(record))
            except Rejected as exc:
                dead_letters.append(self._dead_letter(record, exc.reason, str(exc)))
                continue
            except Exception:  # a bug that one record ran into: it must not end this worker and each of its heirs
                dead_letters.append(self._dead_letter(record, INTERNAL, traceback.format_exc()[-TRACEBACK_CHARS:]))
                continue
            keys.append(record.key)  # type: ignore[arg-type]  # decoding has compared it with the user's id
            offsets.append(record.offset)
        self.counters.ahead += decode.ahead - ahead_before
        return dead_letters, Decoded(keys, actions, offsets)

    def _wrong(self, keys: Sequence[bytes]) -> Mapping[bytes, str]:
        """Return the keys on a wrong partition, and what to do; users in memory passed when they were loaded."""
        new = self.users.not_loaded(keys)
        return self.wrong_partition(new) if new else {}

    def on_killer(self, record: Record) -> list[Outgoing]:
        """Return the dead letter of a record that the process died of before, unread."""
        message = "the process died each time that it had this record in hand, so it is passed over unread"
        return [self._dead_letter(record, KILLED_WORKER, message)]

    def apply(self, keys: Sequence[bytes], actions: Sequence[bytes], offsets: Sequence[int] | Offsets) -> None:
        """Apply packed actions of the users ``keys``, in ascending order of offset: ``on_actions`` once decoded."""
        arrived: dict[bytes, Arrived] = {}
        offsets = offsets if isinstance(offsets, Sequence) else offsets.tolist()
        for key, action, offset in zip(keys, actions, offsets, strict=True):
            user = arrived.get(key)
            if user is None:
                arrived[key] = ([action], [offset])
            else:
                user[0].append(action)
                user[1].append(offset)
        self._apply(arrived)

    def _decoder(self) -> ActionDecoder:
        """Return the decoder of the vocabulary that serves now: a new bundle may bring new names."""
        if self.serving.vocabulary is not self._vocabulary:
            self._vocabulary = self.serving.vocabulary
            self._decode_action = ActionDecoder(self._vocabulary, self.record_clock)
        return self._decode_action

    def _apply(self, arrived: dict[bytes, Arrived]) -> None:
        """One look-up for all users of the chunk, one ``apply`` per user, one fold for all sessions that ended."""
        ended: dict[bytes, Applied] = {}
        states = self.users.get_many(list(arrived))
        for (key, (actions, offsets)), state in zip(arrived.items(), states, strict=True):
            if offsets[0] <= state.offset:
                actions = self._not_yet_applied(actions, offsets, state.offset)
                if not actions:
                    continue
            applied = state.apply(actions, offsets[-1], self.users.forget_after_ms)
            self._count(len(actions), applied)
            if applied.ended:
                ended[key] = applied
            self.users.put(key, applied.state)
        if ended:
            self._fold(ended)

    def _not_yet_applied(self, actions: list[bytes], offsets: list[int], applied: int) -> list[bytes]:
        """Drop what was applied before: Kafka redelivers what a kill or a rebalance left uncommitted."""
        left = [action for action, offset in zip(actions, offsets, strict=True) if offset > applied]
        self.counters.redelivered += len(actions) - len(left)
        return left

    def _count(self, arrived: int, applied: Applied) -> None:
        counters, appended = self.counters, applied.appended
        counters.actions += arrived - applied.erasures - applied.forgotten
        counters.erasures += applied.erasures
        counters.forgotten += applied.forgotten
        counters.expired += applied.expired
        if appended.late or appended.duplicates or appended.too_old:
            counters.actions -= appended.duplicates + appended.too_old
            counters.late += appended.late
            counters.duplicates += appended.duplicates
            counters.too_old += appended.too_old

    def _fold(self, ended: dict[bytes, Applied]) -> None:
        """Step the recurrent states over the sessions that ended."""
        self.counters.sessions_ended += sum(len(applied.ended) for applied in ended.values())
        of_each: dict[int, tuple[OfflineFeatures, dict[bytes, Applied]]] = {}
        for key, applied in ended.items():
            offline = self.serving.for_user(key).offline
            of_each.setdefault(id(offline), (offline, {}))[1][key] = applied
        for offline, some in of_each.values():
            for key, state in fold_ended(some, offline).items():
                self.users.put(key, state)

    def on_requests(self, records: Sequence[Record]) -> "PendingRequests":
        """Decode a chunk of ranking-requests, and hold the users' states as they are now, checkpointed or not."""
        requests, outgoing = self._decoded(records)
        states = self.users.get_many([id_bytes(request.user_id) for _, request, _ in requests])
        forget_after_ms = self.users.forget_after_ms
        if forget_after_ms:
            as_of = [request.as_of(record.timestamp) for record, request, _ in requests]
            states = [state.as_of(at_ms, forget_after_ms) for state, at_ms in zip(states, as_of, strict=True)]
        for _, _, trace in requests:
            trace.held()
        return PendingRequests(self, requests, states, outgoing)

    def on_too_many(self, records: Sequence[Record]) -> "PendingRequests":
        """Decode requests that there is no time to rank: ``by_popularity`` answers them, without a user's state."""
        requests, outgoing = self._decoded(records)
        return PendingRequests(self, requests, [], outgoing)

    def _decoded(self, records: Sequence[Record]) -> tuple[list[Asked], list[Outgoing]]:
        """Return what can be decoded, and the dead letters and error feeds of what can't."""
        requests: list[Asked] = []
        outgoing: list[Outgoing] = []
        now_ms = None if self.record_clock is None else self.record_clock()
        for record in records:
            trace = self.traces.request(record)
            try:
                request = decode_request(record, now_ms)
            except Rejected as exc:
                outgoing += self._refuse_record(record, trace, exc.reason, str(exc))
            except Exception as exc:
                told = f"the request could not be read: {type(exc).__name__}: {exc}"
                kept = traceback.format_exc()[-TRACEBACK_CHARS:]
                outgoing += self._refuse_record(record, trace, INTERNAL, told, kept)
            else:
                trace.decoded(request)
                requests.append((record, request, trace))
        wrong = self._wrong([id_bytes(request.user_id) for _, request, _ in requests])
        if wrong:
            for record, request, trace in requests:
                key = id_bytes(request.user_id)
                outgoing += self._refuse_record(record, trace, WRONG_PARTITION, wrong[key]) if key in wrong else []
            requests = [one for one in requests if one[0].key not in wrong]
        self.counters.requests += len(requests)
        return requests, outgoing

    def _refuse_record(
        self, record: Record, trace: RequestTrace, reason: str, told: str, kept: str = ""
    ) -> list[Outgoing]:
        """Return the dead letter of a request that can't be decoded, and an error feed too if its ids can be read.

        ``told`` is the feed's message, and the letter's unless another is ``kept`` there.
        """
        outgoing = [self._dead_letter(record, reason, kept or told, trace)]
        ids = ids_of(record.value)
        if ids is not None:
            self.counters.refuse(reason)
            error = encode_error(*ids, reason, told, self.clock())
            outgoing.append(Outgoing(Channel.FEEDS, record.key, error, trace))
        trace.failed(reason)
        trace.answered()
        return outgoing

    def _dead_letter(self, record: Record, reason: str, message: str, trace: RequestTrace | None = None) -> Outgoing:
        """Return the dead letter of a record; ``trace`` is that of a request."""
        self.counters.reject(reason)
        trace = trace or self.traces.rejected(record, reason)
        return Outgoing(Channel.DEAD_LETTERS, record.key, encode_dead_letter(record, reason, message), trace)


@dataclass(frozen=True)
class PendingRequests:
    """Requests with the states to rank them with: nothing that happens later is seen."""

    pipeline: Pipeline
    requests: list[Asked]
    states: list[UserState]
    outgoing: list[Outgoing]  # dead letters and error feeds of what could not be decoded

    @property
    def num_candidates(self) -> int:
        """Return how many are to be ranked, as far as the requests say."""
        return sum(len(request.candidates or ()) or request.limit or 0 for _, request, _ in self.requests)

    def answer(self) -> list[Outgoing]:
        """Rank them all, in order: the slow part, which may run in another thread than the rest of the pipeline."""
        feeds: list[Outgoing] = []
        for asked, state in zip(self.requests, self.states, strict=True):
            ranker = self._ranker_of(asked)
            feeds += self._or_error(asked, ranker, partial(self._scored, ranker, asked, state))
        return self.outgoing + feeds

    def by_popularity(self) -> list[Outgoing]:
        """Answer them all without scoring, in order; quick, and in any thread.

        No record of served features goes with them: nothing was made of features.
        """
        self.pipeline.counters.shed += len(self.requests)
        feeds: list[Outgoing] = []
        for asked in self.requests:
            ranker = self._ranker_of(asked)
            feeds += self._or_error(asked, ranker, partial(self._unscored, ranker, asked))
        return self.outgoing + feeds

    def _ranker_of(self, asked: Asked) -> RankerLike:
        _, request, _ = asked
        return self.pipeline.serving.for_user(id_bytes(request.user_id))

    def _unscored(self, ranker: RankerLike, asked: Asked) -> list[Outgoing]:
        record, request, trace = asked
        check_deadline(request, self.pipeline.clock())
        ranking = ranker.rank_by_popularity(request)
        trace.ranked(ranking)
        feed = encode_feed(request, ranking, self.pipeline.clock())
        self.pipeline.counters.fallbacks += 1
        return [Outgoing(Channel.FEEDS, record.key, feed, trace)]

    def _scored(self, ranker: RankerLike, asked: Asked, state: UserState) -> list[Outgoing]:
        record, request, trace = asked
        clock = self.pipeline.clock
        check_deadline(request, clock())
        ranking = ranker.rank(request, state, record.timestamp)
        trace.ranked(ranking)
        self.pipeline.observe(ranking)
        now_ms = clock()
        feed = Outgoing(Channel.FEEDS, record.key, encode_feed(request, ranking, now_ms), trace)
        self.pipeline.counters.rank(ranking, record.timestamp, now_ms)
        self.pipeline.sample(request, state, record.timestamp)
        if not self.pipeline.log_served:
            return [feed]
        served = encode_served(record, request, state, ranking)
        return [feed, Outgoing(Channel.SERVED, record.key, served, trace)]

    def _or_error(self, asked: Asked, ranker: RankerLike, work: Callable[[], list[Outgoing]]) -> list[Outgoing]:
        """Return the answer of ``work``, which ``ranker`` does, or what says why there is none."""
        record, _, trace = asked
        error = partial(self._error, asked, ranker.variant)
        trace.begun()
        try:
            return work()
        except RankingRefusedError as exc:
            return [error(exc.reason, str(exc))]
        except Exception as exc:  # a bug that one request ran into: it must not stop the others
            message = f"the ranker failed: {type(exc).__name__}: {exc}"
            kept = traceback.format_exc()[-TRACEBACK_CHARS:]
            dead_letter = self.pipeline._dead_letter(record, INTERNAL, kept, trace)
            return [dead_letter, error(INTERNAL, message)]
        finally:
            trace.answered()

    def _error(self, asked: Asked, variant: Variant | None, reason: str, message: str) -> Outgoing:
        record, request, trace = asked
        trace.failed(reason)
        self.pipeline.counters.refuse(reason)
        error = encode_error(request.request_id, request.user_id, reason, message, self.pipeline.clock(), variant)
        return Outgoing(Channel.FEEDS, record.key, error, trace)
