"""What is told of a topic's ``cleanup.policy``."""

import asyncio
from collections.abc import Collection, Mapping

import pytest

from rankstream.streams.settings import Settings
from rankstream.streams.worker import policy_watch
from rankstream.streams.worker.policy_watch import PolicyWatch

SOUND = {"user-actions": "delete", "ranking-requests": "delete", "user-state-changelog": "compact"}


def looks(monkeypatch: pytest.MonkeyPatch, *found: Mapping[str, str], **changes: bool) -> None:
    """Look once for each of these."""
    answers = iter(found)

    async def policies_of(settings: Settings, topics: Collection[str]) -> Mapping[str, str]:
        told = next(answers)
        return {topic: told[topic] for topic in topics}

    async def story() -> None:
        watch = PolicyWatch(Settings(**changes))
        for _ in found:
            await watch.look()

    monkeypatch.setattr(policy_watch, "policies_of", policies_of)
    asyncio.run(story())


def test_topics_as_they_should_be_are_not_mentioned(monkeypatch, caplog):
    looks(monkeypatch, SOUND)
    assert caplog.text == ""


@pytest.mark.parametrize("topic", ["user-actions", "ranking-requests"])
@pytest.mark.parametrize("policy", ["compact", "compact,delete"])
def test_what_is_read_must_not_be_compacted_and_that_is_told_once(monkeypatch, caplog, topic, policy):
    looks(monkeypatch, SOUND | {topic: policy}, SOUND | {topic: policy})
    assert caplog.text.count(f"the topic {topic} has cleanup.policy={policy}") == 1


def test_it_is_told_again_where_it_was_set_right_meanwhile(monkeypatch, caplog):
    wrong = SOUND | {"user-actions": "compact"}
    looks(monkeypatch, wrong, SOUND, wrong)
    assert caplog.text.count("cleanup.policy=compact") == 2


def test_a_changelog_must_not_delete(monkeypatch, caplog):
    looks(monkeypatch, SOUND | {"user-state-changelog": "compact,delete"})
    assert "the changelog user-state-changelog has cleanup.policy=compact,delete" in caplog.text


def test_without_a_changelog_nobody_looks_at_one(monkeypatch, caplog):
    looks(monkeypatch, {topic: SOUND[topic] for topic in ("user-actions", "ranking-requests")}, changelog=False)
    assert caplog.text == ""
