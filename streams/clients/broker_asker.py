"""Asks whether a broker answers, over connections of its own.

A broker takes the requests of one connection in turn, so a question behind a record waits until every replica in sync
has that record, and behind a quota until that is over: seconds in which nobody would seem to be there. And where
several are named, one that stands still is not waited for as long as a request may take.

Names of aiokafka used here are not public (``_topics``): it is pinned.
"""

from contextlib import suppress

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

from rankstream.streams.clients.patient_client import make_patient
from rankstream.streams.connection import connection_of
from rankstream.streams.settings import Settings

NEXT_ONE_MS = 1500  # after it another broker is asked


class BrokerAsker:
    """A client that asks for the metadata of one topic and nothing else."""

    def __init__(self, settings: Settings, topic: str) -> None:
        patience = {"request_timeout_ms": NEXT_ONE_MS} if "," in settings.bootstrap_servers else {}
        self.client = AIOKafkaClient(**connection_of(settings, AIOKafkaClient), **patience)
        self.client._topics = {topic}  # without any it would ask for all topics of the cluster
        make_patient(self.client)

    async def start(self) -> None:
        """Connect. Raises ``KafkaConnectionError`` where no broker answers for long."""
        await self.client.bootstrap()

    async def is_answered(self) -> bool:
        """Return whether a broker answers; it may take as long as a request does."""
        with suppress(KafkaError):
            return bool(await self.client.force_metadata_update())
        return False

    async def close(self) -> None:
        """Hang up."""
        await self.client.close()
