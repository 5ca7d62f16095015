"""What a worker refuses to work with: it reports so in one sentence and ends; a bug ends it too and skips nothing."""

import asyncio
import json
from dataclasses import replace

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from rankstream.features.stores.rocksdb import RocksStore
from rankstream.streams.settings import Settings
from rankstream.streams.topics import (
    ACTIONS,
    CHANGELOG,
    FEEDS,
    OF_WORKERS,
    REQUESTS,
    SERVED,
    TopicsRefusedError,
    prepare_topics,
    wanted_topics,
)
from tests.builders.patience import PATIENCE_S
from tests.kafka.harness import Bench

pytestmark = [pytest.mark.broker]


def create(bench: Bench, partitions: dict[str, int], **config: str) -> None:
    async def go() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=bench.settings.bootstrap_servers)
        await admin.start()
        new = [
            NewTopic(bench.settings.topic_prefix + name, n, 1, topic_configs=config) for name, n in partitions.items()
        ]
        await admin.create_topics(new)
        while not {topic.name for topic in new} <= set(await admin.list_topics()):
            await asyncio.sleep(0.05)  # brokers may list new topics only after a while
        await admin.close()

    asyncio.run(go())


def prepared(bench: Bench, **changes: object) -> list[str]:
    return asyncio.run(prepare_topics(replace(bench.settings, **changes)))  # type: ignore[arg-type]


def test_missing_topics_are_created_once(bench):
    assert prepared(bench) == [bench.names.of(topic) for topic in wanted_topics(bench.settings)]
    assert prepared(bench) == []
    assert prepared(bench, served_features=True) == [bench.names.of(SERVED)]
    assert {bounds.count for bounds in bench.bounds(*OF_WORKERS).values()} == {0}


def test_missing_topics_are_named_where_they_must_not_be_created(bench):
    prefix = bench.settings.topic_prefix
    create(bench, {"user-actions": 4, "user-state-changelog": 4}, **{"cleanup.policy": "compact"})
    with pytest.raises(TopicsRefusedError) as refused:
        prepared(bench, create_topics=False)
    assert str(refused.value) == (
        f"the topics {prefix}ranking-requests, {prefix}ranked-feeds, {prefix}dead-letters do not exist and creating "
        "topics is switched off: let somebody who may run `rankstream topics create`"
    )


def test_topics_of_one_user_must_have_the_same_number_of_partitions(bench):
    create(bench, {ACTIONS.name: 4, REQUESTS.name: 3})
    with pytest.raises(TopicsRefusedError, match=r"user-actions has 4, .*ranking-requests has 3"):
        prepared(bench)


def test_new_topics_get_as_many_partitions_as_those_that_exist(bench):
    create(bench, {ACTIONS.name: 2})
    prepared(bench, served_features=True)
    bench.settings = replace(bench.settings, partitions=2)
    assert len(bench.bounds(*OF_WORKERS)) == 12


def test_a_changelog_that_is_not_compacted_is_refused(bench):
    create(bench, {CHANGELOG.name: 4}, **{"cleanup.policy": "delete"})
    with pytest.raises(
        TopicsRefusedError, match=r"user-state-changelog has cleanup.policy=delete, .* set it to compact"
    ):
        prepared(bench)


def test_without_a_broker_the_address_is_named():
    with pytest.raises(TopicsRefusedError, match=r"no answer about topics from 127.0.0.1:1 .* is the broker running"):
        asyncio.run(prepare_topics(Settings(bootstrap_servers="127.0.0.1:1")))


def test_a_worker_without_topics_ends_with_the_sentence(bench):
    bench.settings = replace(bench.settings, create_topics=False)
    worker = bench.worker()
    assert worker.process.wait(PATIENCE_S) != 0
    assert "do not exist and creating topics is switched off" in worker.log


def test_transactional_feeds_are_refused_where_the_brokers_know_none(bench, broker):
    if broker.is_kafka:
        pytest.skip("Apache Kafka knows transactions")
    bench.settings = replace(bench.settings, feed_delivery="transactional")
    worker = bench.worker()
    assert worker.process.wait(PATIENCE_S) != 0
    assert (
        f"feed_delivery is transactional, but the brokers at {bench.settings.bootstrap_servers} know no transactions"
        in worker.log
    )


@pytest.mark.slow
def test_a_state_of_another_topic_is_refused(bench):
    bench.create_topics()
    folder = bench.folder / "state" / bench.settings.app_id / f"{bench.names.of(ACTIONS)}-2"
    store = RocksStore(folder)
    store.write({b"u1": b"?"}, 1_000_000)
    store.close()
    worker = bench.worker()
    assert worker.process.wait(PATIENCE_S) != 0
    assert f"its state folder has users up to offset 1000000 of {bench.names.of(ACTIONS)} partition 2" in worker.log
    assert f"ends at offset 0, so it was recreated: move {folder} away" in worker.log


@pytest.mark.slow
def test_a_bug_ends_the_worker_and_skips_nothing(bench):
    bench.create_topics()
    bench.send_actions(3_000, bad_every=30)
    worker = bench.worker(BUG_AT="300")
    assert worker.process.wait(PATIENCE_S) != 0
    assert "the bug of the test" in worker.log
    assert bench.committed(ACTIONS) < 3_000
    bench.worker()
    bench.wait_committed(3_000)
    assert bench.workers[-1].terminate() == 0
    assert bench.states() == bench.expected_states()
    assert set(bench.dead_letters()) == bench.bad_records()


@pytest.mark.slow
def test_bad_data_never_ends_the_worker(bench):
    bench.create_topics()
    garbage = [b"", b"\x00", b"[]", b"{}", b"\xff\xfe", b'{"user_id": 1}', b"null", b"9" * 100_000]
    for number, value in enumerate(garbage):
        bench.send(ACTIONS, b"u%d" % number, value)
        bench.send(REQUESTS, b"u%d" % number, value)
    bench.producer.send(bench.names.of(ACTIONS), None, b"u1")
    bench.producer.send(bench.names.of(ACTIONS), b"no key", None)
    bench.producer.flush()
    worker = bench.worker()
    bench.wait_committed(2 * len(garbage) + 2)
    assert worker.terminate() == 0
    assert bench.dead_letters().total() == 2 * len(garbage) + 2


@pytest.mark.slow
def test_a_request_in_seconds_is_refused_and_one_in_milliseconds_served(bench):
    """1970 is before all actions: such a request got a feed of `actions_used` 0 and no error."""
    bench.create_topics()
    bench.send(ACTIONS, b"s1", b'{"user_id":"s1","item_id":1,"action":"click","timestamp_ms":1700000000000}')
    bench.producer.flush()
    worker = bench.worker()
    bench.wait_committed(1, ACTIONS)
    for name, at in (("ms", 1_700_000_100_000), ("seconds", 1_700_000_100)):
        ask = {"request_id": f"in-{name}", "user_id": "s1", "candidates": [1, 2, 3], "timestamp_ms": at}
        bench.send(REQUESTS, b"s1", json.dumps(ask).encode())
    bench.producer.flush()
    bench.wait_committed(3)
    assert worker.terminate() == 0
    feeds = {feed["request_id"]: feed for feed in (json.loads(record.value) for record in bench.read(FEEDS))}
    assert feeds["in-ms"]["actions_used"] == 1
    assert feeds["in-seconds"]["error"] == {
        "reason": "timestamp",
        "message": "timestamp_ms 1700000100 is before 1973: seconds? multiply them by 1000",
    }


@pytest.mark.slow
def test_records_without_a_time_take_the_workers_clock(bench):
    bench.create_topics()
    event = {"user_id": "u1", "item_id": 1, "action": "view", "timestamp_ms": 1_700_000_000_000}
    ask = {"request_id": "r1", "user_id": "u1", "candidates": [1]}
    for topic, value in ((ACTIONS, event), (REQUESTS, ask)):
        bench.producer.send(bench.names.of(topic), json.dumps(value).encode(), b"u1", timestamp_ms=-1)
    bench.producer.flush()
    worker = bench.worker()
    bench.wait_committed(2)
    assert worker.terminate() == 0
    assert {record.timestamp for record in bench.read(ACTIONS)} == {-1}
    (feed,) = (json.loads(record.value) for record in bench.read(FEEDS))
    assert feed["actions_used"] == 1
    assert bench.dead_letters() == {}
