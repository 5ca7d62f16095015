"""What is done to topics: compaction hurried, the changelog deleted and made again."""

import asyncio
from contextlib import closing, suppress
from time import monotonic, sleep

from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient
from kafka.errors import KafkaError, UnknownTopicOrPartitionError

from rankstream.streams.settings import Settings
from rankstream.streams.topics import CHANGELOG, TopicNames, TopicsRefusedError, prepare_topics

HURRIED = {"segment.ms": "5000", "min.cleanable.dirty.ratio": "0.01"}
GONE_S, LOOK_S = 60.0, 0.5


def hurry_compaction(settings: Settings) -> None:
    """Have the broker clean the changelog all the while, not once a day."""
    name = TopicNames(settings.topic_prefix).of(CHANGELOG)
    with closing(KafkaAdminClient(bootstrap_servers=settings.bootstrap_servers)) as admin:
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, HURRIED)])


def create_changelog_anew(settings: Settings) -> None:
    """Delete the changelog and create it again, empty; a worker that starts meanwhile may be quicker."""
    name = TopicNames(settings.topic_prefix).of(CHANGELOG)
    with (
        closing(KafkaAdminClient(bootstrap_servers=settings.bootstrap_servers)) as admin,
        suppress(UnknownTopicOrPartitionError),
    ):
        admin.delete_topics([name])
    deadline = monotonic() + GONE_S
    while True:
        try:
            asyncio.run(prepare_topics(settings, create=True))
            hurry_compaction(settings)
            return
        except (TopicsRefusedError, KafkaError):  # it is not gone yet, or not there yet
            if monotonic() > deadline:
                raise
            sleep(LOOK_S)
