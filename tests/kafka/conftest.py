"""A bench of its own for each test; the broker comes from ``tests/conftest.py``."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders.broker import BrokerInUse
from tests.kafka.harness import Bench


@pytest.fixture
def bench(broker: BrokerInUse, tmp_path: Path) -> Iterator[Bench]:
    """New topics, a new group and new folders on the broker; its workers end with the test."""
    made = Bench(broker.bootstrap_servers, tmp_path, broker.session_timeout_s)
    yield made
    made.close()
