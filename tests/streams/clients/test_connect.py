"""Questions to brokers: asked again where a connection breaks, refused in one sentence where that does not help."""

import asyncio
import socket
import threading
from dataclasses import replace

import pytest
from kafka.admin import KafkaAdminClient
from kafka.errors import KafkaConnectionError, TopicAuthorizationFailedError

from rankstream.streams.clients import connect
from rankstream.streams.clients.connect import ClientError, missing_topics
from rankstream.streams.settings import Settings
from rankstream.streams.topics import ACTIONS, TopicNames
from rankstream.streams.worker.source import source_of
from tests.builders.cli import fresh_topics
from tests.builders.patience import PATIENCE_S
from tests.builders.threads import none_left

pytestmark = pytest.mark.broker


@pytest.fixture
def settings(bootstrap_servers):
    return fresh_topics(bootstrap_servers)


@pytest.fixture
def breaking(monkeypatch):
    """Return how to break the first connections of admin clients at their first question, and who was closed."""
    closed = []

    def break_first(times, exc):
        left = [exc] * times

        def broken(settings, sound=connect.connect_admin):
            admin = sound(settings)
            ask, close = admin._manager.run, admin.close

            def run(*args, **options):
                if left and not closed.count(admin):
                    raise left.pop()
                return ask(*args, **options)

            admin._manager.run = run
            admin.close = lambda: (closed.append(admin), close())
            return admin

        monkeypatch.setattr(connect, "connect_admin", broken)
        return closed

    return break_first


def test_a_question_is_asked_again_where_its_connection_breaks(settings, breaking):
    topic = TopicNames(settings.topic_prefix).of(ACTIONS)
    closed = breaking(2, KafkaConnectionError("socket disconnected"))
    assert missing_topics(settings, [topic]) == []
    assert len(closed) == 3


def test_a_worker_asks_again_what_its_positions_count_in(settings, breaking):
    breaking(1, KafkaConnectionError("socket disconnected"))
    assert asyncio.run(source_of(settings, TopicNames(settings.topic_prefix).of(ACTIONS))).partitions > 0


def test_brokers_that_stay_away_are_told_of(settings, breaking, monkeypatch):
    monkeypatch.setattr(connect, "ASK_AGAIN_S", 0.5)
    closed = breaking(99, KafkaConnectionError("socket disconnected"))
    with pytest.raises(ClientError, match="do not list their topics: KafkaConnectionError: socket disconnected"):
        missing_topics(settings, ["any"])
    assert len(closed) > 1


def test_what_another_try_does_not_mend_is_told_at_once(settings, breaking):
    closed = breaking(99, TopicAuthorizationFailedError())
    with pytest.raises(ClientError, match="do not list their topics"):
        missing_topics(settings, ["any"])
    assert len(closed) == 1


def test_one_of_several_that_stands_still_is_passed_over(settings, monkeypatch):
    """Which one is asked first is chance: it was waited for until all time was over, and no other was asked."""
    monkeypatch.setattr(connect, "NEXT_ONE_MS", 300)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the system accepts, and nobody answers
        still = f"127.0.0.1:{silent.getsockname()[1]}"
        several = replace(settings, bootstrap_servers=f"{still},{settings.bootstrap_servers}")
        for _ in range(6):
            assert missing_topics(several, ["nowhere"]) == ["nowhere"]


def test_an_attempt_that_fails_leaves_no_thread():
    """Who waits for a broker tries for hours, in one process; each thread holds four open files."""
    nobody = Settings(bootstrap_servers="127.0.0.1:1")
    with none_left():
        for _ in range(3):
            with pytest.raises(ClientError, match="refuses connections"):
                missing_topics(nobody, ["t"])


def test_a_client_that_is_made_after_nobody_waits_any_more_is_closed(bootstrap_servers):
    go_on = threading.Event()

    def slow(**options):
        assert go_on.wait(PATIENCE_S)
        return KafkaAdminClient(**options)

    with none_left():
        assert connect._attempt(slow, {"bootstrap_servers": bootstrap_servers}, seconds=0.01) == (None, None)
        go_on.set()
