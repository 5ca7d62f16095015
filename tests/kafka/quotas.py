"""Quotas of a broker, for whoever has no client_id of a quota of its own: workers, and not who watches them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kafka import KafkaProducer
from kafka.admin import KafkaAdminClient
from kafka.protocol.admin.client_quotas import AlterClientQuotasRequest

from tests.kafka.harness import Bench

FREE = "free"  # the client_id that nothing holds back
NO_BOUND = {"producer_byte_rate": 1e12, "consumer_byte_rate": 1e12, "request_percentage": 1e6}
Entry: Any = AlterClientQuotasRequest.EntryData


def alter(servers: str, client_id: str | None, rates: dict[str, float], remove: bool = False) -> None:
    """Set quotas of a client_id, or of all that have none; or take them away."""
    operations = [Entry.OpData(key=key, value=value, remove=remove) for key, value in rates.items()]
    named = Entry.EntityData(entity_type="client-id", entity_name=client_id)
    request = AlterClientQuotasRequest(entries=[Entry(entity=[named], ops=operations)], validate_only=False)
    admin = KafkaAdminClient(bootstrap_servers=servers, client_id=FREE)

    async def send() -> Any:
        return await admin._manager.send(request)  # the client has no call for it

    answer = admin._manager.run(send)
    admin.close()
    assert all(one.error_code == 0 for one in answer.entries), answer


def send_freely(bench: Bench) -> None:
    """Let what the test itself sends pass."""
    alter(bench.settings.bootstrap_servers, FREE, NO_BOUND)
    bench._producer = KafkaProducer(bootstrap_servers=bench.settings.bootstrap_servers, linger_ms=20, client_id=FREE)


@contextmanager
def held_back(bench: Bench, **rates: float) -> Iterator[None]:
    """Hold back everybody else within the block."""
    alter(bench.settings.bootstrap_servers, None, rates)
    try:
        yield
    finally:
        alter(bench.settings.bootstrap_servers, None, rates, remove=True)
