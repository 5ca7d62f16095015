"""Records that a topic deletes before a worker reads them: how many is said and counted, and the worker goes on."""

from dataclasses import replace
from urllib.request import urlopen

import pytest
from kafka import TopicPartition
from kafka.admin import KafkaAdminClient

from rankstream.streams.broker import free_port
from rankstream.streams.topics import ACTIONS, REQUESTS, Topic
from tests.kafka.harness import Bench

pytestmark = [pytest.mark.broker, pytest.mark.slow]


@pytest.fixture
def bench(bench: Bench, broker) -> Bench:
    if not broker.is_kafka:
        pytest.skip("the embedded broker deletes no records")
    bench.settings = replace(bench.settings, partitions=1, web_port=free_port())
    bench.create_topics()
    return bench


def delete(bench: Bench, topic: Topic, before: int) -> None:
    """Delete what stands before an offset, as the topic's retention would."""
    admin = KafkaAdminClient(bootstrap_servers=bench.settings.bootstrap_servers)
    admin.delete_records({TopicPartition(bench.names.of(topic), 0): before})
    admin.close()


def unread(bench: Bench) -> dict[str, int]:
    """Return what the worker's page counts of each source."""
    with urlopen(f"http://127.0.0.1:{bench.settings.web_port}/metrics") as answer:
        lines = [line for line in answer.read().decode().splitlines() if line.startswith("rankstream_unread_records")]
    return {line.split('"')[1]: int(float(line.split()[1])) for line in lines}


def test_what_expired_while_no_worker_ran_is_said_and_counted_once(bench: Bench):
    worker = bench.worker()
    bench.send_actions(100)
    bench.send_requests(10)
    bench.wait_committed(110)
    assert worker.terminate() == 0
    bench.send_actions(100, start=100)
    bench.send_requests(10, start=10)
    delete(bench, ACTIONS, before=150)
    delete(bench, REQUESTS, before=20)  # all of them
    worker = bench.worker()
    bench.wait_committed(220)
    assert unread(bench) == {"actions": 50, "requests": 10}
    name = bench.names.of(ACTIONS)
    assert f"{name} 0: offsets 100 to 149, 50 in all, were deleted before they were read" in worker.log
    bench.send_requests(1, start=20)
    bench.wait_committed(21, REQUESTS)
    assert worker.terminate() == 0
    worker = bench.worker()
    worker.wait_ready()
    assert unread(bench) == {"actions": 0, "requests": 0}
