"""A bench of its own for each test; the broker comes from ``tests/conftest.py``."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from rankstream.streams.broker import RealKafka
from tests.builders.broker import BrokerInUse
from tests.kafka.forked import stop_forking
from tests.kafka.harness import Bench


@pytest.fixture(scope="session", autouse=True)
def forking() -> Iterator[None]:
    """End what workers were forked from, when all tests are done."""
    yield
    stop_forking()


@pytest.fixture
def bench(broker: BrokerInUse, tmp_path: Path) -> Iterator[Bench]:
    """New topics, a new group and new folders on the broker; its workers end with the test."""
    made = Bench(broker.bootstrap_servers, tmp_path, broker.session_timeout_s)
    yield made
    made.close()


@pytest.fixture
def kafka(broker: BrokerInUse) -> Iterator[RealKafka]:
    """A broker of its own, to be killed, held up or damaged."""
    if not broker.is_kafka or not os.environ.get("KAFKA_HOME"):
        pytest.skip("needs an Apache Kafka that can be killed")
    with RealKafka(Path(os.environ["KAFKA_HOME"])) as started:
        yield started
