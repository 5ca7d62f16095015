"""`rankstream forget`: records that erase users, acknowledged before the command ends."""

import time

import msgspec
import pytest

from rankstream.events.action_event import ErasureEvent
from rankstream.streams.clients.readers import TopicReader
from rankstream.streams.topics import ACTIONS
from tests.builders.cli import connected, fresh_topics, rankstream, refusal
from tests.builders.logs import rows_of, some_events, write_log

pytestmark = pytest.mark.broker


@pytest.fixture
def settings(bootstrap_servers):
    return fresh_topics(bootstrap_servers)


def sent(settings) -> list[tuple[bytes, ErasureEvent]]:
    with TopicReader(settings, ACTIONS, from_beginning=True) as reader:
        return [(one.key, msgspec.json.decode(one.value, type=ErasureEvent)) for one in reader.read_all()]


def test_each_user_is_erased_once_as_of_now(settings):
    before_ms = int(time.time() * 1000)
    told = rankstream("forget", "u1", 7, "u1", "--yes", *connected(settings)).stdout
    assert "2 users are erased as of" in told
    records = dict(sent(settings))
    assert set(records) == {b"u1", b"7"}
    assert all(before_ms <= one.timestamp_ms <= int(time.time() * 1000) for one in records.values())


def test_a_user_may_be_erased_up_to_a_time_that_has_been(settings):
    told = rankstream("forget", "u1", "--at", "2023-11-14T22:13:20", "--yes", *connected(settings)).stdout
    assert told.startswith("1 user is erased as of 2023-11-14 22:13:20 UTC")
    assert [one.timestamp_ms for _, one in sent(settings)] == [1_700_000_000_000]
    assert "is still to come" in refusal(
        rankstream("forget", "u1", "--at", "2099-01-01", "--yes", *connected(settings))
    )


def test_nobody_is_erased_before_the_question_is_answered(settings):
    assert rankstream("forget", "u1", *connected(settings)).exit_code == 130
    assert "no id of a user" in refusal(rankstream("forget", "x" * 300, "--yes", *connected(settings)))
    assert sent(settings) == []


@pytest.mark.parametrize("how", ["file", "stream"])
def test_erasures_of_a_log_are_sent_on_in_their_place(settings, tmp_path, how: str):
    erasure = {"user_id": "u1", "action": "forget", "timestamp_ms": 1_700_000_000_000}
    rows = [rows_of(some_events(2))[0], erasure, rows_of(some_events(2))[1]]
    log = write_log(tmp_path / "log.jsonl", rows)
    given = ("-",) if how == "stream" else (log,)
    text = log.read_text() if how == "stream" else None
    assert rankstream("produce", *given, *connected(settings), text=text).exit_code == 0
    with TopicReader(settings, ACTIONS, from_beginning=True) as reader:
        values = [msgspec.json.decode(one.value) for one in reader.read_all()]
    assert erasure in values
    assert sorted(value["action"] for value in values) == sorted(row["action"] for row in rows)
