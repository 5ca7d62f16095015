"""Brokers that are away for longer than every default patience: the worker waits, and goes on where it was."""

import os
import signal
import time

import pytest

from rankstream.streams.broker import RealKafka
from tests.kafka.harness import Bench, wait_until

pytestmark = [pytest.mark.broker, pytest.mark.slow]

AWAY_S = float(os.environ.get("AWAY_S", "50"))


def away(kafka: RealKafka, how: str) -> None:
    """Let the broker be away for a while: killed and started again, or standing still."""
    assert kafka.process is not None
    if how == "standing still":
        kafka.process.send_signal(signal.SIGSTOP)
        time.sleep(AWAY_S)
        kafka.process.send_signal(signal.SIGCONT)
        return
    kafka.process.kill()
    kafka.process.wait()
    time.sleep(AWAY_S)
    kafka.start()


@pytest.mark.parametrize("how", ["killed", "standing still"])
def test_a_worker_waits_for_brokers_that_are_away_for_a_minute(kafka, tmp_path, how):
    bench = Bench(kafka.bootstrap_servers, tmp_path, session_timeout_s=6.0)
    bench.create_topics()
    worker = bench.worker()
    worker.wait_ready()
    bench.send_actions(2_000, bad_every=100)
    bench.wait_committed(2_000)
    bench.send_actions(500, start=2_000)
    bench.forget_producer()
    away(kafka, how)
    assert worker.process.poll() is None, worker.log[-6000:]
    bench.send_actions(2_000, start=2_500)
    bench.send_requests(50)
    bench.wait_committed(4_550)
    assert worker.terminate() == 0, worker.log[-6000:]
    assert bench.states() == bench.expected_states()
    assert set(bench.feeds()) == {f"r{number}" for number in range(50)}
    bench.close()


def test_a_worker_that_is_asked_to_end_while_they_are_away_does(kafka, tmp_path):
    bench = Bench(kafka.bootstrap_servers, tmp_path, session_timeout_s=6.0)
    bench.create_topics()
    worker = bench.worker()
    worker.wait_ready()
    bench.send_actions(200)
    bench.wait_committed(200)
    kafka.process.kill()
    kafka.process.wait()
    wait_until(lambda: "no Kafka broker answers" in worker.log, "it knows that the broker is away")
    assert worker.terminate() == 0, worker.log[-6000:]
    assert "Traceback" not in worker.log
    kafka.start()
    bench.close()
