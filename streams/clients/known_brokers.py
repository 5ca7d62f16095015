"""Clients of aiokafka that were told of no broker ask again, and do not end the program.

A broker that has just started, or was so busy that the cluster took it for gone, answers a question for metadata with
no broker at all, not even itself. aiokafka keeps that, and at its next look for a coordinator fails an ``assert``.
"""

from typing import Any

from aiokafka.errors import NodeNotReadyError


def ask_for_brokers_again(client: Any) -> None:
    """Have a client that knows no broker raise what it tries again by itself, instead of ``AssertionError``."""
    look_up = client.coordinator_lookup

    async def look_up_where_brokers_are_known(kind: int, key: str) -> Any:
        if client.get_random_node() is None:
            await client.force_metadata_update()
            raise NodeNotReadyError("the brokers say that there are none")
        return await look_up(kind, key)

    client.coordinator_lookup = look_up_where_brokers_are_known
