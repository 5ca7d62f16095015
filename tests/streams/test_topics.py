import asyncio
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from rankstream.streams import topics
from rankstream.streams.records import Channel
from rankstream.streams.settings import Settings
from rankstream.streams.topics import (
    ALL_TOPICS,
    CHANGELOG,
    IMPRESSIONS,
    ITEM_UPDATES,
    SERVED,
    TopicNames,
    TopicsRefusedError,
    prepare_topics,
    wanted_topics,
)


@dataclass
class AnAdmin:
    """A broker that refuses to create topics, in the way of Kafka's authorizer."""

    code: int

    async def start(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def list_topics(self) -> list[str]:
        return ["user-actions"]

    async def describe_topics(self, names: list[str]) -> list[dict[str, Any]]:
        return [{"topic": name, "partitions": [{}] * 4} for name in names]

    async def create_topics(self, new: list[Any]) -> Any:
        return SimpleNamespace(topic_errors=[(topic.name, self.code, "no") for topic in new])


@pytest.mark.parametrize("code", [29, 31])
def test_a_user_without_the_right_to_create_topics_is_shown_which_and_how(monkeypatch, code):
    monkeypatch.setattr(topics, "patient_admin", lambda settings: AnAdmin(code))
    with pytest.raises(TopicsRefusedError) as refused:
        asyncio.run(prepare_topics(Settings()))
    missing = ("ranking-requests", "ranked-feeds", "dead-letters", "user-state-changelog")
    allow = "--add --allow-principal 'User:ANONYMOUS' --operation Create --operation Describe"
    assert str(refused.value) == (
        f"the topics {', '.join(missing)} do not exist or may not be seen, and User:ANONYMOUS lacks "
        f"Create and Describe on the topics {', '.join(missing)}; who may grants it by: kafka-acls.sh "
        f"--bootstrap-server 127.0.0.1:9092 {allow} --topic {' --topic '.join(missing)}: "
        "let somebody who may run `rankstream topics create`"
    )


def test_any_other_refusal_is_reported(monkeypatch):
    monkeypatch.setattr(topics, "patient_admin", lambda settings: AnAdmin(38))
    with pytest.raises(TopicsRefusedError, match="the broker did not create the topic ranking-requests: no"):
        asyncio.run(prepare_topics(Settings()))


@dataclass
class AnAdminOfSeveral(AnAdmin):
    """Several brokers, of which some have not heard yet of a topic that was just created."""

    code: int = 0
    unaware: int = 2  # as many answers
    policy: str = "compact"

    async def list_topics(self) -> list[str]:
        return [topic.name for topic in ALL_TOPICS]

    async def describe_configs(self, resources: list[Any]) -> list[Any]:
        self.unaware -= 1
        error, entries = (3, []) if self.unaware >= 0 else (0, [("cleanup.policy", self.policy, False, True, False)])
        return [SimpleNamespace(resources=[(error, "", 2, one.name, entries) for one in resources])]


def test_a_broker_that_has_not_heard_of_a_new_topic_is_asked_again(monkeypatch):
    admin = AnAdminOfSeveral()
    monkeypatch.setattr(topics, "patient_admin", lambda settings: admin)
    assert asyncio.run(prepare_topics(Settings())) == []
    assert admin.unaware == -1


def test_a_changelog_whose_states_would_expire_is_refused(monkeypatch):
    monkeypatch.setattr(topics, "patient_admin", lambda settings: AnAdminOfSeveral(policy="delete"))
    with pytest.raises(TopicsRefusedError, match=r"user-state-changelog has cleanup\.policy=delete, so users' states"):
        asyncio.run(prepare_topics(Settings()))


def test_a_prefix_stands_before_every_name():
    names = TopicNames("shop.")
    assert names.of(CHANGELOG) == "shop.user-state-changelog"
    assert names.of_channel(Channel.FEEDS) == "shop.ranked-feeds"


def test_each_channel_of_the_pipeline_has_a_topic():
    assert {channel.value for channel in Channel} <= {topic.name for topic in ALL_TOPICS}


def test_only_states_and_items_are_compacted():
    assert [topic for topic in ALL_TOPICS if topic.compacted] == [CHANGELOG, ITEM_UPDATES]
    assert CHANGELOG.config["cleanup.policy"] == "compact"


def test_without_changelog_there_is_no_topic_for_it():
    assert CHANGELOG not in wanted_topics(Settings(changelog=False))


@pytest.mark.parametrize("topic", [IMPRESSIONS, ITEM_UPDATES], ids=lambda topic: topic.name)
def test_no_worker_waits_for_the_topics_of_impressions_and_items(topic):
    assert topic in ALL_TOPICS
    assert topic not in wanted_topics(Settings(served_features=True))


def test_what_was_served_has_a_topic_where_it_is_switched_on():
    assert SERVED not in wanted_topics(Settings())
    assert SERVED in wanted_topics(Settings(served_features=True))
