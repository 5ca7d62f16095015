"""Three brokers, one of them away: killed in the middle of a checkpoint, restarted one by one, standing still."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from aiokafka.client import CoordinationType

from rankstream.streams.broker import free_port
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


class Sender:
    """Sends actions, some of which are not JSON, and requests, and knows how many."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.actions, self.requests = bench, 0, 0

    def send(self) -> None:
        self.bench.send_actions(200, start=self.actions, bad_every=20)
        self.bench.send_requests(20, start=self.requests)
        self.actions, self.requests = self.actions + 200, self.requests + 20

    def wait_committed(self) -> None:
        self.bench.wait_committed(self.actions + self.requests)

    def assert_nothing_is_lost_or_doubled(self, *workers: Worker) -> None:
        self.wait_committed()
        assert [worker.process.poll() for worker in workers] == [None] * len(workers), "one of them ended"
        assert [worker.terminate() for worker in workers] == [0] * len(workers)
        bench = self.bench
        assert bench.states(*(worker.settings.state_dir.name for worker in workers)) == bench.expected_states()
        assert bench.feeds().keys() == {f"r{number}" for number in range(self.requests)}
        assert bench.dead_letters() == dict.fromkeys(bench.bad_records(), 1)


def two_workers(bench: Bench) -> list[Worker]:
    workers = [bench.worker(name, name) for name in "AB"]
    for worker in workers:
        worker.wait_ready()
    return workers


def test_brokers_restarted_one_after_the_other_end_no_worker(cluster: ThreeBrokers, bench: Bench):
    workers, sender = two_workers(bench), Sender(bench)
    for node in cluster.nodes.values():
        sender.send()
        node.end()
        sender.send()
        sender.wait_committed()
        if node is cluster.nodes[2]:
            node.port = free_port()  # a listener that others have to be told of
        node.start()
        cluster.wait_in_sync()
    sender.send()
    sender.assert_nothing_is_lost_or_doubled(*workers)


@contextmanager
def standing_still(node: Node) -> Iterator[None]:
    assert node.process is not None
    node.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        node.process.send_signal(signal.SIGCONT)


def test_who_coordinates_or_leads_may_stand_still_for_as_long_as_it_likes(cluster: ThreeBrokers, bench: Bench):
    """Heartbeats went to the group's coordinator for 90 s: workers lost their session, and ended each other."""
    bench.settings = replace(bench.settings, session_timeout_s=30.0)
    workers, sender = two_workers(bench), Sender(bench)
    sender.send()  # by a producer that has met its brokers
    transactions = f"{bench.settings.app_id}-{bench.names.of(ACTIONS)}-0"
    for who in (
        lambda: cluster.coordinator(CoordinationType.GROUP, bench.settings.app_id),
        lambda: cluster.coordinator(CoordinationType.TRANSACTION, transactions),
        lambda: cluster.leader(bench.names.of(CHANGELOG)),
    ):
        with standing_still(who()):
            sender.send()
            sender.wait_committed()
        cluster.wait_in_sync()
    sender.assert_nothing_is_lost_or_doubled(*workers)
    assert not any("member_id was not recognized" in worker.log for worker in workers), "they had lost their session"
