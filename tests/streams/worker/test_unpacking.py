"""What a batch may unpack to: what is within the bound comes whole, what is not is one record that says so."""

import gzip
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import CorruptRecordException, KafkaError
from aiokafka.record import default_records
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c
from aiokafka.structs import TopicPartition

from rankstream.streams.worker import unpacking
from rankstream.streams.worker.unpacking import (
    BoundedFetchResult,
    BoundedPartitionRecords,
    LedRecords,
    bound_unpacking,
)
from tests.builders.actions import a_pipeline, decoded

KINDS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
TP = TopicPartition("user-actions", 3)


@pytest.fixture(autouse=True)
def _bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bound the unpacking to little, for this test alone."""
    module = __import__("sys").modules[DefaultRecordBatch.__module__]
    for name in ("gzip_decode", "lz4_decode", "zstd_decode"):
        monkeypatch.setattr(module, name, getattr(module, name))
    for name in ("MemoryRecords", "PartitionRecords", "FetchResult"):
        monkeypatch.setattr(unpacking.fetcher, name, getattr(unpacking.fetcher, name))
    bound_unpacking()
    monkeypatch.setattr(unpacking, "UNPACKED_BYTES", 1 << 20)


def a_batch(kind: str, values: list[bytes], first: int = 0) -> bytes:
    builder = DefaultRecordBatchBuilder(2, KINDS[kind], 0, -1, -1, -1, 1 << 30)
    for number, value in enumerate(values):
        builder.append(number, timestamp=5, key=b"u1", value=value, headers=[])
    raw = bytearray(builder.build())
    raw[:8] = first.to_bytes(8, "big")  # the base offset, which the checksum leaves out
    return bytes(raw)


def records_of(*batches: bytes) -> BoundedPartitionRecords:
    return BoundedPartitionRecords(TP, LedRecords(b"".join(batches)), [], 0, None, None, True, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_batches_within_the_bound_come_whole(kind: str):
    values = [b"%d" % number * 40 for number in range(500)]
    records = list(records_of(a_batch(kind, values)))
    assert [record.value for record in records] == values
    assert [record.offset for record in records] == list(range(500))


@pytest.mark.parametrize("kind", ["gzip", "lz4", "zstd"])
def test_a_batch_beyond_the_bound_is_one_dead_letter_and_the_others_are_read(kind: str):
    batches = a_batch(kind, [b"a"]), a_batch(kind, [b"x" * 50_000] * 40, first=1), a_batch(kind, [b"b"], first=41)
    before, instead, after = list(records_of(*batches))
    assert (before.value, after.value, after.offset) == (b"a", b"b", 41)
    (letter,) = decoded(a_pipeline().on_actions([instead]))
    assert (letter["reason"], letter["offset"], letter["partition"]) == ("too-large", 40, 3)
    assert letter["message"].startswith("the batch of offsets 1 to 40 unpacks to more than 1 MB")
    (letter,) = decoded(a_pipeline().on_requests([instead]).answer())
    assert letter["reason"] == "too-large"


def test_of_a_batch_beyond_the_bound_that_reading_begins_in_the_middle_of_there_is_a_dead_letter_too():
    raw = a_batch("gzip", [b"x" * 50_000] * 40)
    records = BoundedPartitionRecords(TP, LedRecords(raw), [], 25, None, None, True, 0)
    assert [record.offset for record in records] == [39]


def test_a_batch_that_is_damaged_inside_is_passed_over_too():
    raw = bytearray(a_batch("zstd", [b"x" * 1_000] * 9))
    raw[70] ^= 0xFF
    records = BoundedPartitionRecords(TP, LedRecords(bytes(raw)), [], 0, None, None, False, 0)
    assert [record.value for record in records] == [b""]
    assert records.next_fetch_offset == 9


@pytest.mark.parametrize("first", [-(1 << 63), -1, (1 << 63) - 1])
@pytest.mark.parametrize("kind", ["none", "lz4"])
def test_a_batch_at_offsets_that_no_topic_has_is_damaged(kind: str, first: int):
    """No checksum covers a batch's first offset, and the next fetch begins where the batch is said to end."""
    raw = first.to_bytes(8, "big", signed=True) + a_batch(kind, [b"x", b"y"])[8:]
    with pytest.raises(CorruptRecordException, match=f"said to lie at offsets {first} to"):
        list(records_of(raw))


def test_a_batch_that_is_said_to_end_before_it_begins_is_damaged():
    raw = bytearray(a_batch("none", [b"x", b"y"]))
    raw[23:27] = (-1).to_bytes(4, "big", signed=True)  # how far its last offset is from its first
    raw[17:21] = calc_crc32c(bytes(raw[21:])).to_bytes(4, "big")
    with pytest.raises(CorruptRecordException, match="said to lie at offsets 0 to -1"):
        list(records_of(bytes(raw)))


def test_gzip_of_several_members_is_unpacked_as_gzip_does_it():
    packed = gzip.compress(b"one") + gzip.compress(b"two")
    assert unpacking.unpack_gzip(packed) == gzip.decompress(packed) == b"onetwo"


def test_no_more_is_handed_on_at_once_than_the_bound_and_nothing_is_lost(monkeypatch):
    monkeypatch.setattr(unpacking, "TAKEN_BYTES", 1_000)
    values = [b"%d" % number * 100 for number in range(50)]
    state: Any = SimpleNamespace(paused=False, position=0)
    state.consumed_to = lambda offset: setattr(state, "position", offset)
    assignment = SimpleNamespace(active=True, state_value=lambda tp: state)
    result = BoundedFetchResult(
        TP, assignment=assignment, partition_records=records_of(a_batch("gzip", values)), backoff=0
    )
    taken, sizes = [], []
    while result.has_more():
        part = result.getall(max_records=9)
        taken += [record.value for record in part]
        sizes.append(sum(len(record.value) for record in part))
        assert state.position == len(taken)
    assert taken == values
    assert max(sizes) <= 1_000 + 200


def test_this_is_the_module_that_aiokafka_unpacks_by():
    """Where another version takes its decoders from elsewhere, nothing would be bounded."""
    assert default_records.DefaultRecordBatch is DefaultRecordBatch
    batch = DefaultRecordBatch(a_batch("gzip", [b"x" * 50_000] * 40))
    with pytest.raises(unpacking.UnpackedTooLargeError):
        iter(batch)


def test_the_rest_of_a_batch_that_cannot_be_read_is_one_dead_letter_and_the_others_are_read():
    damaged = bytearray(a_batch("none", [b"a", b"b" * 9, b"c"], first=1))
    damaged[-11] = 0x7F  # where the second record counts its headers
    damaged[17:21] = calc_crc32c(bytes(damaged[21:])).to_bytes(4, "big")
    records = list(records_of(a_batch("none", [b"x"]), bytes(damaged), a_batch("none", [b"y"], first=4)))
    assert [record.value for record in records][:: len(records) - 1] == [b"x", b"y"]
    (letter,) = [one for one in decoded(a_pipeline().on_actions(records)) if one["reason"] == "damaged-batch"]
    assert letter["offset"] == 3
    assert letter["message"].startswith("the batch of offsets 1 to 3 can't be read on")


@pytest.mark.parametrize("kind", KINDS)
def test_gzip_and_the_others_that_are_no_such_thing_are_one_dead_letter(kind: str):
    raw = bytearray(a_batch("none", [b"x" * 90]))
    raw[22] = KINDS[kind]  # its attributes say so, its records are not packed
    raw[17:21] = calc_crc32c(bytes(raw[21:])).to_bytes(4, "big")
    (record,) = records_of(bytes(raw))
    assert record.value == (b"x" * 90 if kind == "none" else b"")
    assert kind == "none" or record.value.reason in ("damaged-batch", "too-large")


def test_a_batch_that_ends_within_its_own_head_has_a_declared_error():
    for size in (4, 12, 20, 40, 60):
        raw = a_batch("none", [b"x"])[:size]
        raw = raw[:8] + (size - 12 & 0xFFFFFFFF).to_bytes(4, "big") + raw[12:]
        with suppress(KafkaError):
            assert list(records_of(raw)) == []


def test_which_leader_wrote_a_fetch_is_read_from_its_first_batch():
    first, second = (a_batch("none", [b"{}"], first=number) for number in (0, 1))
    led = first[:12] + (7).to_bytes(4, "big") + first[16:]  # which the checksum leaves out
    records = BoundedPartitionRecords(TP, LedRecords(led + second), [], 0, None, None, True, 0)
    assert (records.leader_epoch, len(list(records))) == (7, 2)
    third = second[:12] + (9).to_bytes(4, "big") + second[16:]
    assert unpacking.newest_epoch_of(led + third + second) == 9
    assert unpacking.newest_epoch_of(b"") == unpacking.newest_epoch_of(bytes(40)) == unpacking.NO_EPOCH
    assert unpacking.leader_epoch_of(b"") == unpacking.leader_epoch_of(bytes(17)) == unpacking.NO_EPOCH
