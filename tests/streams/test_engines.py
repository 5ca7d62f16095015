"""The plain engine and the compiled one: the same log, however it is cut, leaves the same bytes everywhere."""

import importlib.util
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import xxhash
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from hypothesis import given, settings
from hypothesis import strategies as st

from rankstream.features.actions import pack_action
from rankstream.features.decoding import MAX_DEPTH
from rankstream.features.stores.base import UserStore
from rankstream.features.stores.memory import MemoryStore
from rankstream.features.stores.rocksdb import RocksStore
from rankstream.features.user_state import CorruptStateError, UserState, unpack_state
from rankstream.streams import engine as engine_module
from rankstream.streams.batch_head import HEAD, read_head
from rankstream.streams.columns import RecordColumns, columns_of
from rankstream.streams.engine import PLAIN, Engine, EngineRefusedError, open_engine
from rankstream.streams.partitioner import KeyCheck, PartitionCheck, anywhere
from rankstream.streams.pipeline import Pipeline
from rankstream.streams.tracing import UNTRACED, RequestTrace, Traces
from tests.builders.actions import (
    MORNING_MS,
    NO_SESSIONS,
    ARecord,
    EchoRanker,
    MixingSessions,
    SomeLiveRanker,
    a_request,
    a_state,
    an_action,
    an_event,
    decoded,
)
from tests.builders.mixed_log import a_mixed_log

needs_numba = pytest.mark.skipif(
    importlib.util.find_spec("numba") is None, reason="numba is not installed: pip install 'rankstream[fast]'"
)


@dataclass
class Run:
    """A partition under one engine, and all that came out of it."""

    engine: Engine
    store: UserStore = field(default_factory=MemoryStore)
    limit: int = 3
    serving: Any = field(default_factory=lambda: SomeLiveRanker(MixingSessions()))
    check: KeyCheck = anywhere
    forget_after_ms: int = 0
    dead_letters: list[Any] = field(default_factory=list)
    changelog: list[tuple[bytes, bytes]] = field(default_factory=list)
    counted: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Begin with what the store has, as after a kill."""
        users = self.engine.users(self.store, self.limit, forget_after_ms=self.forget_after_ms)
        clock = lambda: MORNING_MS  # noqa: E731
        self.pipeline: Pipeline = self.engine.pipeline(
            users, self.serving, clock=clock, record_clock=clock, wrong_partition=self.check
        )
        self.counted.append(self.pipeline.counters)

    def take(self, records: Any) -> "Run":
        self.dead_letters += self.pipeline.on_actions(records)
        return self

    def checkpoint(self, next_offset: int = 0) -> "Run":
        changes = self.pipeline.users.take_changes(next_offset)
        self.changelog += sorted(changes.records.items())  # their order within a checkpoint means nothing
        self.pipeline.users.commit(changes)
        return self

    @property
    def came_out(self) -> tuple[Any, ...]:
        counts = [{name: one for name, one in vars(of).items() if isinstance(one, int)} for of in self.counted]
        rejected = [of.rejected for of in self.counted]
        return counts, rejected, self.dead_letters, self.changelog, list(self.store.items())


@pytest.fixture(scope="session")
def compiled() -> Engine:
    return open_engine("compiled")


def both(compiled: Engine, **options: Any) -> tuple[Run, Run]:
    return Run(PLAIN, **options), Run(compiled, **options)


class TwoModels(SomeLiveRanker):
    """Folds the sessions of every other user by other weights, as an experiment does."""

    other = SomeLiveRanker(MixingSessions(tag=8)).current

    def for_user(self, key: bytes) -> EchoRanker:
        return self.other if xxhash.xxh3_64_intdigest(key) % 2 else self.current


def tags(run: Run) -> set[int]:
    """Whose weights have folded sessions."""
    tails = [unpack_state(record, run.limit).tail for _, record in run.store.items()]
    return {tail.tag for tail in tails if tail.state}


@needs_numba
@pytest.mark.parametrize(
    ("count", "serving", "forget_after_ms"),
    [(50_000, TwoModels(MixingSessions()), 0), (13_000, SomeLiveRanker(NO_SESSIONS), 7 * 3_600_000)],
)
def test_a_log_of_everything_leaves_the_same_bytes_in_all_outputs(
    compiled: Engine, count: int, serving: SomeLiveRanker, forget_after_ms: int, tmp_path
):
    """With users forgotten and read again from RocksDB, keys that lie elsewhere, and a restart that redelivers."""
    log = a_mixed_log(count, users=3_000)
    runs = both(compiled, limit=20, serving=serving, check=PartitionCheck(0, 3), forget_after_ms=forget_after_ms)
    for run in runs:
        run.store = RocksStore(tmp_path / run.engine.name)
        run.start()
        run.pipeline.users.max_cached = 300
        for at in range(0, len(log), 777):
            run.take(log[at : at + 777])
            if at % 3 == 0:
                run.checkpoint(at)
            if at == 777 * 15:
                run.start()
                run.take(log[at - 777 * 5 : at])
        run.checkpoint(len(log))
    plain, other = (run.came_out for run in runs)
    for name in ("late", "duplicates", "too_old", "ahead", "redelivered", "sessions_ended", "erasures", "forgotten"):
        assert sum(getattr(one, name) for one in runs[0].counted) > 0, name
    assert (sum(one.expired for one in runs[0].counted) > 0) == (forget_after_ms > 0)
    reasons = {reason for one in runs[0].counted for reason in one.rejected}
    assert {"wrong-partition", "not-json", "schema", "key-mismatch", "too-large"} <= reasons
    assert other == plain
    assert tags(runs[0]) == ({7, 8} if isinstance(serving, TwoModels) else set())
    for run in runs:
        run.store.close()


TEXTS = st.one_of(st.sampled_from(["a", "7", "07", "é", "x" * 65, ""]), st.text(max_size=3))
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "surface": st.sampled_from(["home", "search", "elsewhere", None, "", 5]),
        "value": st.one_of(st.floats(-1, 1e6), st.sampled_from([None, 3, 10**18, "x", True])),
        "list_id": st.one_of(TEXTS, st.none(), st.integers(-1, 2**70)),
        "collection_id": st.one_of(TEXTS, st.none(), st.integers(-1, 2**70), st.booleans()),
        "more": st.one_of(st.none(), st.booleans(), st.integers(), TEXTS, st.lists(st.integers(), max_size=2)),
        "item_id": st.one_of(TEXTS, st.integers(-1, 2**64), st.none()),
        "action": st.sampled_from(["hide", "looked", "", None]),
        "timestamp_ms": st.sampled_from([0, MORNING_MS + 10**8, 2**42, "1", 1.5, None]),
        "user_id": st.sampled_from(["u1", "2", 2, "é", ""]),
    },
)
ERASURES = st.fixed_dictionaries({"action": st.just("forget"), "item_id": st.sampled_from([None, None, "a", ""])})
RECORDS = st.tuples(
    st.sampled_from(["u1", "u2", 3]), st.integers(0, 4), st.integers(0, 30), st.one_of(FIELDS, FIELDS, ERASURES)
)
STEPS = st.lists(st.one_of(st.integers(1, 9), st.sampled_from(["checkpoint", "restart"])), max_size=12)


@needs_numba
@settings(max_examples=150)
@given(st.lists(RECORDS, max_size=40), STEPS, st.sampled_from([0, 0, 1, 600_000, 3_000_000]))
def test_whatever_is_sent_and_however_it_is_cut_both_engines_agree(
    compiled: Engine, drawn: list[Any], steps: list[Any], forget_after_ms: int
):
    log = [an_event(user, item, 600 * at, n, **more) for n, (user, item, at, more) in enumerate(drawn)]
    plain, other = both(compiled, forget_after_ms=forget_after_ms)
    for run in (plain, other):
        at = saved = 0
        for step in [*steps, len(log) + 1, "checkpoint"]:
            if step == "checkpoint":
                run.checkpoint(at)
                saved = at
            elif step == "restart":
                run.start()
                at = saved
            else:
                run.take(log[at : at + step])
                at = min(len(log), at + step)
    assert other.came_out == plain.came_out


@needs_numba
@settings(max_examples=200)
@given(st.binary(max_size=60), st.sampled_from([b"u1", b"", None]))
def test_bytes_that_nobody_meant_to_send_are_the_same_dead_letter(compiled: Engine, value: bytes, key: bytes | None):
    whole = an_event("u1").value or b""
    records = [ARecord(one, key, n) for n, one in enumerate([value, whole[:20] + value, whole + value, value + whole])]
    plain, other = both(compiled)
    assert other.take(records).checkpoint().came_out == plain.take(records).checkpoint().came_out


@needs_numba
@pytest.mark.parametrize("depth", [MAX_DEPTH - 1, MAX_DEPTH, 900, 5_000])
def test_brackets_are_as_deep_for_both(compiled: Engine, depth: int):
    records = [ARecord((an_event("u1").value or b"")[:-1] + b',"x":' + b"[" * depth + b"]" * depth + b"}", b"u1", 0)]
    plain, other = both(compiled)
    assert other.take(records).checkpoint().came_out == plain.take(records).checkpoint().came_out


@needs_numba
def test_the_hash_of_a_text_is_that_of_xxhash_at_every_length():
    from rankstream.streams.compiled.text_keys import xxh3

    for size in range(1, 65):
        text = bytes(range(size, 2 * size))
        assert int(xxh3(np.frombuffer(text, np.uint8), 0, size)) == xxhash.xxh3_64_intdigest(text)


@needs_numba
def test_an_ordinary_action_is_packed_by_the_kernel_alone(compiled: Engine, monkeypatch):
    """Else the plain decoder would do all the work, and every other test here would pass."""
    run = Run(compiled, limit=9)
    monkeypatch.setattr(run.pipeline, "_decode", None)
    more = {"surface": "home", "value": 2.5, "list_id": "r1", "collection_id": "c1"}
    run.take([an_event("u1", "a", at=1, offset=5, **more), an_event(7, 8, offset=6)])
    state = run.pipeline.users.get(b"u1")
    stamp, code = MORNING_MS + 1000, 1 + round(16 * np.log2(3.5))
    assert state.history.packed == pack_action(stamp, 1, xxhash.xxh3_64_intdigest(b"a") | 1 << 63, 1, code)
    assert (state.offset, state.total, run.pipeline.counters.actions) == (5, 1, 2)


def a_batch(*records: ARecord, headers: list[tuple[str, bytes]]) -> RecordColumns:
    """Records as columns of what a fetch brought."""
    from rankstream.streams.compiled.record_batches import read_batch

    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 16)
    for one in records:
        builder.append(one.offset, one.timestamp, one.key, one.value, headers)
    data = bytes(builder.build())
    found = read_batch("user-actions", 0, read_head(data, 0), data, HEAD.size, len(data))
    assert found is not None
    return found


class Rejections(Traces):
    """Keeps what it is told of records that are rejected."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []

    def rejected(self, record: Any, reason: str) -> RequestTrace:
        self.told.append((reason, record.headers))
        return UNTRACED


@needs_numba
def test_columns_that_are_rejected_are_told_with_their_headers(compiled: Engine):
    run = Run(compiled, check=PartitionCheck(0, 3))
    run.pipeline.traces = traces = Rejections()
    headers = [("traceparent", b"00-1-2-01")]
    run.take(a_batch(ARecord(b"{"), an_event("u1", offset=1), headers=headers))
    assert traces.told == [("not-json", headers), ("wrong-partition", headers)]


@needs_numba
def test_a_user_with_more_actions_than_the_limit_of_now_goes_the_plain_way(compiled: Engine):
    """The limit was lowered: what such a history evicts depends on what comes together, so it is not a slot's."""
    before = a_state(*[an_action(f"i{n}", n) for n in range(9)], limit=9)
    runs = both(compiled, limit=4)
    for run in runs:
        run.store.write({b"u1": before.pack()}, 0)
        run.take([an_event("u1", "new", 99, 50), an_event("u2", "b", 5, 51), an_event("u1", "late", 3, 52)])
        run.checkpoint()
        assert run.pipeline.users.get(b"u1").total == 11
    assert runs[1].came_out == runs[0].came_out


@needs_numba
def test_a_damaged_record_of_a_user_is_refused_as_ever(compiled: Engine):
    run = Run(compiled)
    run.store.write({b"u1": a_state(an_action()).pack()[:-1]}, 0)
    with pytest.raises(CorruptStateError, match="a stored user record of 29 bytes"):
        run.take([an_event("u1")])


@needs_numba
@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0, 2**32 - 1, 2**64 - 1, 2**64 + 5]), st.binary(max_size=9))
def test_totals_counters_and_foreign_recurrent_states_are_kept_at_their_limits(
    compiled: Engine, total: int, departed: int, recurrent: bytes
):
    state = a_state(*[an_action(f"i{n}", n) for n in range(5)], limit=3)
    tail = type(state.tail)(state.tail.items, state.tail.last_ms, 2**64 - 1, recurrent)
    before = UserState(state.history, tail, state.offset, total, departed)
    runs = both(compiled, serving=SomeLiveRanker())
    for run in runs:
        run.store.write({b"u1": before.pack()}, 0)
        assert run.pipeline.users.get(b"u1") == before
        run.take([an_event("u1", "z", 9, 9), an_event("u1", "y", 8, 10)]).checkpoint()
    assert runs[1].came_out == runs[0].came_out


@needs_numba
def test_requests_see_what_was_applied_and_not_yet_checkpointed(compiled: Engine):
    run = Run(compiled).take([an_event("u1", "a", at=1)])
    (feed,) = decoded(run.pipeline.on_requests([a_request("u1", at=2)]).answer())
    assert feed["actions_used"] == 1
    (feed,) = decoded(run.pipeline.on_requests([a_request("new", at=2)]).answer())
    assert feed["actions_used"] == 0


@needs_numba
def test_another_vocabulary_is_used_from_the_next_chunk_on(compiled: Engine):
    runs = both(compiled)
    for run in runs:
        run.take([an_event("u1", action="view"), an_event("u1", action="buy", offset=1)])
        run.serving.vocabulary = type(run.serving.vocabulary)(("view", "click", "save", "hide", "buy"), ("home",))
        run.take([an_event("u1", "b", 1, 2, "buy", surface="search")]).checkpoint()
        assert run.pipeline.counters.rejected == {"unknown-action": 1}
    assert runs[1].came_out == runs[0].came_out


@needs_numba
def test_packed_actions_are_applied_as_decoded_ones_are(compiled: Engine):
    log = [an_event(f"u{n % 7}", n % 3, 600 * (n % 11), n) for n in range(60)]
    plain, other = both(compiled)
    _, packed = plain.pipeline._decode(log)
    plain.pipeline.apply(packed.keys, packed.actions, packed.offsets)
    other.pipeline.apply(packed.keys, packed.actions, packed.offsets)
    assert other.checkpoint().came_out == plain.checkpoint().came_out


@needs_numba
def test_packed_actions_of_a_replay_meet_kernels_alone_and_leave_the_same_bytes(compiled: Engine, monkeypatch):
    """In batches of any size, users forgotten between; some states too long for a slot, and no partition to check."""
    log, runs = a_mixed_log(6_000, seed=3, users=300), both(compiled, limit=9, check=PartitionCheck(0, 99))
    _, packed = Run(PLAIN).pipeline._decode(log)
    for run in runs:
        run.store.write({packed.keys[0]: a_state(*[an_action(f"i{n}", n) for n in range(12)], limit=12).pack()}, 0)
        run.pipeline.users.max_cached = 100
        for at in range(0, len(packed.keys), 1_000):
            part = slice(at, at + 1_000)
            run.pipeline.apply(packed.keys[part], packed.actions[part], packed.offsets[part])
            run.checkpoint(at)
    assert runs[1].came_out == runs[0].came_out
    monkeypatch.setattr(UserState, "apply", None)
    fresh = Run(compiled)
    fresh.pipeline.apply(packed.keys, packed.actions, packed.offsets)
    assert fresh.pipeline.counters.actions > 1_000


@needs_numba
def test_columns_are_applied_as_the_records_that_lie_in_them(compiled: Engine):
    """As a fetch brings them: chunks of one buffer, of which each begins somewhere."""
    log = a_mixed_log(3_000, seed=2, users=200)
    plain, other, columns = *both(compiled, limit=9), columns_of(log)
    for at in range(0, len(log), 700):
        plain.take(log[at : at + 700])
        other.take(columns[at : at + 700])
    assert other.checkpoint().came_out == plain.checkpoint().came_out


def test_columns_are_the_records_that_they_were_made_of():
    log = a_mixed_log(300)
    columns = columns_of(log)
    assert list(columns) == log
    assert list(columns[7:20]) == log[7:20]
    assert columns[-1] == log[-1]
    assert list(columns.since(log[30].offset)) == log[30:]


def test_without_numba_auto_is_the_plain_engine_and_the_compiled_one_is_refused(monkeypatch):
    monkeypatch.setattr(engine_module, "find_spec", lambda name: None)
    monkeypatch.setitem(__import__("sys").modules, "rankstream.streams.compiled.pipeline", None)
    assert open_engine("auto") is PLAIN
    with pytest.raises(EngineRefusedError, match=r"pip install 'rankstream\[fast\]', or set engine = plain"):
        open_engine("compiled")


@needs_numba
def test_with_numba_auto_is_the_compiled_engine(compiled: Engine):
    assert open_engine("auto") == compiled
    assert open_engine("plain") is PLAIN


@needs_numba
def test_a_start_that_compiles_first_says_so(compiled: Engine, tmp_path, monkeypatch, caplog):
    from rankstream.streams.compiled.jit import CACHE

    open_engine("auto")
    assert "compiling" not in caplog.text
    monkeypatch.setattr(CACHE, "folder", tmp_path)
    open_engine("auto")
    assert f"compiling {CACHE.room}, once a version and machine" in caplog.text


@needs_numba
def test_where_machine_code_cannot_be_kept_that_is_said_and_nothing_else_changes(compiled: Engine, monkeypatch, caplog):
    from rankstream.streams.compiled.jit import CACHE

    monkeypatch.setenv("NUMBA_CACHE_DIR", "/proc/nowhere")
    assert CACHE.open_folder() is None
    assert "can't be kept in /proc/nowhere" in caplog.text
    assert "set NUMBA_CACHE_DIR" in caplog.text
