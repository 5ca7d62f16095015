"""A changelog read as columns, and held before it is put: the same store, position and source as record by record."""

import importlib.util
from typing import Any

import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.structs import TopicPartition
from faust.types import TP
from hypothesis import given, settings
from hypothesis import strategies as st

from rankstream.features.history import History
from rankstream.features.sessions import SessionTail
from rankstream.features.stores.memory import MemoryStore
from rankstream.features.stores.rocksdb import POSITION
from rankstream.features.user_state import FORMAT, NEVER, UserState
from rankstream.streams.columns import AsColumns, RecordColumns, in_one
from rankstream.streams.engine import SoundStates, open_engine
from rankstream.streams.worker.changelog import RestoreJob
from rankstream.streams.worker.changelog_marks import LOG_HEADER
from rankstream.streams.worker.logged_states import RestoreError
from rankstream.streams.worker.newest_offsets import NewestOffsets
from rankstream.streams.worker.offsets import Bounds
from rankstream.streams.worker.source import HEADER
from tests.builders.actions import a_state, an_action

if importlib.util.find_spec("numba") is None:
    pytest.skip("numba is not installed: pip install 'rankstream[fast]'", allow_module_level=True)

from rankstream.streams.worker.unpacked_columns import partition_records
from rankstream.streams.worker.unpacking import LedRecords

LOG = TopicPartition("user-state-changelog", 0)
TAIL = SessionTail(b"12345678", 5, 7, b"recurrent")


def a_record_of(offset: int, actions: int, with_tail: bool, forgotten_ms: int = NEVER) -> bytes:
    history = a_state(*[an_action(f"i{n}", n) for n in range(actions)]).history if actions else History(b"")
    tail, departed = (TAIL, 3) if with_tail else (SessionTail(), 0)
    return UserState(history, tail, offset, actions, departed, forgotten_ms).pack()


SOUND = st.builds(a_record_of, st.integers(-1, 9), st.integers(0, 3), st.booleans(), st.sampled_from([NEVER, NEVER, 7]))
BROKEN = st.builds(lambda state, at: state[:at], SOUND, st.integers(0, 60))
OLDER = SOUND.map(lambda state: bytes([FORMAT - 1]) + state[1:])
STATES = st.one_of(SOUND, SOUND, SOUND, BROKEN, OLDER, st.none(), st.just(b"text of somebody"))
USERS = st.tuples(st.sampled_from([b"u1", b"u2", b"u3", b"", None, b"\xffu"]), STATES, st.just([]))
ABOUT = st.lists(st.tuples(st.sampled_from([HEADER, LOG_HEADER, "é"]), st.one_of(st.none(), st.binary(max_size=9))))
POSITIONS = st.tuples(st.just(POSITION), st.sampled_from([b"12345678", b"\1" + bytes(7), b"short", None]), ABOUT)
BATCHES = st.lists(st.lists(st.one_of(USERS, USERS, POSITIONS), min_size=1, max_size=20), max_size=5)


def a_fetch(batches: list[Any]) -> bytes:
    data, offset = b"", 0
    for records in batches:
        builder = DefaultRecordBatchBuilder(2, 0, False, -1, -1, -1, 1 << 20)
        for number, (key, value, headers) in enumerate(records):
            builder.append(number, 5, key, value, headers)
        raw = bytearray(builder.build())
        raw[:8] = offset.to_bytes(8, "big")
        data, offset = data + bytes(raw), offset + len(records)
    return data


def read(data: bytes, as_columns: bool) -> Any:
    of_keys = AsColumns(LOG.topic, with_headers=True) if as_columns else None
    return in_one(list(partition_records(LOG, LedRecords(data), (), 0, of_keys, None, True, 1)), with_headers=True)


def restored(fetches: list[bytes], sound_states: SoundStates | None, hold_bytes: int) -> Any:
    job = RestoreJob(TP(*LOG), MemoryStore(), Bounds(0, 1), "x", sound_states=sound_states, hold_bytes=hold_bytes)
    job.written = NewestOffsets(2)
    try:
        for data in fetches:
            job.apply(read(data, sound_states is not None))
        job.finish()
    except RestoreError as exc:
        return str(exc)
    return list(job.store.items()), job.position, job.source, job.store.next_offset


@pytest.fixture(scope="module")
def sound_states() -> SoundStates:
    found = open_engine("compiled").sound_states
    assert found is not None
    return found


@settings(max_examples=60)
@given(fetched=st.lists(BATCHES, min_size=1, max_size=3), hold_bytes=st.sampled_from([0, 500, 1 << 20]))
def test_whatever_a_changelog_holds_both_ways_restore_the_same(
    sound_states: SoundStates, fetched: list[Any], hold_bytes: int
):
    fetches = [a_fetch(batches) for batches in fetched]
    assert restored(fetches, sound_states, hold_bytes) == restored(fetches, None, 0)


def test_a_position_is_read_with_its_headers_from_a_batch_of_its_own(sound_states: SoundStates):
    about = [(HEADER, b"source"), (LOG_HEADER, b"x"), ("none", None)]
    data = a_fetch([[(b"u1", a_record_of(4, 2, True), [])], [(POSITION, (5).to_bytes(8, "little"), about)]])
    assert isinstance(read(data, True), RecordColumns)
    assert restored([data], sound_states, 1 << 20)[1:] == (5, b"source", 5)
    other = [(LOG_HEADER, b"another topic")]
    assert restored([a_fetch([[(POSITION, bytes(8), other)]])], sound_states, 0)[1] is None


def test_sound_states_never_meet_plain_code(sound_states: SoundStates):
    """Else the plain way would do all the work, and the test above would pass."""
    marks = [NEVER, NEVER, 7]  # one in three users was erased once
    data = a_fetch([[(b"u%d" % n, a_record_of(n, n % 3, n % 2 == 0, marks[n // 6 % 3]), []) for n in range(20)]])
    offsets, states, others = sound_states(read(data, True))
    assert offsets == {b"u%d" % n: n for n in range(20)}
    assert (states.keys(), list(others)) == (offsets.keys(), [])


def test_a_checksum_that_does_not_hold_is_no_batch():
    data = bytearray(a_fetch([[(b"u1", a_record_of(1, 1, False), [])] * 20]))
    data[100] ^= 1
    with pytest.raises(Exception, match="Invalid CRC"):
        read(bytes(data), True)
