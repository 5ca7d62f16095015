"""What tests know of the broker that they talk to."""

from collections.abc import Mapping
from dataclasses import dataclass

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
