"""The broker of the tests: the embedded one, Apache Kafka from KAFKA_HOME, or one that runs already."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.broker import BrokerError, EmbeddedBroker, RealKafka, why_no_kafka


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--broker",
        default="embedded",
        help="which broker tests talk to: embedded, kafka (started from KAFKA_HOME), or host:port of one that runs",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """On a real Kafka, kill tests come first: they are what it is there for."""
    if config.getoption("--broker") != "embedded":
        items.sort(key=lambda item: "kill" not in item.nodeid)


@pytest.fixture(scope="session")
def bootstrap_servers(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of the broker that was asked for; the test is skipped, with the reason, where it can't run."""
    asked = request.config.getoption("--broker")
    if ":" in asked:
        yield asked
        return
    home = os.environ.get("KAFKA_HOME")
    if asked == "kafka" and (reason := why_no_kafka(Path(home) if home else None)):
        pytest.skip(reason)
    try:
        with RealKafka(Path(home or "")) if asked == "kafka" else EmbeddedBroker() as broker:
            yield broker.bootstrap_servers
    except BrokerError as exc:
        pytest.skip(str(exc))
