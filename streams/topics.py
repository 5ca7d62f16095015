r"""Every topic as data, and the admin's work: create what is missing, refuse what does not fit.

::

    user-actions -----\                      /---> ranked-feeds
                       >  one worker a      <----> user-state-changelog (compacted)
    ranking-requests -/   partition number   |---> dead-letters
                                             \---> served-features (where it is switched on)
    impressions            what users were shown, kept to be trained on: no worker reads it
    item-updates           what items are (compacted): `rankstream catalogue follow` reads it, no worker does

All have the same number of partitions, and a user's records lie at the same number in each.
"""

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError

from rankstream.streams.clients.patient_client import patient_admin
from rankstream.streams.clients.rights import CREATE, DESCRIBE, TOPIC, Lacking, told
from rankstream.streams.clients.throttling import OF_THIS_PROCESS
from rankstream.streams.records import Channel
from rankstream.streams.settings import Settings

DAY_MS = 24 * 3_600_000
EXISTS, NOT_ALLOWED = 36, (29, 31)  # topic already exists; topic or cluster authorization failed
UNKNOWN = 3  # topic
SETTLE_S = 20.0  # for new topics to be known to all brokers
MAX_BYTES = 4 << 20  # of a message: a request may name 5,000 candidates


class TopicsRefusedError(RuntimeError):
    """The topics are not as workers need them; the message is one sentence and says what to do."""


@dataclass(frozen=True)
class Topic:
    """What a topic holds and how it is kept."""

    name: str  # without the prefix
    key: str
    value: str
    retention_ms: int | None  # None: compacted, the last record of each key stays
    written_by_workers: bool = True

    @property
    def compacted(self) -> bool:
        """Return whether only the last record of each key is kept."""
        return self.retention_ms is None

    @property
    def config(self) -> dict[str, str]:
        """Return the broker's settings of the topic."""
        if self.retention_ms is None:
            lag = {"max.compaction.lag.ms": str(7 * DAY_MS)}  # so long a user's erased state may lie there at most
            return {"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.2", "segment.ms": str(DAY_MS)} | lag
        return {
            "cleanup.policy": "delete",
            "retention.ms": str(self.retention_ms),
            "max.message.bytes": str(MAX_BYTES),
        }


USER = "the user's id, as text in UTF-8"
ACTIONS = Topic("user-actions", USER, "JSON: one thing a user did to one item", 30 * DAY_MS, written_by_workers=False)
REQUESTS = Topic("ranking-requests", USER, "JSON: rank these candidates for the user", DAY_MS, written_by_workers=False)
FEEDS = Topic(Channel.FEEDS.value, USER, "JSON: the candidates in order, or why there is no answer", DAY_MS)
DEAD_LETTERS = Topic(
    Channel.DEAD_LETTERS.value, "as it came", "JSON: a record that was not understood, and why", 14 * DAY_MS
)
SERVED = Topic(Channel.SERVED.value, USER, "JSON: what a feed was made from, to be verified", DAY_MS)
CHANGELOG = Topic("user-state-changelog", USER, "the user's packed state; beside them the position", None)
IMPRESSIONS = Topic(
    "impressions", USER, "JSON: the items of one list that the user was shown", 30 * DAY_MS, written_by_workers=False
)
ITEM_UPDATES = Topic(
    "item-updates", "text of id", "JSON: what an item is; without a value it is gone", None, written_by_workers=False
)
OF_WORKERS = (ACTIONS, REQUESTS, FEEDS, DEAD_LETTERS, SERVED, CHANGELOG)
ALL_TOPICS = (*OF_WORKERS, IMPRESSIONS, ITEM_UPDATES)
COPARTITIONED = (ACTIONS, REQUESTS, CHANGELOG)


@dataclass(frozen=True)
class TopicNames:
    """The names with the prefix before them."""

    prefix: str = ""

    def of(self, topic: Topic) -> str:
        """Return the full name of a topic."""
        return self.prefix + topic.name

    def of_channel(self, channel: Channel) -> str:
        """Return the full name of the topic that a channel of the pipeline stands for."""
        return self.prefix + channel.value


async def prepare_topics(settings: Settings, create: bool | None = None) -> list[str]:
    """Create missing topics, check the others, return the names of those created.

    ``create`` overrides ``settings.create_topics``; where it is said, the topics that no worker needs are created too.
    Raises ``TopicsRefusedError``.
    """
    admin = patient_admin(settings)
    try:
        await admin.start()
        names, wanted = TopicNames(settings.topic_prefix), wanted_topics(settings)
        wanted += [topic for topic in ALL_TOPICS if create and topic not in OF_WORKERS]
        existing = set(await admin.list_topics())
        missing = [topic for topic in wanted if names.of(topic) not in existing]
        if missing and not (settings.create_topics if create is None else create):
            raise _missing(missing, names, "and creating topics is switched off")
        if missing:
            await _create(admin, missing, settings)
        await _check(admin, wanted, settings)
        return [names.of(topic) for topic in missing]
    except (KafkaError, TimeoutError) as exc:
        raise TopicsRefusedError(
            f"no answer about topics from {settings.bootstrap_servers} ({type(exc).__name__}: {exc}): "
            "is the broker running, and is bootstrap_servers its address?"
        ) from exc
    finally:
        await admin.close()


def wanted_topics(settings: Settings) -> list[Topic]:
    """Return the topics that a worker with these settings needs."""
    unwanted = {CHANGELOG: not settings.changelog, SERVED: not settings.served_features}
    return [topic for topic in OF_WORKERS if not unwanted.get(topic)]


async def _create(admin: AIOKafkaAdminClient, missing: list[Topic], settings: Settings) -> None:
    names = TopicNames(settings.topic_prefix)
    partitions = await _partitions_to_create(admin, settings)
    new = [
        NewTopic(names.of(topic), partitions, settings.replication_factor, topic_configs=topic.config)
        for topic in missing
    ]
    answer = await admin.create_topics(new)
    for name, code, message in ((each[0], each[1], each[2]) for each in answer.topic_errors):
        if code in NOT_ALLOWED:
            lacking = [Lacking(TOPIC, names.of(topic), (CREATE, DESCRIBE)) for topic in missing]
            raise _missing(missing, names, f"or may not be seen, and {told(lacking, settings)}")
        if code not in (0, EXISTS):
            raise TopicsRefusedError(f"the broker did not create the topic {name}: {message or f'error {code}'}")


async def _partitions_to_create(admin: AIOKafkaAdminClient, settings: Settings) -> int:
    """Return the number that existing co-partitioned topics have, else the setting's."""
    names = TopicNames(settings.topic_prefix)
    counts = await _partition_counts(admin, [names.of(topic) for topic in COPARTITIONED])
    return next(iter(counts.values()), settings.partitions)


async def _partition_counts(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, int]:
    """Return partitions of those topics that exist; others are not described, as some brokers would create them."""
    existing = set(await admin.list_topics())
    known = [name for name in names if name in existing]
    described: list[dict[str, Any]] = await admin.describe_topics(known) if known else []
    return {topic["topic"]: len(topic["partitions"]) for topic in described}


async def _partition_counts_of_all(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, int]:
    """Return the partitions of topics that exist; brokers may list new topics only after a while."""
    async with OF_THIS_PROCESS.answered_within(SETTLE_S):
        while True:
            counts = await _partition_counts(admin, names)
            if all(counts.get(name) for name in names):
                return counts
            await asyncio.sleep(0.1)


async def _check(admin: AIOKafkaAdminClient, wanted: list[Topic], settings: Settings) -> None:
    names = TopicNames(settings.topic_prefix)
    counts = await _partition_counts_of_all(admin, [names.of(topic) for topic in wanted])
    joined = {names.of(topic): counts[names.of(topic)] for topic in wanted if topic in COPARTITIONED}
    if len(set(joined.values())) > 1:
        listed = ", ".join(f"{name} has {count}" for name, count in joined.items())
        raise TopicsRefusedError(
            f"the topics of one user must have the same number of partitions, but {listed}: recreate those that "
            "are wrong with the number of the others"
        )
    if CHANGELOG in wanted:
        await _check_compacted(admin, names.of(CHANGELOG))


async def _check_compacted(admin: AIOKafkaAdminClient, name: str) -> None:
    policy = (await _config_of(admin, name)).get("cleanup.policy", "delete")
    if "compact" not in policy or "delete" in policy:
        raise TopicsRefusedError(
            f"the topic {name} has cleanup.policy={policy}, so users' states would expire: set it to compact "
            f"(kafka-configs.sh --alter --topic {name} --add-config cleanup.policy=compact)"
        )


async def _config_of(admin: AIOKafkaAdminClient, name: str) -> Mapping[str, str]:
    """Return the settings of a topic that exists; a broker may hear of a new one later than others."""
    async with OF_THIS_PROCESS.answered_within(SETTLE_S):
        while True:
            answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)])
            if all(resource[0] != UNKNOWN for answer in answers for resource in answer.resources):
                return values_of(answers).get(name, {})
            await asyncio.sleep(0.1)


def values_of(answers: list[Any]) -> dict[str, dict[str, str]]:
    """Return the settings in the answers to DescribeConfigs: topic -> name -> value."""
    resources = [resource for answer in answers for resource in answer.resources]
    return {resource[3]: {entry[0]: entry[1] or "" for entry in resource[4]} for resource in resources}


async def limits_of(settings: Settings, topics: Collection[str]) -> Mapping[str, int]:
    """Return ``max.message.bytes`` of those topics that the brokers tell it of."""
    found = await _told_of(settings, topics, "max.message.bytes")
    return {name: int(value) for name, value in found.items() if value.isdecimal()}


async def policies_of(settings: Settings, topics: Collection[str]) -> Mapping[str, str]:
    """Return ``cleanup.policy`` of those topics that the brokers tell it of."""
    return {name: value for name, value in (await _told_of(settings, topics, "cleanup.policy")).items() if value}


async def _told_of(settings: Settings, topics: Collection[str], what: str) -> Mapping[str, str]:
    """Return one setting of topics; "" where brokers don't tell."""
    admin = patient_admin(settings)
    try:
        await admin.start()
        answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in topics])
    finally:
        await admin.close()
    return {name: values.get(what, "") for name, values in values_of(answers).items()}


def _missing(missing: list[Topic], names: TopicNames, why: str) -> TopicsRefusedError:
    listed = ", ".join(names.of(topic) for topic in missing)
    one = len(missing) == 1
    return TopicsRefusedError(
        f"the topic{'' if one else 's'} {listed} {'does' if one else 'do'} not exist {why}: "
        "let somebody who may run `rankstream topics create`"
    )
