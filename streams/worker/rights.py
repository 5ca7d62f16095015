"""The rights that a worker needs, looked at before it joins the group: it says which it lacks, and ends."""

from collections.abc import Mapping
from typing import Any

from kafka.errors import GroupAuthorizationFailedError, KafkaError

from rankstream.streams.clients.connect import require_rights_on
from rankstream.streams.clients.rights import (
    DESCRIBE,
    DESCRIBE_CONFIGS,
    GROUP,
    READ,
    TRANSACTIONAL_ID,
    WRITE,
    Lacking,
    told,
)
from rankstream.streams.settings import Settings
from rankstream.streams.topics import (
    ACTIONS,
    CHANGELOG,
    DEAD_LETTERS,
    FEEDS,
    REQUESTS,
    SERVED,
    TopicNames,
    wanted_topics,
)

NEEDED: Mapping[str, tuple[str, ...]] = {
    ACTIONS.name: (READ,),
    REQUESTS.name: (READ,),
    CHANGELOG.name: (READ, WRITE, DESCRIBE_CONFIGS),  # it must be compacted, which its configuration says
    FEEDS.name: (WRITE,),
    DEAD_LETTERS.name: (WRITE,),
    SERVED.name: (WRITE,),
}


def require_rights(settings: Settings) -> None:
    """Raise ``ClientError`` where a worker with these settings lacks a right on its topics or its group."""
    names = TopicNames(settings.topic_prefix)
    needed = {names.of(topic): NEEDED[topic.name] for topic in wanted_topics(settings)}
    require_rights_on(settings, needed, lambda admin: _lacking_on_group(admin, settings))


def _lacking_on_group(admin: Any, settings: Settings) -> list[Lacking]:
    lacks = [Lacking(GROUP, settings.app_id, (READ,))]
    try:
        allowed = admin.describe_groups([settings.app_id])[settings.app_id].get("authorized_operations")
    except GroupAuthorizationFailedError:
        return lacks
    except (KafkaError, ValueError):  # no coordinator yet; operations that kafka-python does not know: all are allowed
        return []
    return [] if allowed is None or "READ" in allowed else lacks


def without_transactions(settings: Settings) -> str:
    """Return who lacks the rights on transactional ids, and what grants them."""
    return told([Lacking(TRANSACTIONAL_ID, settings.app_id, (WRITE, DESCRIBE), prefixed=True)], settings)
