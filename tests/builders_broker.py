"""What tests know of the broker that they talk to."""

from dataclasses import dataclass


@dataclass(frozen=True)
class BrokerInUse:
    """What the tests talk to."""

    bootstrap_servers: str
    is_kafka: bool  # Apache Kafka, or claimed to be as good
