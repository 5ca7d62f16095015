"""A worker as those who watch it see it while its broker is killed: its page `/ready`, and its log."""

import json
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rankstream.streams.broker import EmbeddedBroker, LocalBroker, RealKafka, free_port
from tests.builders.broker import BrokerInUse
from tests.kafka.harness import Bench, page, wait_until

pytestmark = [pytest.mark.broker]

AWAY_S = 15.0


@pytest.fixture
def own_broker(broker: BrokerInUse) -> Iterator[LocalBroker]:
    """A broker of the kind in use, to be killed."""
    if broker.is_kafka and not os.environ.get("KAFKA_HOME"):
        pytest.skip("needs a broker that can be killed")
    with RealKafka(Path(os.environ["KAFKA_HOME"])) if broker.is_kafka else EmbeddedBroker() as started:
        yield started


def lines(log: str) -> list[dict[str, Any]]:
    """Return the records of a log, each of which must be a line of JSON."""
    return [json.loads(line) for line in log.splitlines() if line.strip()]


@pytest.mark.slow  # an outage has to last for longer than a session, twice: to be seen, and to be gone
def test_a_killed_broker_is_503_within_the_session_and_few_lines_and_200_when_it_is_back(own_broker, broker, tmp_path):
    bench = Bench(own_broker.bootstrap_servers, tmp_path, broker.session_timeout_s)
    port = free_port()
    bench.settings = replace(bench.settings, web_port=port, log_format="json")
    bench.create_topics()
    worker = bench.worker()
    wait_until(lambda: page(port)[0] == 200, "the worker is ready")
    assert page(port, "/live")[0] == 200
    before = len(lines(worker.log))
    killed_at = time.monotonic()
    own_broker.process.kill()
    own_broker.process.wait()
    wait_until(lambda: page(port)[0] == 503, "the worker is not ready", bench.settings.session_timeout_s + 2)
    noticed_s = time.monotonic() - killed_at
    assert "no Kafka broker answers" in page(port)[1]["reasons"][0]
    time.sleep(max(0.0, AWAY_S - noticed_s))
    during = lines(worker.log)[before:]
    own_broker.start()
    wait_until(lambda: page(port)[0] == 200, f"the worker is ready again {worker.log[-3000:]}")
    after = lines(worker.log)[before + len(during) :]
    assert [one["message"] for one in during] == [f"no Kafka broker answers at {bench.settings.bootstrap_servers}"]
    assert [one["message"] for one in after if "answers again" in one["message"]] != []
    assert len(after) < 20, [one["message"] for one in after]
    assert worker.process.poll() is None
    bench.close()
