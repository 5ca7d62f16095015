"""`rankstream repartition`: every user once, with every action, on topics of another number of partitions."""

import asyncio
from dataclasses import replace

import pytest
from kafka.admin import KafkaAdminClient

from rankstream.features.stores.cache import UserCache
from rankstream.features.stores.memory import MemoryStore
from rankstream.streams.partitioner import partition_of
from rankstream.streams.pipeline import Pipeline
from rankstream.streams.topics import ACTIONS, COPARTITIONED, prepare_topics
from rankstream.streams.worker import repartition as worker_repartition
from rankstream.streams.worker.repartition import Moved, moved_state
from tests.builders.actions import MixingSessions, SomeLiveRanker
from tests.builders.cli import connected, rankstream, refusal
from tests.kafka.harness import PARTITIONS, Bench

pytestmark = [pytest.mark.broker, pytest.mark.slow]

APPLIED, LEFT, NEW, USERS, MORE = 3_000, 200, 400, 25, 7  # users do enough for sessions to leave their histories


def repartition(bench: Bench, to_prefix: str, partitions: int = MORE):
    where = ("--partitions", partitions, "--to-prefix", to_prefix, "--app-id", bench.settings.app_id)
    return rankstream("repartition", *where, *connected(bench.settings))


def apply_the_old(bench: Bench) -> None:
    bench.create_topics()
    bench.send_actions(APPLIED, USERS, bad_every=100)
    worker = bench.worker()
    bench.wait_committed(APPLIED, ACTIONS)
    assert worker.terminate() == 0


def move_to(bench: Bench, prefix: str, partitions: int) -> None:
    """Let the bench look at other topics."""
    bench.settings = replace(bench.settings, topic_prefix=prefix, partitions=partitions)
    bench.names = type(bench.names)(prefix)
    bench.forget_producer()


def expected_states(records: list) -> dict[bytes, bytes]:
    """Return what one pipeline makes of all these actions, in one partition, without offsets."""
    store = MemoryStore()
    pipeline = Pipeline(UserCache(store), SomeLiveRanker(MixingSessions()))
    pipeline.on_actions(records)
    pipeline.users.commit(pipeline.users.take_changes(0))
    return {key: moved_state(state) for key, state in store.items()}


def assert_each_once_with_all(bench: Bench, old: list, sent_on: int) -> None:
    """Apply more actions on the new topics, and compare with one pipeline that saw everything."""
    bench.send_actions(NEW, USERS, start=APPLIED + LEFT)
    worker = bench.worker()
    bench.wait_committed(sent_on + NEW, ACTIONS)
    assert worker.terminate() == 0
    new = [record for record in bench.read(ACTIONS) if record.value not in {one.value for one in old}]
    assert len(new) == NEW
    assert {key: moved_state(state) for key, state in bench.states().items()} == expected_states([*old, *new])
    keys = [(number, key) for number, key in bench.changelog() if not key.startswith(b"\xff")]
    assert sorted(keys) == sorted((partition_of(key, bench.settings.partitions), key) for _, key in keys)
    assert len(keys) == USERS


def test_every_user_moves_once_with_what_was_applied_and_what_was_not(bench):
    apply_the_old(bench)
    bench.send_actions(LEFT, USERS, start=APPLIED)
    old, prefix = bench.read(ACTIONS), bench.settings.topic_prefix + "v2."
    new = replace(bench.settings, topic_prefix=prefix, partitions=MORE)
    moved = asyncio.run(worker_repartition.repartition(bench.settings, new))
    assert moved == Moved(USERS, LEFT, PARTITIONS, MORE, prefix)
    move_to(bench, prefix, MORE)
    assert_each_once_with_all(bench, old, LEFT)


def test_partitions_that_were_added_in_place_are_made_good(bench, broker):
    if not broker.is_kafka:
        pytest.skip("the embedded broker adds no partitions, and groups there keep their members for ever")
    apply_the_old(bench)
    admin = KafkaAdminClient(bootstrap_servers=bench.settings.bootstrap_servers)
    admin.create_partitions({bench.names.of(topic): 2 * PARTITIONS for topic in COPARTITIONED})
    admin.close()
    bench.settings = replace(bench.settings, partitions=2 * PARTITIONS)
    bench.forget_producer()
    bench.send_actions(LEFT, USERS, start=APPLIED)
    old, prefix = bench.read(ACTIONS), bench.settings.topic_prefix + "v2."
    done = repartition(bench, prefix, 2 * PARTITIONS)
    assert f"{USERS} users of {2 * PARTITIONS} partitions are in {2 * PARTITIONS} now, each once" in done.stdout
    assert f"; {LEFT} actions that no worker had applied were sent on" in done.stdout
    move_to(bench, prefix, 2 * PARTITIONS)
    assert_each_once_with_all(bench, old, LEFT)


def test_it_refuses_what_would_lose_or_double_something(bench, broker):
    if not broker.is_kafka:
        pytest.skip("groups of the embedded broker keep their members for ever")
    bench.create_topics()
    bench.send_actions(20)
    worker = bench.worker()
    bench.wait_committed(20, ACTIONS)
    prefix = bench.settings.topic_prefix
    assert "are alive" in refusal(repartition(bench, prefix + "v2."))
    assert worker.terminate() == 0
    assert "is the prefix of the topics that are there" in refusal(repartition(bench, prefix))
    asyncio.run(prepare_topics(replace(bench.settings, topic_prefix=prefix + "v3."), create=True))
    assert f"is there and has {PARTITIONS} partitions, not {MORE}" in refusal(repartition(bench, prefix + "v3."))
    assert repartition(bench, prefix + "v2.").exit_code == 0
    assert "user-state-changelog holds records already" in refusal(repartition(bench, prefix + "v2."))
