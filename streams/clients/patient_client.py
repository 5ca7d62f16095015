"""Clients of aiokafka that reach no broker, or are told of none, ask again and do not end the program.

A broker that has just started, or was so busy that the cluster took it for gone, answers a question for metadata with
no broker at all, not even itself. aiokafka keeps that, and at its next look for a coordinator fails an ``assert``.
Where the broker that it asks for one ends just then, its producer ends too, though others would know. And the first
question of a client, unlike all later ones, it asks each broker once: one that restarts just then, or refuses a token
that it would take a moment later, would end a worker that others wait for. A broker that stands still they wait for no
longer than makes sense (``prompt_answers.py``).
"""

import asyncio
from time import monotonic
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError, NodeNotReadyError

from rankstream.streams.clients.prompt_answers import ANSWER_S, expect_prompt_answers
from rankstream.streams.clients.throttling import OF_THIS_PROCESS
from rankstream.streams.connection import connection_of
from rankstream.streams.settings import Settings

PATIENCE_S = 20.0  # of what a worker needs: it has asked for its rights before, and was answered
QUESTION_S = 5.0  # of who asks something once
PAUSE_S = 0.5


def make_patient(client: Any, seconds: float = PATIENCE_S, answer_s: float = ANSWER_S) -> None:
    """Have a client that knows no broker raise what it tries again by itself, instead of ``AssertionError``.

    One that reaches none tries for so many seconds before it raises ``KafkaConnectionError``. One of several brokers
    that has not answered after ``answer_s`` what is answered at once is left for another.
    """
    expect_prompt_answers(client, answer_s)
    look_up = client.coordinator_lookup

    async def look_up_where_brokers_are_known(kind: int, key: str) -> Any:
        if client.get_random_node() is None:
            await client.force_metadata_update()
            raise NodeNotReadyError("the brokers say that there are none")
        try:
            return await look_up(kind, key)
        except KafkaConnectionError as exc:
            raise NodeNotReadyError(f"the broker that was asked hung up: {exc}") from exc

    reach = client.bootstrap

    async def reach_in_time() -> None:
        deadline = monotonic() + seconds
        while True:
            try:
                await reach()
                return
            except KafkaConnectionError:
                if monotonic() > deadline:
                    raise
            await asyncio.sleep(PAUSE_S)

    client.coordinator_lookup, client.bootstrap = look_up_where_brokers_are_known, reach_in_time


def patient_admin(settings: Settings) -> AIOKafkaAdminClient:
    """Return an admin client, not started yet, that waits for brokers a little."""
    admin = AIOKafkaAdminClient(**connection_of(settings, AIOKafkaAdminClient))
    make_patient(admin._client, QUESTION_S)
    OF_THIS_PROCESS.watch(admin._client)
    return admin
