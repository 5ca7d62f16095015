"""A worker beyond its client's quota: slow and told, but not at an end, and it ends when it is asked to."""

import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from kafka.admin import KafkaAdminClient

from rankstream.streams.broker import RealKafka, free_port
from rankstream.streams.topics import CHANGELOG
from tests.kafka.harness import Bench, Worker, page, wait_until
from tests.kafka.quotas import FREE, held_back, send_freely

pytestmark = [pytest.mark.broker, pytest.mark.slow]

PROMISED_S = 20.0  # for the way out
BEYOND_A_QUOTA = "is beyond a quota"
ANSWERS_WITHIN_S = 30.0  # unless a broker holds back


@pytest.fixture
def bench(kafka: RealKafka, tmp_path: Path) -> Iterator[Bench]:
    """Quotas are the broker's: no other test shall meet them."""
    made = Bench(kafka.bootstrap_servers, tmp_path, 10.0)
    made.settings = replace(made.settings, partitions=2, web_port=free_port())
    made.create_topics()
    send_freely(made)
    yield made
    made.close()


def apply_first(bench: Bench, actions: int) -> None:
    worker = bench.worker()
    bench.send_actions(actions, users=actions // 4, bad_every=500)
    bench.wait_committed(actions)
    assert worker.terminate() == 0


def lives_for(worker: Worker, seconds: float) -> bool:
    """Return whether a worker has not ended after so long."""
    deadline = time.monotonic() + seconds
    while worker.process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.5)
    return worker.process.poll() is None


@pytest.mark.parametrize("rates", [{"request_percentage": 0.01}, {"consumer_byte_rate": 20_000}], ids=str)
def test_a_restore_that_is_held_back_takes_its_time_and_ends_in_time(bench: Bench, rates):
    """It ended by a bare ``TimeoutError`` after 30 s of asking for offsets, at each start again."""
    apply_first(bench, 20_000)
    shutil.rmtree(bench.folder / "state")
    with held_back(bench, **rates):
        worker = bench.worker()
        wait_until(lambda: BEYOND_A_QUOTA in worker.log, "it is told why it is slow")
        assert lives_for(worker, ANSWERS_WITHIN_S + 10), worker.log[-3000:]
        assert worker.terminate(PROMISED_S) == 0
    worker = bench.worker()
    worker.wait_ready()
    assert worker.terminate() == 0
    assert bench.states() == bench.expected_states()


def test_what_is_written_under_a_quota_is_not_lost_where_the_worker_is_asked_to_end(bench: Bench):
    apply_first(bench, 2_000)
    worker = bench.worker()
    worker.wait_ready()
    with held_back(bench, producer_byte_rate=5_000):
        bench.send_actions(8_000, users=2_000, start=2_000, bad_every=500)
        bench.send_requests(200)
        wait_until(lambda: BEYOND_A_QUOTA in worker.log, "it is told why it is slow")
        status, told = page(bench.settings.web_port)
        assert (status, told["reasons"]) == (200, []), "a quota is no outage"
        assert worker.terminate(PROMISED_S) in (0, 75)
    worker = bench.worker()
    worker.wait_ready()  # all may be committed already, and who is just being started knows no signal yet
    bench.wait_committed(10_200)
    assert worker.terminate() == 0
    assert bench.states() == bench.expected_states()
    assert bench.feeds().keys() == {f"r{number}" for number in range(200)}
    assert bench.dead_letters() == dict.fromkeys(bench.bad_records(), 1)


def test_a_changelog_that_is_written_again_under_a_quota_is_whole_or_said_to_be_a_part(bench: Bench, kafka: RealKafka):
    apply_first(bench, 10_000)
    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers, client_id=FREE)
    admin.delete_topics([bench.names.of(CHANGELOG)])
    admin.close()
    with held_back(bench, producer_byte_rate=5_000):
        worker = bench.worker()
        wait_until(lambda: BEYOND_A_QUOTA in worker.log, "it is told why it is slow")
        assert worker.terminate(PROMISED_S) in (0, 75)
    for folder in (None, bench.folder / "state"):
        if folder is not None:
            shutil.rmtree(folder)
        worker = bench.worker()
        worker.wait_ready()
        assert worker.terminate() == 0
        assert bench.states() == bench.expected_states()
