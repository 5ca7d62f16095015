"""What is done to topics: compaction hurried, the changelog deleted and made again."""

import asyncio
from collections.abc import Callable
from contextlib import closing
from time import monotonic, sleep

from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient
from kafka.errors import KafkaError, UnknownTopicOrPartitionError

from rankstream.streams.settings import Settings
from rankstream.streams.topics import CHANGELOG, TopicNames, TopicsRefusedError, prepare_topics

HURRIED = {"segment.ms": "5000", "min.cleanable.dirty.ratio": "0.01"}
PATIENCE_S, LOOK_S = 90.0, 0.5


def hurry_compaction(settings: Settings) -> None:
    """Have the broker clean the changelog all the while, not once a day."""
    name = TopicNames(settings.topic_prefix).of(CHANGELOG)
    with closing(KafkaAdminClient(bootstrap_servers=settings.bootstrap_servers)) as admin:
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, HURRIED)])


def create_changelog_anew(settings: Settings) -> None:
    """Delete the changelog and create it again, empty; a worker that starts meanwhile may be quicker.

    Brokers may be away, and take their time to forget a topic.
    """
    until = monotonic() + PATIENCE_S
    _patiently(until, lambda: _delete(settings))
    _patiently(until, lambda: asyncio.run(prepare_topics(settings, create=True)))
    _patiently(until, lambda: hurry_compaction(settings))


def _delete(settings: Settings) -> None:
    name = TopicNames(settings.topic_prefix).of(CHANGELOG)
    with closing(KafkaAdminClient(bootstrap_servers=settings.bootstrap_servers)) as admin:
        try:
            admin.delete_topics([name])
        except UnknownTopicOrPartitionError:
            return


def _patiently(until: float, work: Callable[[], object]) -> None:
    while True:
        try:
            work()
            return
        except (TopicsRefusedError, KafkaError, OSError, ValueError):  # kafka-python raises all of these
            if monotonic() > until:
                raise
            sleep(LOOK_S)
