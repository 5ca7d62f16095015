"""Tells of topics that lose, by their ``cleanup.policy``, records which workers count on: somebody has changed it.

A topic of actions or requests that is compacted keeps one record of each user. What is compacted before it is read is
missing without a trace, as offsets have gaps for other reasons, too. A changelog that deletes loses users, which is
noticed when it has happened; here it is told before.
"""

import asyncio
import logging

from aiokafka.errors import KafkaError

from rankstream.streams.settings import Settings
from rankstream.streams.topics import ACTIONS, CHANGELOG, REQUESTS, TopicNames, policies_of

ANSWER_S = 10.0

log = logging.getLogger(__name__)


class PolicyWatch:
    """The policies of the topics that workers read, as they were told last."""

    def __init__(self, settings: Settings) -> None:
        names = TopicNames(settings.topic_prefix)
        self._settings = settings
        self._wrong = {names.of(ACTIONS): "compact", names.of(REQUESTS): "compact"}
        if settings.changelog:
            self._wrong[names.of(CHANGELOG)] = "delete"
        self._told: dict[str, str] = {}

    async def look(self) -> None:
        """Ask the brokers, and tell of each policy once; what they do not tell stays as it was."""
        try:
            async with asyncio.timeout(ANSWER_S):
                found = await policies_of(self._settings, self._wrong)
        except (KafkaError, OSError, TimeoutError):
            return  # it is asked again
        for topic, policy in found.items():
            if self._wrong[topic] in policy.split(",") and self._told.get(topic) != policy:
                log.warning("%s", self._why(topic, policy))
            self._told[topic] = policy

    def _why(self, topic: str, policy: str) -> str:
        if self._wrong[topic] == "delete":
            return (
                f"the changelog {topic} has cleanup.policy={policy}, so states of users who do not act will be "
                "deleted: set it to compact alone"
            )
        return (
            f"the topic {topic} has cleanup.policy={policy}, so of all that a user's records say only the last one is "
            "kept, also where no worker has read the others yet: set it to delete"
        )
