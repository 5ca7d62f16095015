"""A worker process for the tests: the real application, with the ranking of ``builders.SomeLiveRanker``.

Settings come from the environment (``RANKSTREAM_...``). ``SERVE`` serves the bundle of the settings instead,
``SLOW_MS`` makes each chunk of actions take that long, ``STALL_MS`` waits between the acknowledgements and the write to
the store, ``BUG_AT`` raises at that many actions, ``DIES_OF`` ends the process where a record holds that text,
``RESTORE_MS`` makes each few records of a restore take that long, ``SEEDS`` kills the process before so many writes to
an empty changelog, ``SCORE_MS`` makes the ranking of each request take that long, ``LOOK_AGAIN_S`` is the time between
two looks at the topics, ``NAMES`` are those of the actions of its bundle, ``HANG`` blocks the event loop when the
worker is asked to end, ``INDEX_FROM`` is how many items are searched in a graph.

``STOP_AT`` names a request of the protocol before which, once the file ``STOP_WHEN`` is there, the process stops itself
as SIGSTOP would; of those that produce, one to the changelog. While the file ``CUT_OFF`` is there no request leaves the
process, as if the network stood still.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.produce import ProduceRequest

from rankstream.events.action_event import ActionDecoder, Record
from rankstream.features.actions import Vocabulary
from rankstream.features.stores.cache import Changes, UserCache
from rankstream.features.user_state import UserState
from rankstream.ranking.request import Ranking, RankingRequest
from rankstream.retrieval.index import choice
from rankstream.streams import pipeline as pipeline_module
from rankstream.streams.app import create_app
from rankstream.streams.codec import decode_request
from rankstream.streams.engine import open_engine
from rankstream.streams.pipeline import Pipeline
from rankstream.streams.records import Outgoing
from rankstream.streams.settings import read_settings
from rankstream.streams.topics import CHANGELOG
from rankstream.streams.worker import changelog
from rankstream.streams.worker import runtime as runtime_module
from rankstream.streams.worker.open_serving import open_serving
from rankstream.streams.worker.outbox import Outbox
from rankstream.streams.worker.ownership import Ownership
from tests.builders.actions import EchoRanker, MixingSessions, SomeLiveRanker

SLOW_MS, STALL_MS = float(os.environ.get("SLOW_MS", "0")), float(os.environ.get("STALL_MS", "0"))
BUG_AT = int(os.environ.get("BUG_AT", "0"))

LOOK_AGAIN_S = float(os.environ.get("LOOK_AGAIN_S", "0"))
DIES_OF = os.environ.get("DIES_OF", "").encode()
NAMES = os.environ.get("NAMES", "")
SEEDS = int(os.environ.get("SEEDS", "0"))
INDEX_FROM = int(os.environ.get("INDEX_FROM", choice.EXACT_BELOW))
RESTORE_MS = float(os.environ.get("RESTORE_MS", "0"))

SCORE_MS = float(os.environ.get("SCORE_MS", "0"))
STOP_AT, STOP_WHEN = os.environ.get("STOP_AT"), Path(os.environ.get("STOP_WHEN", "/nowhere"))
CUT_OFF = Path(os.environ.get("CUT_OFF", "/nowhere"))

send = AIOKafkaClient.send
write, revoke = Outbox.write, Ownership.revoke
decode_action, rank = ActionDecoder.__call__, EchoRanker.rank
commit, apply = UserCache.commit, changelog.RestoreJob.apply


def slowed(kind: type[Pipeline]) -> Any:
    on_actions = kind.on_actions

    def slow_on_actions(pipeline: Pipeline, records: Sequence[Record]) -> list[Outgoing]:
        time.sleep(SLOW_MS / 1000)
        outgoing = on_actions(pipeline, records)
        if BUG_AT and pipeline.counters.actions >= BUG_AT:
            raise ZeroDivisionError("the bug of the test")
        return outgoing

    return slow_on_actions


def die_of(record: Record) -> None:
    if DIES_OF in (record.value or b""):
        os._exit(139)  # as a segmentation fault in a library would


def dying(kind: type[Pipeline]) -> Any:
    """Die of a record at a chunk's beginning: kernels have no place where a test could."""
    on_actions = kind.on_actions

    def on_actions_or_die(pipeline: Pipeline, records: Sequence[Record]) -> list[Outgoing]:
        for record in records:
            die_of(record)
        return on_actions(pipeline, records)

    return on_actions_or_die


def dying_decode_action(decoder: ActionDecoder, record: Record) -> bytes:
    die_of(record)
    return decode_action(decoder, record)


def dying_decode_request(record: Record, now_ms: int | None) -> RankingRequest:
    die_of(record)
    return decode_request(record, now_ms)


def slow_rank(ranker: EchoRanker, request: RankingRequest, state: UserState, now_ms: int) -> Ranking:
    time.sleep(SCORE_MS / 1000)
    return rank(ranker, request, state, now_ms)


def stalling_commit(users: UserCache, changes: Changes) -> None:
    time.sleep(STALL_MS / 1000)
    commit(users, changes)


def slow_apply(job: changelog.RestoreJob, records: Sequence[Record]) -> None:
    time.sleep(RESTORE_MS / 1000)
    apply(job, records)


async def hanging_revoke(owner: Ownership, numbers: Collection[int], *args: Any) -> None:
    time.sleep(3600 if numbers else 0)
    await revoke(owner, numbers, *args)


async def interrupted_seed(outbox: Outbox, *args: Any) -> bool:
    global SEEDS
    SEEDS -= 1
    if not SEEDS:
        os.kill(os.getpid(), signal.SIGKILL)
    return await write(outbox, *args)


async def interrupted_send(client: AIOKafkaClient, node: int, request: Any, **options: Any) -> Any:
    produces_elsewhere = isinstance(request, ProduceRequest) and CHANGELOG.name not in str(request._topics)
    if type(request).__name__ == STOP_AT and not produces_elsewhere and STOP_WHEN.exists():
        STOP_WHEN.unlink()
        os.kill(os.getpid(), signal.SIGSTOP)
    while CUT_OFF.exists():
        await asyncio.sleep(0.05)
    return await send(client, node, request, **options)


if __name__ == "__main__":
    AIOKafkaClient.send = interrupted_send
    if os.environ.get("HANG"):
        Ownership.revoke = hanging_revoke
    UserCache.commit = stalling_commit
    if DIES_OF:
        ActionDecoder.__call__ = dying_decode_action
        pipeline_module.decode_request = dying_decode_request
    if RESTORE_MS:
        changelog.RestoreJob.apply = slow_apply
        changelog.RECORDS_AT_ONCE = 20
    if SEEDS:
        Outbox.write = interrupted_seed
        changelog.RECORDS_AT_ONCE = 10
    if SCORE_MS:
        EchoRanker.rank = slow_rank
    choice.EXACT_BELOW = INDEX_FROM
    if LOOK_AGAIN_S:
        runtime_module.LOOK_AGAIN_S = LOOK_AGAIN_S
    settings = read_settings()
    kind = open_engine(settings.engine).pipeline
    kind.on_actions = slowed(kind)
    if DIES_OF and kind is not Pipeline:
        kind.on_actions = dying(kind)
    serving = open_serving(settings) if os.environ.get("SERVE") else SomeLiveRanker(MixingSessions())
    if NAMES:
        serving.vocabulary = Vocabulary(tuple(NAMES.split(",")))
    app = create_app(settings, serving)
    sys.argv = sys.argv[:1]
    app.Worker(loglevel="INFO").execute_from_commandline()
