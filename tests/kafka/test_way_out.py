"""However a worker is asked to end, and whoever does not answer, the process is gone soon and says how."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rankstream.streams.broker import EmbeddedBroker, LocalBroker, RealKafka
from rankstream.streams.topics import ACTIONS
from rankstream.streams.worker.watchdog import EXIT_CODE
from tests.kafka.harness import Bench

pytestmark = [pytest.mark.broker, pytest.mark.slow]


@pytest.fixture
def own_broker(broker) -> Iterator[LocalBroker]:
    """A broker that no other test uses: this one stops it."""
    home = os.environ.get("KAFKA_HOME")
    if broker.is_kafka and not home:
        pytest.skip("it would stop a broker that others use")
    with RealKafka(Path(home)) if broker.is_kafka else EmbeddedBroker() as mine:
        yield mine
        mine.process.send_signal(signal.SIGCONT)


def test_a_worker_that_is_asked_to_end_while_its_broker_is_away_ends_and_says_so(own_broker, broker, tmp_path):
    bench = Bench(own_broker.bootstrap_servers, tmp_path, broker.session_timeout_s)
    try:
        bench.create_topics()
        bench.send_actions(1_000)
        worker = bench.worker(SLOW_MS="60")  # so that there is something left to commit
        bench.wait_committed(1_000, ACTIONS)
        bench.send_actions(3_000, start=1_000)
        own_broker.process.send_signal(signal.SIGSTOP)
        asked_at = time.monotonic()
        code = worker.terminate()
        print(f"ended {time.monotonic() - asked_at:.1f} s after it was asked to, with {code}")
        assert code == EXIT_CODE
        assert "rankstream ends with exit code 75: " in worker.log
        own_broker.process.send_signal(signal.SIGCONT)
        again = bench.worker()
        bench.wait_committed(4_000, ACTIONS)
        assert again.terminate() == 0
        assert bench.states() == bench.expected_states()
    finally:
        own_broker.process.send_signal(signal.SIGCONT)
        bench.close()


def test_a_worker_that_hangs_on_its_way_out_is_ended_by_its_watchdog(bench):
    bench.create_topics()
    bench.send_actions(1_000)
    worker = bench.worker(HANG="1")
    bench.wait_committed(1_000, ACTIONS)
    assert worker.terminate() == EXIT_CODE
    assert "it was asked to end, and its orderly end took more than 15 s" in worker.log
