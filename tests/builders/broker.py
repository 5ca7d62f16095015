"""What tests know of the broker that they talk to."""

from dataclasses import dataclass


@dataclass(frozen=True)
class BrokerInUse:
    """What the tests talk to."""

    bootstrap_servers: str
    is_kafka: bool  # Apache Kafka, or claimed to be as good

    @property
    def session_timeout_s(self) -> float:
        """The shortest that Kafka allows, or that is safe on a busy machine: kill tests mostly wait for it."""
        return 6.0 if self.is_kafka else 3.0
