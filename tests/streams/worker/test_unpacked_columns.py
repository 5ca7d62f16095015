"""Batches handed on as columns: the very records that aiokafka makes of them, whatever a batch is like."""

import importlib.util
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.consumer import fetcher
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c
from aiokafka.structs import TopicPartition

from rankstream.streams.columns import AsColumns, RecordColumns, in_one
from rankstream.streams.worker.unpacking import (
    BoundedFetchResult,
    BoundedPartitionRecords,
    LedRecords,
    bound_unpacking,
)
from tests.builders.mixed_log import a_mixed_log

if importlib.util.find_spec("numba") is None:
    pytest.skip("numba is not installed: pip install 'rankstream[fast]'", allow_module_level=True)

from rankstream.streams.worker.unpacked_columns import hand_on_columns, partition_records

KINDS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
TP = TopicPartition("user-actions", 3)
LOG = [(one.key, one.value, one.timestamp) for one in a_mixed_log(60) if one.timestamp > 0]


def a_batch(kind: str = "none", first: int = 0, headers: Any = (), transactional: bool = False) -> bytes:
    builder = DefaultRecordBatchBuilder(2, KINDS[kind], transactional, 7 if transactional else -1, 0, 0, 1 << 30)
    for number, (key, value, at_ms) in enumerate(LOG):
        builder.append(3 * number, timestamp=at_ms, key=key, value=value, headers=list(headers))
    raw = bytearray(builder.build())
    raw[:8] = first.to_bytes(8, "big")  # the base offset, which the checksum leaves out
    return bytes(raw)


def taken(data: bytes, as_columns: bool, offset: int = 0, aborted: Any = (), max_bytes: int = 0) -> list[Any]:
    """What one fetch gives, as fields; and how many parts of it were handed on, with the position after each."""
    about = (aborted, offset, AsColumns(TP.topic), None, True, 1)
    made = partition_records(TP, LedRecords(data), *about) if as_columns else None
    records = made or BoundedPartitionRecords(TP, LedRecords(data), *about)
    state: Any = SimpleNamespace(paused=False, position=offset)
    state.consumed_to = lambda offset: setattr(state, "position", offset)
    assignment = SimpleNamespace(active=True, state_value=lambda tp: state)
    result = BoundedFetchResult(TP, assignment=assignment, partition_records=records, backoff=0)
    parts = []
    while result.has_more():
        part = result.getall()
        assert isinstance(part, RecordColumns if as_columns and len(part) >= 16 else list)
        parts += [(one.topic, one.partition, one.offset, one.timestamp, one.key, one.value) for one in part]
    return [*parts, state.position]


def damaged(raw: bytes, at: int, byte: int) -> bytes:
    """A batch of which one byte is another one, though its checksum holds."""
    broken = bytearray(raw)
    broken[at] = byte
    broken[17:21] = calc_crc32c(bytes(broken[21:])).to_bytes(4, "big")
    return bytes(broken)


@pytest.mark.parametrize("kind", KINDS)
def test_columns_hold_the_records_of_each_codec_from_any_offset_on(kind: str):
    data = a_batch(kind) + a_batch("none", 3 * len(LOG)) + a_batch(kind, 900, [("trace", b"x"), ("none", None)])
    for offset in (0, 1, 40, 3 * len(LOG) + 5):
        assert taken(data, True, offset) == taken(data, False, offset)
    assert len(taken(data, True)) == 3 * len(LOG) + 1


def test_a_small_batch_among_others_does_not_multiply_what_lies_beside_it():
    """All batches of a fetch share its bytes: taken once a batch, 70 batches of 16 KB made 70 MB of a megabyte."""
    builder = DefaultRecordBatchBuilder(2, 0, False, -1, -1, -1, 1 << 20)
    builder.append(0, timestamp=5, key=b"u1", value=b"alone", headers=[])
    small = bytearray(builder.build())
    small[:8] = (500).to_bytes(8, "big")
    data = a_batch() + bytes(small) + a_batch(first=900) + a_batch(first=1_300)
    assert taken(data, True) == taken(data, False)
    parts = list(partition_records(TP, LedRecords(data), (), 0, AsColumns(TP.topic), None, True, 1))
    assert len(in_one(parts).data) == len(data) + len(b"u1alone")


def test_which_leader_wrote_a_fetch_is_known_of_columns_too():
    raw = bytearray(a_batch())
    raw[12:16] = (7).to_bytes(4, "big")  # which the checksum leaves out
    records = partition_records(TP, LedRecords(bytes(raw)), (), 0, AsColumns(TP.topic), None, True, 1)
    assert records.leader_epoch == 7


def test_records_stamped_by_the_broker_have_its_time():
    raw = a_batch()
    appended = damaged(raw, 22, raw[22] | 8)
    assert taken(appended, True) == taken(appended, False)
    assert len({fields[3] for fields in taken(appended, True)[:-1]}) == 1


def test_of_an_aborted_transaction_nothing_is_handed_on():
    data = a_batch(transactional=True) + a_batch("lz4", 500)
    assert taken(data, True, aborted=[(7, 0)]) == taken(data, False, aborted=[(7, 0)])
    assert len(taken(data, True, aborted=[(7, 0)])) == len(LOG) + 1


def test_header_names_that_are_not_ascii_are_left_to_aiokafka():
    data = a_batch("none", 0, [("é", b"x")])
    records = partition_records(TP, LedRecords(data), (), 0, AsColumns(TP.topic), None, True, 1)
    assert not isinstance(next(iter(records)), RecordColumns)


def test_what_is_damaged_is_damaged_either_way():
    raw = a_batch()
    for at in range(57, len(raw), 11):
        for byte in (0, 1, 0x7F, 0x80, 0xFF):
            data = damaged(raw, at, byte)
            assert _fields_or_error(data, True) == _fields_or_error(data, False)


def _fields_or_error(data: bytes, as_columns: bool) -> Any:
    about = ((), 0, AsColumns(TP.topic), None, True, 1)
    made = partition_records(TP, LedRecords(data), *about) if as_columns else None
    found = []
    try:
        for part in made or BoundedPartitionRecords(TP, LedRecords(data), *about):
            found += [(one.offset, one.timestamp, one.key, one.value) for one in _each(part)]
    except Exception as exc:
        return found, repr(exc)
    return found


def _each(part: Any) -> Any:
    return part if isinstance(part, RecordColumns) else [part]


def test_topics_that_nobody_named_are_read_as_ever():
    made = partition_records(TP, LedRecords(a_batch()), (), 0, AsColumns("ranking-requests"), None, True, 1)
    assert type(made) is BoundedPartitionRecords


def test_these_are_the_names_that_aiokafka_reads_by(monkeypatch):
    for name in ("PartitionRecords", "FetchResult", "MemoryRecords"):
        monkeypatch.setattr(fetcher, name, getattr(fetcher, name))
    bound_unpacking()
    hand_on_columns()
    assert {"PartitionRecords", "MemoryRecords"} <= set(fetcher.Fetcher._proc_fetch_request.__code__.co_names)
