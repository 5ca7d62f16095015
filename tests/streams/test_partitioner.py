"""murmur2 as Kafka's clients have it, plain and of many keys at once, and the keys that lie elsewhere."""

import pytest
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.partitioner import murmur2 as murmur2_of_aiokafka
from hypothesis import given
from hypothesis import strategies as st

from rankstream.streams.partitioner import PartitionCheck, murmur2, murmur2_of_many, partition_of, partitions_of


@pytest.mark.parametrize(
    ("key", "signed"),  # of org.apache.kafka.common.utils.UtilsTest.testMurmur2
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_hashes_are_those_of_the_java_client(key: bytes, signed: int):
    assert murmur2(key) == signed % 2**32


@given(st.binary(max_size=40))
def test_hashes_and_partitions_are_those_of_aiokafka(key: bytes):
    assert murmur2(key) == murmur2_of_aiokafka(key) & 0xFFFFFFFF
    every = list(range(12))
    assert partition_of(key, 12) == DefaultPartitioner()(key, every, every)


@given(st.integers(1, 40).flatmap(lambda size: st.lists(st.binary(min_size=size, max_size=size), min_size=1)))
def test_many_keys_at_once_hash_as_one_by_one(keys: list[bytes]):
    assert murmur2_of_many(keys).tolist() == [murmur2(key) for key in keys]


@given(st.lists(st.binary(max_size=9)), st.integers(1, 9))
def test_many_keys_at_once_belong_where_each_does(keys: list[bytes], partitions: int):
    assert partitions_of(keys, partitions) == {key: partition_of(key, partitions) for key in keys}


@given(st.lists(st.text(min_size=1, max_size=9).map(str.encode)), st.integers(1, 9), st.integers(1, 5))
def test_what_lies_elsewhere_is_found_however_often_a_key_comes(keys: list[bytes], partitions: int, times: int):
    check = PartitionCheck(0, partitions)
    expected = {key for key in keys if partition_of(key, partitions) != 0}
    assert all(check(keys).keys() == expected for _ in range(times))


def test_the_message_names_both_partitions_and_the_remedy():
    (message,) = PartitionCheck(0, 4)(
        [next(key for key in (b"a", b"b", b"c", b"d", b"e") if partition_of(key, 4))]
    ).values()
    assert "but lies on 0" in message
    assert "partitioner=murmur2_random" in message
    assert "rankstream dead-letters redrive --reason wrong-partition" in message
