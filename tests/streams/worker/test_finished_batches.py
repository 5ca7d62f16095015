"""Batches of packed states: the bytes that aiokafka's own builder makes, and brokers take them as its own."""

import importlib.util
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.producer.message_accumulator import BatchBuilder
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rankstream.features.stores.cache import Changes
from rankstream.features.stores.memory import MemoryStore
from rankstream.streams.worker.finished_batches import Ending, Shape, batches_of, finished_batches
from tests.builders.actions import MORNING_MS, a_state, an_action

if importlib.util.find_spec("numba") is None:
    pytest.skip("numba is not installed: pip install 'rankstream[fast]'", allow_module_level=True)

from rankstream.streams.compiled.users import ArenaUsers

ENDING = Ending(b"\xffnext", b"12345678", [("source", b"x" * 70), ("log", b"")])


def some_changes(users: dict[bytes, int]) -> Changes:
    """The changes of users with so many actions each."""
    cached = ArenaUsers(MemoryStore())
    for key, count in users.items():
        cached.put(key, a_state(*[an_action(f"i{n}", n) for n in range(count)]))
    return cached.take_changes(7)


def as_aiokafka_makes_them(changes: Changes, ending: Ending | None, shape: Shape) -> list[BatchBuilder]:
    new = lambda: BatchBuilder(shape.max_bytes, 0, is_transactional=shape.transactional)  # noqa: E731
    batches = [new()]
    records: list[Any] = [(key, value, []) for key, value in changes.records.items()]
    records += [] if ending is None else [(ending.key, ending.value, ending.headers)]
    for key, value, headers in records:
        about = {"timestamp": MORNING_MS, "key": key, "value": value, "headers": headers}
        if batches[-1].append(**about) is None:
            batches.append(new())
            batches[-1].append(**about)
    return batches


def built(batches: Any, numbered: bool) -> list[tuple[int, int, bytes]]:
    made = []
    for number, batch in enumerate(batches):
        if numbered:
            batch._set_producer_state(7, 3, 100 * number)
        batch.close()
        made.append((batch.record_count(), len(batch._build()), bytes(batch._build())))
    return made


KEYS = st.one_of(st.binary(min_size=1, max_size=3), st.binary(min_size=1, max_size=80))
AS_LARGE_AS_THREE = len(
    as_aiokafka_makes_them(some_changes({b"u": 99, b"v": 99, b"w": 9}), None, Shape(1 << 20, False))[0]._build()
)
USERS = st.dictionaries(KEYS, st.integers(0, 100), min_size=1, max_size=30)


@settings(max_examples=100)
@example({b"u": 99, b"v": 99, b"w": 9}, None, AS_LARGE_AS_THREE, False)
@given(USERS, st.sampled_from([None, ENDING]), st.sampled_from([100, 700, 5_000, 1 << 20]), st.booleans())
def test_each_batch_is_to_the_byte_what_aiokafka_makes_of_the_records(
    users: dict[bytes, int], ending: Ending | None, max_bytes: int, transactional: bool
):
    changes, shape = some_changes(users), Shape(max_bytes, transactional)
    finished = list(finished_batches(changes.records, ending, shape, lambda: MORNING_MS))  # type: ignore[arg-type]
    expected = as_aiokafka_makes_them(changes, ending, shape)
    assert built(finished, transactional) == built(expected, transactional)


def test_a_batch_of_a_hundred_thousand_bytes_of_one_user_stands_alone():
    """Numbers of three bytes before a record; no state is that large, but batches may be that small."""
    changes = some_changes({b"k" * 90_000: 100, b"u": 1})
    finished = list(finished_batches(changes.records, None, Shape(1_000, False), lambda: MORNING_MS))  # type: ignore[arg-type]
    assert [one.record_count() for one in finished] == [1, 1]
    assert built(finished, False) == built(as_aiokafka_makes_them(changes, None, Shape(1_000, False)), False)


def test_packed_states_are_a_mapping_in_order_of_key():
    changes = some_changes({b"user-30": 1, b"user-1": 2, b"user-22": 3})
    assert list(changes.records) == [b"user-1", b"user-22", b"user-30"]
    assert dict(changes.records.items()) == {key: changes.records[key] for key in changes.records}
    assert len(changes.records) == 3
    with pytest.raises(KeyError):
        changes.records[b"user-2"]


def test_a_producer_that_compresses_makes_its_batches_itself():
    packed = SimpleNamespace(_message_accumulator=SimpleNamespace(_compression_type=3), _txn_manager=None)
    assert batches_of(some_changes({b"u1": 1}).records, ENDING, packed) is None
