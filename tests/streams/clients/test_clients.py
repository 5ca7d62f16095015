"""Clients against a broker: what is sent is read, the end is the end, and answers find their requests."""

import msgspec
import pytest
from kafka import TopicPartition

from rankstream.events.action_event import ActionEvent, ErasureEvent
from rankstream.features.ids import id_bytes
from rankstream.ranking.request import RankingRequest
from rankstream.streams.clients.connect import ClientError, require_topics
from rankstream.streams.clients.producer import Producer, RawProducer
from rankstream.streams.clients.readers import DeadLetterReader, FeedReader, TopicReader
from rankstream.streams.clients.rights import READ
from rankstream.streams.clients.whole_batches import WholeBatches
from rankstream.streams.codec import DeadLetter, RankedFeed
from rankstream.streams.settings import Settings
from rankstream.streams.topics import ACTIONS, DEAD_LETTERS, FEEDS, REQUESTS, TopicNames
from tests.builders.cli import NO_BROKER, fresh_topics

pytestmark = pytest.mark.broker
NOON_MS = 1_700_000_000_000


@pytest.fixture
def settings(bootstrap_servers):
    return fresh_topics(bootstrap_servers)


def name_of(settings, topic):
    return TopicNames(settings.topic_prefix).of(topic)


def an_event(user, item=1):
    return ActionEvent(user, item, "click", NOON_MS)


def a_feed(request_id, user=7):
    return msgspec.json.encode(RankedFeed(request_id, user, NOON_MS, items=[], model_version="m1"))


def send(settings, topic, *values, key=b"7"):
    with RawProducer(settings, [name_of(settings, topic)]) as producer:
        for value in values:
            producer.send(name_of(settings, topic), key, value)


def test_all_records_of_a_user_meet_in_one_partition(settings):
    with Producer(settings) as producer:
        for user in range(20):
            producer.send_action(an_event(user))
            producer.send_action(an_event(str(user)))
            producer.send_request(RankingRequest(f"r{user}", user, limit=1))
    partitions_of: dict[bytes, set[int]] = {}
    for topic in (ACTIONS, REQUESTS):
        with TopicReader(settings, topic, from_beginning=True) as reader:
            for record in reader.read_all():
                partitions_of.setdefault(record.key or b"", set()).add(record.partition)
    assert set(partitions_of) == {id_bytes(user) for user in range(20)}
    assert all(len(partitions) == 1 for partitions in partitions_of.values())
    assert len(set.union(*partitions_of.values())) == 2


def actions_in(settings):
    """Values of the topic by key, in order."""
    found: dict[bytes | None, list[bytes | None]] = {}
    with TopicReader(settings, ACTIONS, from_beginning=True) as reader:
        for record in sorted(reader.read_all(), key=lambda one: (one.partition, one.offset)):
            found.setdefault(record.key, []).append(record.value)
    return found


def test_many_actions_in_one_call_are_the_records_that_each_by_itself_is(bootstrap_servers):
    users = (7, "7", "a\nb", "ключ", -1, "x" * 200)
    events = [
        ActionEvent(users[n % 6], f"i\n{n}", "click", NOON_MS + n, "home" if n % 4 else None, n / 7 if n % 3 else None)
        for n in range(50)
    ]
    events[20:20] = [ErasureEvent("a\nb", "forget", NOON_MS)]
    one_by_one, together = fresh_topics(bootstrap_servers), fresh_topics(bootstrap_servers)
    with Producer(one_by_one) as producer:
        for event in events:
            producer.send_action(event)
    with Producer(together, carrier=WholeBatches) as producer:
        producer.send_actions(events[:30])
        producer.send_actions(events[30:])
        assert producer.taken == len(events)
    assert actions_in(together) == actions_in(one_by_one)
    assert len(actions_in(together)) == 5


def test_a_reader_from_now_on_does_not_see_what_was_there(settings):
    send(settings, FEEDS, *(a_feed(f"old{n}") for n in range(10)))  # one batch: its last offset is not its first
    with FeedReader(settings) as reader:
        send(settings, FEEDS, a_feed("new"))
        assert [feed.request_id for feed in reader.answers(["new"], 10)] == ["new"]
        assert reader.feeds(0.2) == []


def test_the_end_of_a_topic_is_behind_its_last_record(settings):
    send(settings, FEEDS, *(a_feed(str(n)) for n in range(10)))
    with TopicReader(settings, FEEDS, from_beginning=True) as reader:
        assert sorted(reader.ends().values()) == [0, 10]
        assert len(list(reader.read_all())) == 10


def test_answers_come_for_the_given_requests_and_no_others(settings):
    with FeedReader(settings) as reader:
        send(settings, FEEDS, a_feed("of somebody else"), a_feed(5), a_feed("a"), a_feed("a"))
        assert [feed.request_id for feed in reader.answers(["a", 5], 10)] == [5, "a"]


def test_an_answer_that_never_comes_ends_the_wait(settings):
    with FeedReader(settings) as reader:
        assert list(reader.answers(["a"], 0.5)) == []


def test_dead_letters_are_read_to_the_end(settings):
    dead_letter = DeadLetter("schema", "m", "user-actions", 0, 3, NOON_MS, None, "e30=", 2)
    send(settings, DEAD_LETTERS, *[msgspec.json.encode(dead_letter)] * 3, key=None)
    with DeadLetterReader(settings) as reader:
        assert [one.dead_letter for one in reader.dead_letters()] == [dead_letter] * 3


def test_reading_an_empty_topic_ends_at_once(settings):
    with DeadLetterReader(settings) as reader:
        assert list(reader.dead_letters()) == []


def test_a_missing_topic_is_named_and_not_made(bootstrap_servers):
    settings = Settings(bootstrap_servers=bootstrap_servers, topic_prefix="never-made.")
    for _ in range(2):
        with pytest.raises(ClientError, match=r"no topic never-made\.ranked-feeds; create it"):
            FeedReader(settings)


def test_a_record_that_is_too_large_is_reported_when_flushed(settings):
    topic = name_of(settings, ACTIONS)
    with RawProducer(settings, [topic]) as producer, pytest.raises(ClientError, match="can't be sent"):
        producer.send(topic, b"7", b"x" * (5 << 20))


def test_a_missing_broker_is_reported_within_seconds(monkeypatch):
    monkeypatch.setattr("rankstream.streams.clients.connect.BOOTSTRAP_MS", 300)
    with pytest.raises(ClientError, match="no Kafka broker answers"):
        require_topics(Settings(bootstrap_servers=NO_BROKER), ["t"], READ)


def test_security_that_does_not_fit_is_reported_within_seconds(bootstrap_servers, monkeypatch):
    monkeypatch.setattr("rankstream.streams.clients.connect.BOOTSTRAP_MS", 300)
    monkeypatch.setattr("rankstream.streams.clients.connect.HANG_S", 1.0)
    settings = Settings(bootstrap_servers=bootstrap_servers, security_protocol="SSL")
    with pytest.raises(ClientError, match="does not speak TLS on that port, but security_protocol is SSL"):
        require_topics(settings, ["t"], READ)


def test_partitions_of_a_reader_are_those_of_the_topic(settings):
    with FeedReader(settings) as reader:
        assert reader.partitions == [TopicPartition(name_of(settings, FEEDS), number) for number in (0, 1)]
