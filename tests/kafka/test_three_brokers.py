"""Three brokers, killed one at a time: who coordinates a checkpoint under way, or the group, who leads a changelog."""

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from aiokafka.client import CoordinationType

from rankstream.streams.topics import ACTIONS, CHANGELOG
from tests.kafka.harness import Bench, Worker, wait_until
from tests.kafka.three_brokers import Node, ThreeBrokers, three_brokers

pytestmark = [pytest.mark.broker, pytest.mark.slow]


@pytest.fixture
def cluster(broker) -> Iterator[ThreeBrokers]:
    if not broker.is_kafka or not os.environ.get("KAFKA_HOME"):
        pytest.skip("needs an Apache Kafka of which three can be started")
    with three_brokers(Path(os.environ["KAFKA_HOME"])) as started:
        yield started


@pytest.fixture
def bench(cluster: ThreeBrokers, tmp_path: Path) -> Iterator[Bench]:
    made = Bench(cluster.bootstrap_servers, tmp_path, 10.0)
    made.settings = replace(made.settings, replication_factor=3, partitions=2)
    made.create_topics()
    yield made
    made.close()


def stands_still(worker: Worker) -> bool:
    return Path(f"/proc/{worker.process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def killed_for_a_while(node: Node, meanwhile: Callable[[], None]) -> None:
    node.kill()
    meanwhile()
    node.start()


def test_nothing_is_lost_or_doubled_where_coordinators_and_leaders_die(cluster: ThreeBrokers, bench: Bench, tmp_path):
    stop, sent = tmp_path / "stop", 0

    def send() -> None:
        nonlocal sent
        bench.send_actions(200, start=sent, bad_every=20)
        bench.send_requests(20, start=sent // 10)
        sent += 200

    def go_on() -> None:
        worker.process.send_signal(signal.SIGCONT)
        send()

    worker = bench.worker(STOP_AT="EndTxnRequest", STOP_WHEN=str(stop))
    worker.wait_ready()
    stop.touch()
    send()
    wait_until(lambda: stands_still(worker), "it is about to commit a checkpoint")
    transactions = f"{bench.settings.app_id}-{bench.names.of(ACTIONS)}-0"
    killed_for_a_while(cluster.coordinator(CoordinationType.TRANSACTION, transactions), go_on)
    cluster.wait_in_sync()
    killed_for_a_while(cluster.coordinator(CoordinationType.GROUP, bench.settings.app_id), send)
    cluster.wait_in_sync()
    killed_for_a_while(cluster.leader(bench.names.of(CHANGELOG)), send)
    bench.wait_committed(sent + sent // 10)
    assert worker.terminate() == 0, worker.log[-3000:]
    assert bench.states() == bench.expected_states()
    assert bench.feeds().keys() == {f"r{number}" for number in range(sent // 10)}
    assert bench.dead_letters() == dict.fromkeys(bench.bad_records(), 1)
