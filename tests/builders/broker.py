"""What tests know of the broker that they talk to."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rankstream.streams.broker import KAFKA_PROPERTIES


@dataclass(frozen=True)
class BrokerInUse:
    """What the tests talk to."""

    bootstrap_servers: str
    is_kafka: bool  # Apache Kafka, or claimed to be as good

    @property
    def session_timeout_s(self) -> float:
        """The shortest that Kafka allows, or that is safe on a busy machine: kill tests mostly wait for it."""
        return 6.0 if self.is_kafka else 3.0


def properties_with(listeners: str, words: Mapping[str, str]) -> str:
    """Return Kafka's properties (``streams/broker.py``) with other listeners; ``words`` are put in by name."""
    kept = [line for line in KAFKA_PROPERTIES.splitlines() if "listeners=" not in line and ".map=" not in line]
    for name, value in words.items():
        listeners = listeners.replace("{" + name + "}", value)
    return "\n".join(kept) + "\n" + listeners


class AFullBatch:
    """An open batch of aiokafka's that has no room for another record, so that each is sent by itself."""

    _builder: "AFullBatch"

    def __init__(self) -> None:
        self._builder = self

    def append(self, **record: Any) -> None:
        """Take none."""


@dataclass
class FullBatches:
    """What stands for the open batches of a producer whose every record is to be seen."""

    _batches: defaultdict[Any, list[AFullBatch]] = field(default_factory=lambda: defaultdict(lambda: [AFullBatch()]))
