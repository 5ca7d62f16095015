"""`rankstream dead-letters`: what was rejected is listed, and sent once more when its cause is fixed."""

from base64 import b64encode

import msgspec
import pytest
from msgspec import UNSET

from rankstream.streams.clients.producer import RawProducer
from rankstream.streams.clients.readers import TopicReader
from rankstream.streams.codec import DeadLetter
from rankstream.streams.topics import ACTIONS, DEAD_LETTERS, TopicNames
from tests.builders.cli import connected, fresh_topics, rankstream, refusal

pytestmark = pytest.mark.broker
NOON_MS = 1_700_000_000_000
VALUE = b'{"user_id":"u1","item_id":1}'


@pytest.fixture
def settings(bootstrap_servers):
    return fresh_topics(bootstrap_servers)


def reject(settings, offset, reason="unknown-action", value=VALUE, key=b"u1", whole=None, whole_key=UNSET):
    """Put a dead letter into its topic as a worker would."""
    names = TopicNames(settings.topic_prefix)
    dead_letter = DeadLetter(
        reason, f"why {offset}", names.of(ACTIONS), 0, offset, NOON_MS + offset,
        None if key is None else b64encode(key).decode(), None if value is None else b64encode(value).decode(),
        len(value or b"") if whole is None else whole, whole_key,
    )  # fmt: skip
    with RawProducer(settings, [names.of(DEAD_LETTERS)]) as producer:
        producer.send(names.of(DEAD_LETTERS), key, msgspec.json.encode(dead_letter))


def actions(settings):
    with TopicReader(settings, ACTIONS, from_beginning=True) as reader:
        return [(record.key, record.value) for record in reader.read_all()]


def test_dead_letters_are_listed_in_order_and_counted_by_reason(settings):
    reject(settings, 2)
    reject(settings, 1, "not-json", b"{")
    shown = rankstream("dead-letters", "list", *connected(settings)).output
    assert shown.index("why 1") < shown.index("why 2")
    assert "2 dead letters: 1 " in shown


def test_dead_letters_of_one_reason_in_json(settings):
    reject(settings, 1)
    reject(settings, 2, "schema")
    shown = rankstream("dead-letters", "list", "--reason", "schema", "--json", *connected(settings)).output
    assert [msgspec.json.decode(line)["offset"] for line in shown.splitlines()] == [2]


def test_a_record_with_two_dead_letters_is_sent_again_once(settings):
    reject(settings, 1)
    reject(settings, 1)
    reject(settings, 2, "schema")
    result = rankstream("dead-letters", "redrive", "--reason", "unknown-action", *connected(settings))
    assert "1 records were sent again" in result.output
    assert actions(settings) == [(b"u1", VALUE)]


def test_a_dry_run_sends_nothing(settings):
    reject(settings, 1)
    assert (
        "1 records would be sent again"
        in rankstream("dead-letters", "redrive", "--dry-run", *connected(settings)).output
    )
    assert actions(settings) == []


def test_keys_can_be_fixed_on_the_way(settings):
    reject(settings, 1, "key-mismatch", key=None)
    rankstream("dead-letters", "redrive", "--fix-keys", *connected(settings))
    assert actions(settings) == [(b"u1", VALUE)]


def test_records_that_are_not_whole_are_left_out_and_counted(settings):
    reject(settings, 1, "too-large", whole=5_000_000)
    reject(settings, 2, "empty", value=None)
    result = rankstream("dead-letters", "redrive", *connected(settings))
    assert result.exit_code == 2
    assert "left out 1: the dead letter holds only a part of a large record" in result.stderr
    assert "left out 1: the record was empty" in result.stderr
    assert actions(settings) == []


def test_a_record_whose_key_is_not_whole_is_sent_again_only_with_the_key_of_its_user(settings):
    reject(settings, 1, "key-mismatch", key=b"kkkk", whole_key=3_300_000)
    left = rankstream("dead-letters", "redrive", *connected(settings))
    assert "left out 1: the dead letter holds only a part of a large record" in left.stderr
    rankstream("dead-letters", "redrive", "--fix-keys", *connected(settings))
    assert actions(settings) == [(b"u1", VALUE)]


def test_what_killed_a_worker_is_sent_again_only_where_that_is_asked_for(settings):
    reject(settings, 1, "killed-worker")
    left = rankstream("dead-letters", "redrive", *connected(settings))
    assert "left out 1: it killed a worker (--reason killed-worker sends it)" in left.stderr
    assert actions(settings) == []
    rankstream("dead-letters", "redrive", "--reason", "killed-worker", *connected(settings))
    assert actions(settings) == [(b"u1", VALUE)]


def test_a_letter_whose_original_is_no_base64_is_left_out_and_counted(settings):
    names = TopicNames(settings.topic_prefix)
    foreign = DeadLetter("schema", "why", names.of(ACTIONS), 0, 1, NOON_MS, None, "A", 1)
    with RawProducer(settings, [names.of(DEAD_LETTERS)]) as producer:
        producer.send(names.of(DEAD_LETTERS), None, msgspec.json.encode(foreign))
    done = rankstream("dead-letters", "redrive", *connected(settings))
    assert "left out 1: its key_base64 or value_base64 is no base64: no worker wrote it" in done.output


def test_what_is_no_dead_letter_is_named_by_its_offset(settings):
    names = TopicNames(settings.topic_prefix)
    with RawProducer(settings, [names.of(DEAD_LETTERS)]) as producer:
        producer.send(names.of(DEAD_LETTERS), None, b"[" * 2_000)
    assert "offset 0 is no record of dead-letters" in refusal(rankstream("dead-letters", "list", *connected(settings)))
