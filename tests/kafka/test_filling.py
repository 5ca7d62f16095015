"""Topics that are filled while the broker breaks, or takes less than a batch: nothing is lost, and keys keep order."""

import asyncio

import pytest
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient

from rankstream.streams.clients.connect import ClientError
from rankstream.streams.clients.producer import RawProducer
from rankstream.streams.clients.readers import TopicReader
from rankstream.streams.clients.whole_batches import WholeBatches
from rankstream.streams.settings import Settings
from rankstream.streams.topics import ACTIONS, limits_of
from tests.builders.broker import BrokerInUse
from tests.builders.cli import fresh_topics
from tests.kafka.harness import wait_until

pytestmark = pytest.mark.broker
COUNT, KEYS = 40_000, 97


def fill(producer: RawProducer, settings: Settings, numbers: range) -> None:
    for number in numbers:
        producer.send(settings.topic_prefix + ACTIONS.name, b"u%d" % (number % KEYS), b"%012d" % number + b" " * 100)


def numbers_by_key(settings: Settings) -> dict[bytes | None, list[int]]:
    """By key the numbers in the topic, in order, each at its first place."""
    with TopicReader(settings, ACTIONS, from_beginning=True) as reader:
        read = sorted(reader.read_all(), key=lambda one: (one.partition, one.offset))
    found: dict[bytes | None, dict[int, None]] = {}
    for one in read:
        found.setdefault(one.key, {})[int(one.value or b"")] = None
    return {key: list(numbers) for key, numbers in found.items()}


def take_at_most(settings: Settings, size: int) -> None:
    """Let the topic take batches of so many bytes."""
    admin, name = KafkaAdminClient(bootstrap_servers=settings.bootstrap_servers), settings.topic_prefix + ACTIONS.name
    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, {"max.message.bytes": str(size)})])
    admin.close()
    wait_until(lambda: asyncio.run(limits_of(settings, [name])) == {name: size}, "the limit is known")


@pytest.mark.slow  # a broker of its own, started twice
def test_a_broker_that_is_killed_and_comes_back_gets_each_record_and_each_key_in_order(kafka):
    settings = fresh_topics(kafka.bootstrap_servers)
    with RawProducer(settings, [settings.topic_prefix + ACTIONS.name], WholeBatches) as producer:
        fill(producer, settings, range(COUNT // 2))
        assert kafka.process is not None
        kafka.process.kill()  # batches are under way
        kafka.process.wait()
        fill(producer, settings, range(COUNT // 2, COUNT))
        kafka.start()
        producer.flush(90.0)
    assert numbers_by_key(settings) == {b"u%d" % key: list(range(key, COUNT, KEYS)) for key in range(KEYS)}


def test_a_topic_that_takes_less_than_a_batch_is_filled_with_smaller_ones(broker: BrokerInUse):
    if not broker.is_kafka:
        pytest.skip("the embedded broker takes any batch")
    settings = fresh_topics(broker.bootstrap_servers)
    take_at_most(settings, 20_000)
    topic = settings.topic_prefix + ACTIONS.name
    with RawProducer(settings, [topic], WholeBatches) as producer:
        fill(producer, settings, range(1_000))
        producer.send(topic, b"u0", b"x" * 30_000)
        fill(producer, settings, range(1_000, 2_000))
        with pytest.raises(ClientError, match=r"refused 1 records, the first with: \[Error 10\]"):
            producer.flush()
    assert numbers_by_key(settings) == {b"u%d" % key: list(range(key, 2_000, KEYS)) for key in range(KEYS)}
