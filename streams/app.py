"""The Faust application: two agents around one pipeline a partition.

``faust -A rankstream.streams.app worker -l info`` runs it with settings from the environment
(``RANKSTREAM_...``). The agents only carry: what a record does is decided in ``pipeline.py``. What stands between Faust
and the partitions is ``worker/runtime.py``; checkpoint ordering is in ``worker/checkpoint.py``, partition assignment
and revocation in ``worker/ownership.py``.
"""

import logging
import sys
from collections.abc import Iterable
from inspect import signature
from itertools import chain
from typing import Any

import faust
from aiokafka import AIOKafkaConsumer
from faust.app.base import BootStrategy
from mode.supervisors import CrashingSupervisor
from yarl import URL

from rankstream.features.actions import VocabularyRefusedError
from rankstream.features.stores.base import StoreRefusedError
from rankstream.features.stores.folder import usable_folder
from rankstream.streams.connection import credentials_of, handed_on
from rankstream.streams.engine import EngineRefusedError, open_engine
from rankstream.streams.log_lines import Quiet, logging_config
from rankstream.streams.pipeline import ServingState
from rankstream.streams.setting_fields import SettingsError
from rankstream.streams.settings import Settings, read_settings
from rankstream.streams.topics import ACTIONS, REQUESTS, TopicNames
from rankstream.streams.tracing import TracesRefusedError
from rankstream.streams.worker.chunks import Chunk, ChunkScheduler, ChunkSchema, ChunkTransport, ReadingPlan
from rankstream.streams.worker.pages import add_pages
from rankstream.streams.worker.runtime import WorkerRuntime
from rankstream.streams.worker.vocabulary_guard import check_vocabulary

log = logging.getLogger(__name__)

STATES_REFUSED = (StoreRefusedError, VocabularyRefusedError)
FAUSTS_OWN = {
    "client_id": "broker_client_id",
    "check_crcs": "broker_check_crcs",
    "metadata_max_age_ms": "consumer_metadata_max_age_ms",
    "connections_max_idle_ms": "consumer_connections_max_idle_ms",
}  # options of aiokafka's consumer that Faust has settings for


class QuietFaustWorker(faust.Worker):
    """Faust's worker without its spinner, which sets the root logger to DEBUG at log levels of WARNING and above.

    And without its debugger: on SIGUSR2 that would wait at a terminal which a service does not have.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.spinner = None

    def _on_sigusr2(self) -> None:
        log.warning("SIGUSR2: there is no debugger here; SIGUSR1 writes what all tasks are at to standard error")


class Boot(BootStrategy):
    """Faust's order of starting, with the worker runtime before everything: it also stops last.

    Whether there is a web server is our setting: the command ``faust worker`` would start one regardless.
    """

    def __init__(self, app: faust.App, runtime: WorkerRuntime) -> None:
        super().__init__(app, enable_web=runtime.settings.web_port > 0)
        self.runtime = runtime

    def server(self) -> Iterable[Any]:
        """Return the services of a worker in the order of their start."""
        return chain([self.runtime], super().server())


def create_app(settings: Settings, serving: ServingState) -> faust.App:
    """Return the application; nothing is started or connected yet."""
    names, plan = TopicNames(settings.topic_prefix), ReadingPlan()
    quiet = Quiet()
    app = new_app(settings, plan, names.of(ACTIONS), quiet)
    runtime = WorkerRuntime(app, settings, serving, plan)
    quiet.is_down = lambda: runtime.observer.broker.down is not None
    quiet.has_told_why = lambda: runtime.has_told_why
    app.boot_strategy = Boot(app, runtime)
    options = handed_on(settings, signature(AIOKafkaConsumer).parameters.keys() - FAUSTS_OWN.keys())
    urls = [URL(f"kafka://{server.strip()}") for server in settings.bootstrap_servers.split(",")]
    app.transport = ChunkTransport(
        urls, app, runtime.positions, settings.fetch_max_wait_ms, runtime.fetch_pace_s, options, runtime.throttling
    )
    app.on_rebalance_complete.connect(runtime.on_rebalanced)
    app.on_partitions_revoked.connect(runtime.on_revoked)
    app.on_before_shutdown.connect(runtime.revoke_all)

    actions = app.topic(names.of(ACTIONS), schema=ChunkSchema(runtime.actions_gate.admit), acks=False)
    requests = app.topic(names.of(REQUESTS), schema=ChunkSchema(runtime.pressure.admit), acks=False)

    @app.agent(actions, name="remember")
    async def remember(chunks: faust.StreamT[Chunk]) -> None:
        runtime.actions_gate.waiting = chunks.channel.queue.qsize
        async for chunk in chunks:
            runtime.actions_gate.chunk_taken()
            await runtime.apply_actions(chunk)
            runtime.actions_gate.chunk_applied()

    @app.agent(requests, name="rank")
    async def rank(chunks: faust.StreamT[Chunk]) -> None:
        async for chunk in chunks:
            runtime.answer(chunk)

    add_pages(app, runtime.observer, runtime.shadows)
    return app


def check_states(settings: Settings, serving: ServingState) -> None:
    """Find out whether states can be kept here, before a broker is asked for anything.

    Raises ``StoreRefusedError`` for the folder, ``VocabularyRefusedError`` for a bundle that does not fit its states.
    """
    folder = settings.state_dir / settings.app_id
    usable_folder(folder)
    check_vocabulary(folder, serving.vocabulary)


def new_app(settings: Settings, plan: ReadingPlan, first: str, quiet: Quiet) -> faust.App:
    """Return a Faust application with our settings and no agents."""
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    options = {FAUSTS_OWN[name]: value for name, value in handed_on(settings, FAUSTS_OWN).items()}
    return faust.App(
        settings.app_id,
        **options,
        broker=";".join(f"kafka://{server.strip()}" for server in settings.bootstrap_servers.split(",")),
        broker_credentials=credentials_of(settings),
        broker_session_timeout=settings.session_timeout_s,
        broker_heartbeat_interval=settings.heartbeat_interval_s,
        broker_rebalance_timeout=settings.session_timeout_s,
        broker_request_timeout=max(90.0, 2 * settings.session_timeout_s),
        consumer_group_instance_id=settings.group_instance_id,
        ConsumerScheduler=lambda: ChunkScheduler(plan, settings.chunk_size, first),
        datadir=settings.state_dir / f".faust-{settings.app_id}",
        topic_disable_leader=True,  # an ever-empty topic, whose fetches would hold up the others
        topic_allow_declare=False,  # topics.py creates them
        table_standby_replicas=1,  # chooses Faust's own assignor, which keeps partition numbers of all topics together
        agent_supervisor=CrashingSupervisor,
        Worker=QuietFaustWorker,
        logging_config=logging_config(settings.log_format, quiet),
        worker_redirect_stdouts=False,
        web_enabled=settings.web_port > 0,
        web_bind=settings.web_host,
        web_host=settings.web_host,
        web_port=settings.web_port or 6066,
        web_tables_enabled=False,
    )


def __getattr__(name: str) -> Any:
    """Make ``app`` on first access, so that importing this module reads no settings and loads no model."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # These bring onnxruntime: not for those who only want ``create_app``.
    from rankstream.ranking.bundle import BundleRefusedError
    from rankstream.streams.worker.open_serving import open_serving

    try:
        settings = read_settings()
        serving = open_serving(settings, open_engine(settings.engine).join)
        check_states(settings, serving)
        globals()["app"] = app = create_app(settings, serving)
    except (SettingsError, BundleRefusedError, EngineRefusedError, TracesRefusedError, *STATES_REFUSED) as exc:
        # a sentence, where faust shows a traceback
        print(f"rankstream: {exc}", file=sys.stderr)
        raise SystemExit(2) from None
    return app
