"""A worker as those who watch it see it: `/ready` and the log while the broker is killed, and during a long restore."""

import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from rankstream.streams.broker import EmbeddedBroker, LocalBroker, RealKafka, free_port
from tests.builders.broker import BrokerInUse
from tests.kafka.harness import Bench, wait_until

pytestmark = [pytest.mark.broker]

AWAY_S = 15.0


@pytest.fixture
def own_broker(broker: BrokerInUse) -> Iterator[LocalBroker]:
    """A broker of the kind in use, to be killed."""
    if broker.is_kafka and not os.environ.get("KAFKA_HOME"):
        pytest.skip("needs a broker that can be killed")
    with RealKafka(Path(os.environ["KAFKA_HOME"])) if broker.is_kafka else EmbeddedBroker() as started:
        yield started


def page(port: int, path: str = "/ready") -> tuple[int, dict[str, Any]]:
    """Return status and document of a worker's page; status 0 where nobody listens."""
    try:
        with urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, json.load(answer)
    except HTTPError as exc:
        return exc.code, json.load(exc)
    except (OSError, HTTPException):
        return 0, {}


def watched_bench(bench: Bench) -> int:
    """Give the bench's workers pages; return their port."""
    port = free_port()
    bench.settings = replace(bench.settings, web_port=port, log_format="json")
    return port


def lines(log: str) -> list[dict[str, Any]]:
    """Return the records of a log, each of which must be a line of JSON."""
    return [json.loads(line) for line in log.splitlines() if line.strip()]


@pytest.mark.slow  # an outage has to last for longer than a session, twice: to be seen, and to be gone
@pytest.mark.timeout(400)
def test_a_killed_broker_is_503_within_the_session_and_few_lines_and_200_when_it_is_back(own_broker, broker, tmp_path):
    bench = Bench(own_broker.bootstrap_servers, tmp_path, broker.session_timeout_s)
    port = watched_bench(bench)
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
    wait_until(lambda: page(port)[0] == 200, f"the worker is ready again {worker.log[-3000:]}", 90)
    after = lines(worker.log)[before + len(during) :]
    assert [one["message"] for one in during] == [f"no Kafka broker answers at {bench.settings.bootstrap_servers}"]
    assert [one["message"] for one in after if "answers again" in one["message"]] != []
    assert len(after) < 20, [one["message"] for one in after]
    assert worker.process.poll() is None
    bench.close()


def test_a_long_restore_is_503_with_its_progress_and_then_200(bench):
    port = watched_bench(bench)
    bench.create_topics()
    worker = bench.worker()
    worker.wait_ready()
    bench.send_actions(1_500)
    bench.wait_committed(1_500)
    worker.terminate()
    shutil.rmtree(bench.folder / "state")
    heir = bench.worker("B", RESTORE_MS="100")
    seen: list[int] = []

    def is_ready() -> bool:
        status, document = page(port)
        with suppress(LookupError):
            seen.append(sum(one["read"] for one in document["restoring"]))
            if document["restoring"]:
                assert status == 503
                assert "it restores the partitions " in " ".join(document["reasons"])
        return status == 200

    wait_until(is_ready, f"the heir is ready {heir.log[-3000:]}")
    progress = [count for count in seen if count]
    assert len(set(progress)) >= 2
    assert progress == sorted(progress)
