"""Where the log ends that leaders up to an epoch wrote: what brokers tell a follower or a consumer (KIP-320).

aiokafka can't ask that, kafka-python can; the names of it used here are not public.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from faust.types import TP
from kafka import TopicPartition
from kafka.errors import NoError, UnsupportedVersionError, for_code
from kafka.protocol.consumer import OffsetForLeaderEpochRequest

from rankstream.streams.clients.connect import ask
from rankstream.streams.settings import Settings

CONSUMER = -1  # instead of a follower's id
ANY_LEADER = -1  # whichever epoch it is of

Topic = OffsetForLeaderEpochRequest.OffsetForLeaderTopic
Partition = Topic.OffsetForLeaderPartition


async def ends_of_epochs(settings: Settings, epochs: Mapping[TP, int]) -> dict[TP, int]:
    """Return behind which offset no record of these epochs, or of earlier ones, stands; -1 where there is none.

    Empty where brokers can't be asked that. Raises ``ClientError`` where none answers.
    """
    return await asyncio.to_thread(_ends_of_epochs, settings, epochs) if epochs else {}


def _ends_of_epochs(settings: Settings, epochs: Mapping[TP, int]) -> dict[TP, int]:
    def question(admin: Any) -> dict[TP, int]:
        try:
            found: dict[TP, int] = admin._manager.run(_asked, admin, epochs)
            return found
        except UnsupportedVersionError:
            return {}

    return ask(settings, question, "tell up to where leaders wrote")


async def _asked(admin: Any, epochs: Mapping[TP, int]) -> dict[TP, int]:
    """Ask each leader for its partitions."""
    leaders = await admin._async_get_leader_for_partitions({TopicPartition(*tp) for tp in epochs})
    found: dict[TP, int] = {}
    for leader, partitions in leaders.items():
        topics = defaultdict(list)
        for topic, number in partitions:
            asked = Partition(partition=number, current_leader_epoch=ANY_LEADER, leader_epoch=epochs[TP(topic, number)])
            topics[topic].append(asked)
        asked_topics = [Topic(topic=topic, partitions=asked) for topic, asked in topics.items()]
        request = OffsetForLeaderEpochRequest(replica_id=CONSUMER, topics=asked_topics)
        found |= _ends_in(await admin._manager.send(request, node_id=leader))
    return found


def _ends_in(response: Any) -> dict[TP, int]:
    """Return the ends that a broker tells. Raises its ``KafkaError``, which may be that it leads no more."""
    found: dict[TP, int] = {}
    for topic in response.topics:
        for one in topic.partitions:
            error = for_code(one.error_code)
            if error is not NoError:
                raise error(f"{topic.topic} {one.partition}")
            found[TP(topic.topic, one.partition)] = one.end_offset
    return found
