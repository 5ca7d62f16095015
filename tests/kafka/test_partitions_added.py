"""Partitions added to the topics: users' next actions lie on other partitions than their states."""

import shutil
from dataclasses import replace

import pytest
from kafka import TopicPartition
from kafka.admin import KafkaAdminClient

from rankstream.features.stores.rocksdb import POSITION
from rankstream.features.user_state import unpack_state
from rankstream.streams.topics import ACTIONS, CHANGELOG, COPARTITIONED
from tests.builders.cli import connected, rankstream
from tests.builders.patience import PATIENCE_S
from tests.kafka.harness import PARTITIONS, Bench

pytestmark = [pytest.mark.broker, pytest.mark.slow]

OLD, NEW, MORE = 200, 400, 2 * PARTITIONS


@pytest.fixture
def bench(bench: Bench, broker) -> Bench:
    if not broker.is_kafka:
        pytest.skip("the embedded broker adds no partitions")
    bench.create_topics()
    bench.send_actions(OLD, users=OLD)
    return bench


def add_partitions(bench: Bench) -> None:
    """Give all topics twice as many, and let all users act again."""
    admin = KafkaAdminClient(bootstrap_servers=bench.settings.bootstrap_servers)
    admin.create_partitions({bench.names.of(topic): MORE for topic in COPARTITIONED})
    admin.close()
    bench.settings = replace(bench.settings, partitions=MORE)
    bench.forget_producer()  # it knows the old number
    bench.send_actions(NEW - OLD, users=OLD, start=OLD)


def apply_the_old(bench: Bench) -> None:
    worker = bench.worker()
    bench.wait_committed(OLD, ACTIONS)
    assert worker.terminate() == 0


def assert_refused(bench: Bench, whose: str, state: str = "state") -> None:
    """Start a worker: it ends with the sentence, and no new partition has a user."""
    old = bench.changelog()
    worker = bench.worker(state=state)
    assert worker.process.wait(PATIENCE_S) != 0
    assert f"{whose} has users of partition " in worker.log
    assert f"had {PARTITIONS} partitions, but now it has {MORE}" in worker.log
    assert bench.changelog() == old
    assert {number for number, key in old if key != POSITION} <= set(range(PARTITIONS))


def test_states_of_another_number_of_partitions_are_refused_with_and_without_their_folder(bench):
    apply_the_old(bench)
    add_partitions(bench)
    assert_refused(bench, "its state folder")
    shutil.rmtree(bench.folder / "state")
    assert_refused(bench, "the changelog")
    assert_refused(bench, "the changelog")


def test_the_remedy_builds_each_user_once_with_all_actions(bench):
    apply_the_old(bench)
    add_partitions(bench)
    shutil.rmtree(bench.folder / "state")
    admin = KafkaAdminClient(bootstrap_servers=bench.settings.bootstrap_servers)
    admin.delete_topics([bench.names.of(CHANGELOG)])
    admin.delete_group_offsets(bench.settings.app_id, [TopicPartition(*tp) for tp in bench.tps(ACTIONS)[:PARTITIONS]])
    admin.close()
    worker = bench.worker()
    bench.wait_committed(NEW, ACTIONS)
    redriven = rankstream("dead-letters", "redrive", "--reason", "wrong-partition", *connected(bench.settings))
    assert redriven.exit_code == 0
    moved = int(redriven.stdout.split()[0].replace(",", ""))
    bench.wait_committed(NEW + moved, ACTIONS)
    assert worker.terminate() == 0
    states = bench.states()
    assert sorted(states) == sorted(f"u{number}".encode() for number in range(OLD))
    assert {unpack_state(state).total for state in states.values()} == {2}


def test_partitions_added_under_running_workers_end_them_before_a_user_has_two_states(bench):
    workers = [bench.worker(name, state=name, LOOK_AGAIN_S="1") for name in "AB"]
    bench.wait_committed(OLD, ACTIONS)
    add_partitions(bench)
    for worker in workers:
        assert worker.process.wait(PATIENCE_S) > 0
        assert f"had {PARTITIONS} partitions" in worker.log
    assert {number for number, key in bench.changelog() if key != POSITION} <= set(range(PARTITIONS))
    assert_refused(bench, "the changelog", state="C")
