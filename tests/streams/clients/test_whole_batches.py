"""Topics filled in whole batches hold what single records make of them."""

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError

from rankstream.streams.clients import whole_batches
from rankstream.streams.clients.carriers import SingleRecords
from rankstream.streams.clients.connect import ClientError
from rankstream.streams.clients.producer import RawProducer
from rankstream.streams.clients.readers import TopicReader
from rankstream.streams.clients.whole_batches import WholeBatches
from rankstream.streams.topics import ACTIONS, TopicNames
from tests.builders.cli import fresh_topics

pytestmark = pytest.mark.broker
KEYS = [b"7", b"u1", "ключ".encode(), b"x" * 300, *(b"u%d" % n for n in range(60))]
RECORDS = [(KEYS[n % len(KEYS)], b'{"item_id": %d}' % n + b" " * 400) for n in range(2_000)]  # several batches


def headers_of(key):
    return [("of", key)] if key else ()


def one_by_one(producer, topic, records):
    for key, value in records:
        producer.send(topic, key, value, headers_of(key))


def many(producer, topic, records):
    """In blocks, with single records between them."""
    for at in range(0, len(records), 300):
        keys, values = zip(*records[at : at + 299], strict=True)
        producer._carrier.send_many(topic, keys, values)
        for key, value in records[at + 299 : at + 300]:
            producer.send(topic, key, value)


def filled(bootstrap_servers, carrier, records=RECORDS, send=one_by_one):
    """By key: its partition and its values in order."""
    settings = fresh_topics(bootstrap_servers)
    topic = TopicNames(settings.topic_prefix).of(ACTIONS)
    with RawProducer(settings, [topic], carrier) as producer:
        send(producer, topic, records)
        assert producer.taken == len(records)
    with TopicReader(settings, ACTIONS, from_beginning=True) as reader:
        read = sorted(reader.read_all(), key=lambda one: (one.partition, one.offset))
    wanted = headers_of if send is one_by_one else lambda key: []
    assert all(list(one.headers) == list(wanted(one.key)) for one in read)
    return {key: [(one.partition, one.value) for one in read if one.key == key] for key in {one.key for one in read}}


def test_batches_hold_what_single_records_make_at_the_same_partition_and_in_the_same_order(bootstrap_servers):
    assert filled(bootstrap_servers, WholeBatches) == filled(bootstrap_servers, SingleRecords)


@pytest.mark.parametrize("carrier", [WholeBatches, SingleRecords])
def test_many_records_in_one_call_are_what_each_by_itself_is(carrier, bootstrap_servers):
    assert filled(bootstrap_servers, carrier, send=many) == filled(bootstrap_servers, SingleRecords)


def test_what_was_taken_before_a_record_that_is_too_large_is_counted_and_sent(bootstrap_servers):
    settings = fresh_topics(bootstrap_servers)
    topic = TopicNames(settings.topic_prefix).of(ACTIONS)
    with RawProducer(settings, [topic], WholeBatches) as producer:
        with pytest.raises(ClientError, match="it has 5,243,081 bytes"):
            producer._carrier.send_many(topic, [b"7", b"8", b"7", b"8"], [b"1", b"2", b"x" * (5 << 20), b"3"])
        assert producer.taken == 2
    with TopicReader(settings, ACTIONS, from_beginning=True) as reader:
        assert sorted(one.value for one in reader.read_all()) == [b"1", b"2"]


def test_keys_are_found_again_after_more_of_them_than_are_remembered(bootstrap_servers, monkeypatch):
    monkeypatch.setattr(whole_batches, "KEYS_REMEMBERED", 3)
    assert filled(bootstrap_servers, WholeBatches, RECORDS[:200], many) == filled(
        bootstrap_servers, SingleRecords, RECORDS[:200]
    )
    found = filled(bootstrap_servers, WholeBatches, RECORDS[:200])
    assert [value for _, value in found[KEYS[5]]] == [value for key, value in RECORDS[:200] if key == KEYS[5]]
    assert all(len({partition for partition, _ in records}) == 1 for records in found.values())


def test_records_without_a_key_or_a_value_are_sent(bootstrap_servers):
    found = filled(bootstrap_servers, WholeBatches, [(None, b"1"), (b"gone", None), (None, b"2")])
    assert sorted(value for _, value in found[None]) == [b"1", b"2"]
    assert [value for _, value in found[b"gone"]] == [None]


def test_a_record_that_no_broker_takes_is_refused_when_it_is_sent(bootstrap_servers):
    with pytest.raises(ClientError, match=r"can't be sent to .*: it has 5,243,084 bytes of 4,194,304"):
        filled(bootstrap_servers, WholeBatches, [(b"7", b"x" * (5 << 20))])


def test_brokers_that_do_not_take_it_in_time_are_told_of(bootstrap_servers):
    settings = fresh_topics(bootstrap_servers)
    topic = TopicNames(settings.topic_prefix).of(ACTIONS)
    producer = RawProducer(settings, [topic], WholeBatches)
    producer.send(topic, b"7", b"1")
    with pytest.raises(ClientError, match="did not take all records within 0 s"):
        producer.flush(0.0)
    producer.close()


def test_a_record_waits_for_room_and_is_refused_while_there_is_none(bootstrap_servers, monkeypatch):
    monkeypatch.setattr(whole_batches, "HAND_OVER_S", 0.05)
    monkeypatch.setattr(whole_batches, "MAX_WAITING", 0)
    with pytest.raises(ClientError, match=r"the brokers took none for 0\.05 s, while 0 batches wait"):
        filled(bootstrap_servers, WholeBatches)


def test_brokers_that_take_no_producer_are_told_of(bootstrap_servers, monkeypatch):
    async def refused(producer):
        raise KafkaConnectionError("it was there a moment ago")

    monkeypatch.setattr(AIOKafkaProducer, "start", refused)
    with pytest.raises(ClientError, match=r"take no producer: .*it was there a moment ago"):
        filled(bootstrap_servers, WholeBatches)
